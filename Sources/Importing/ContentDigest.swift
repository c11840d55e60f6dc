import Crypto
import Records

/// A SHA-256 of the beginning of a file's decompressed content.
struct ContentDigest: Equatable, Hashable, Sendable {
    /// The 32 bytes.
    let bytes: [UInt8]

    /// The digest of nothing.
    static let empty = ContentDigest(SHA256())

    /// The digest of what has been fed so far.
    init(_ hash: SHA256) { bytes = Array(hash.finalize()) }

    /// Reads 64 hexadecimal digits.
    init?(hexadecimal text: String) {
        let digits = Array(text.utf8)
        guard digits.count == 64 else { return nil }
        var bytes: [UInt8] = []
        for index in stride(from: 0, to: 64, by: 2) {
            guard let high = Hexadecimal.value(of: digits[index]),
                let low = Hexadecimal.value(of: digits[index + 1])
            else { return nil }
            bytes.append(high << 4 | low)
        }
        self.bytes = bytes
    }

    /// The 64 hexadecimal digits.
    var hexadecimal: String { Hexadecimal.text(bytes) }

    /// The first eight bytes, little-endian: what the registry keeps of a line's end.
    var short: UInt64 {
        var value: UInt64 = 0
        for index in 0..<8 { value |= UInt64(bytes[index]) << UInt64(8 * index) }
        return value
    }
}

/// A point in a file's decompressed content.
struct ContentPoint: Equatable, Sendable {
    /// Bytes before it.
    var byteCount: UInt64 = 0
    /// Line ends before it.
    var lineCount: UInt64 = 0
    /// The digest of all bytes before it.
    var digest = ContentDigest.empty
    /// Whether the byte before it is a line end, or there is none.
    var isLineEnd = true
}

/// What the first pass over a file finds: digests at its line ends and wherever asked for.
struct ContentScan {
    /// The most line ends whose digest is kept; beyond, every second is given up, again and again.
    /// Chosen: 8 MiB in the registry, and exact answers for files of a million lines.
    static let pointsMax = 1 << 20

    /// The end of the last whole line.
    private(set) var lastLineEnd = ContentPoint()
    /// The end of the content.
    private(set) var end = ContentPoint()
    /// The digest at each of the byte counts asked for that the content has.
    private(set) var points: [UInt64: ContentPoint] = [:]
    /// Digests are kept at the ends of the lines whose number is a multiple of this power of two.
    private(set) var lineStride: UInt64 = 1
    /// The kept digests: of line `lineStride`, `2 * lineStride` …
    private(set) var lineDigests: [UInt64] = []

    private let pointsMax: Int
    private var wanted: [UInt64]
    private var hash = SHA256()
    private var lastLineHash = SHA256()
    private var byteCount: UInt64 = 0
    private var lineCount: UInt64 = 0

    /// A scan that also notes the digests at `byteCounts`.
    init(byteCounts: [UInt64], pointsMax: Int = Self.pointsMax) {
        wanted = Set(byteCounts).filter { $0 > 0 }.sorted(by: >)
        self.pointsMax = pointsMax
    }

    /// Takes the next bytes.
    mutating func feed(_ bytes: [UInt8]) {
        var start = 0
        while start < bytes.count {
            var end = bytes.count
            if let next = wanted.last, next - byteCount < UInt64(end - start) {
                end = start + Int(next - byteCount)
            }
            feed(bytes, start..<end)
            start = end
            if wanted.last == byteCount {
                wanted.removeLast()
                points[byteCount] = ContentPoint(
                    byteCount: byteCount,
                    lineCount: lineCount,
                    digest: ContentDigest(hash),
                    isLineEnd: bytes[end - 1] == 0x0A
                )
            }
        }
        if let last = bytes.last {
            self.end.isLineEnd = last == 0x0A
        }
    }

    /// Completes the scan after the last bytes.
    mutating func finish() {
        lastLineEnd.digest = ContentDigest(lastLineHash)
        end.byteCount = byteCount
        end.lineCount = lineCount
        end.digest = ContentDigest(hash)
    }

    /// The short digests of the content with the line end that its last line lacks: `\n`, `\r\n`.
    var endedDigests: [UInt64] {
        [[0x0A], [0x0D, 0x0A]].map { (lineEnd: [UInt8]) in
            var ended = hash
            ended.update(data: lineEnd)
            return ContentDigest(ended).short
        }
    }

    /// Whether the digest at the end of a line was kept, and which it is.
    func digest(ofLine line: UInt64) -> UInt64? {
        guard line > 0, line % lineStride == 0 else { return nil }
        let index = line / lineStride - 1
        return index < UInt64(lineDigests.count) ? lineDigests[Int(index)] : nil
    }

    /// Takes a piece that has no wanted point inside.
    private mutating func feed(_ bytes: [UInt8], _ range: Range<Int>) {
        var fed = range.lowerBound
        var lineEnd: Int?
        let span = bytes.span
        for index in range where span[index] == 0x0A {
            lineCount += 1
            lineEnd = index + 1
            if lineCount & (lineStride - 1) == 0 {
                hash.update(data: bytes[fed..<index + 1])
                fed = index + 1
                keepLineDigest()
            }
        }
        if let lineEnd {
            if lineEnd > fed {
                hash.update(data: bytes[fed..<lineEnd])
                fed = lineEnd
            }
            lastLineHash = hash
            lastLineEnd.byteCount = byteCount + UInt64(lineEnd - range.lowerBound)
            lastLineEnd.lineCount = lineCount
        }
        if fed < range.upperBound { hash.update(data: bytes[fed..<range.upperBound]) }
        byteCount += UInt64(range.count)
    }

    private mutating func keepLineDigest() {
        if lineDigests.count == pointsMax {
            // Every second goes: the odd multiples of the stride.
            var kept: [UInt64] = []
            kept.reserveCapacity(pointsMax)
            for index in stride(from: 1, to: lineDigests.count, by: 2) {
                kept.append(lineDigests[index])
            }
            lineDigests = kept
            lineStride *= 2
            if lineCount & (lineStride - 1) != 0 { return }
        }
        lineDigests.append(ContentDigest(hash).short)
    }
}
