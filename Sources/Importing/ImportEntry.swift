import FileIO
import Records

/// One import in the registry: which part of which content became which log.
///
/// A text file; the digests of line ends follow it as bytes.
///
/// | line | content |
/// |---|---|
/// | `sluice import 1` | format and version |
/// | `log UUID` | the log that holds the lines |
/// | `format NAME` | how they were read |
/// | `parent BYTES LINES SHA256 0\|1` | where they begin, and whether that is a line end |
/// | `end BYTES LINES SHA256 0\|1` | where they end |
/// | `stride N` | every N-th line end has a digest |
/// | `points N` | how many digests follow |
/// | `crc32c HEX` | over the lines above, 8 digits |
///
/// Then, for each multiple of the stride among the lines from the parent to the end, the first
/// eight bytes of the SHA-256 of all content up to that line's end.
struct ImportEntry: Equatable, Sendable {
    /// The log that holds the lines.
    var log: LogID
    /// How the lines were read.
    var format: String
    /// Where the lines begin: all before had been imported.
    var parent: ContentPoint
    /// Where they end.
    var end: ContentPoint
    /// Every so many lines a digest is kept.
    var lineStride: UInt64
    /// How many digests are kept.
    var pointCount: UInt64
    /// Where the digests begin in the file; set when the entry was read.
    var headerBytes = 0

    /// Room for the header; the longest takes about 400 bytes.
    static let headerBytesMax = 1024

    /// The number of the first line that has a digest, in units of the stride.
    private var firstMultiple: UInt64 { parent.lineCount / lineStride + 1 }

    /// The index of a line's digest among those kept, if it has one here.
    func pointIndex(ofLine line: UInt64) -> UInt64? {
        guard line % lineStride == 0, line / lineStride >= firstMultiple else { return nil }
        let index = line / lineStride - firstMultiple
        return index < pointCount ? index : nil
    }

    /// The entry's file: header and the digests that `scan` kept for its lines.
    static func encode(_ entry: ImportEntry, _ scan: ContentScan) -> [UInt8] {
        var entry = entry
        entry.lineStride = scan.lineStride
        var points: [UInt64] = []
        var line = entry.firstMultiple * entry.lineStride
        while line <= entry.end.lineCount, let digest = scan.digest(ofLine: line) {
            points.append(digest)
            line += entry.lineStride
        }
        entry.pointCount = UInt64(points.count)
        var bytes = entry.header()
        bytes.reserveCapacity(bytes.count + 8 * points.count)
        for point in points {
            for shift in stride(from: UInt64(0), to: 64, by: 8) {
                bytes.append(UInt8(truncatingIfNeeded: point >> shift))
            }
        }
        return bytes
    }

    /// The text lines, with their checksum.
    private func header() -> [UInt8] {
        func text(_ point: ContentPoint) -> String {
            "\(point.byteCount) \(point.lineCount) \(point.digest.hexadecimal) "
                + (point.isLineEnd ? "1" : "0")
        }
        let text = """
            sluice import 1
            log \(log)
            format \(format)
            parent \(text(parent))
            end \(text(end))
            stride \(lineStride)
            points \(pointCount)

            """
        let bytes = Array(text.utf8)
        let checksum = String(Checksum.crc32c(bytes.span.raw), radix: 16)
        let padded = String(repeating: "0", count: 8 - checksum.count) + checksum
        return bytes + Array("crc32c \(padded)\n".utf8)
    }

    /// Reads the header at the beginning of an entry's file of `size` bytes.
    init(_ bytes: [UInt8], path: String, size: UInt64) throws(ImportError) {
        func damaged(_ reason: String) -> ImportError {
            .damagedRegistry(path: path, reason: reason)
        }
        let lines = bytes.split(
            separator: 0x0A,
            maxSplits: 8,
            omittingEmptySubsequences: false
        )
        guard lines.count == 9 else { throw damaged("it ends early") }
        let names = [
            "sluice", "log", "format", "parent", "end", "stride", "points", "crc32c",
        ]
        var fields: [[String]] = []
        for index in 0..<8 {
            let words = String(decoding: lines[index], as: UTF8.self)
                .split(separator: " ", omittingEmptySubsequences: false).map { String($0) }
            guard words[0] == names[index] else { throw damaged("\"\(names[index])\" is missing") }
            fields.append(Array(words.dropFirst()))
        }
        let headerBytes = lines[..<8].reduce(0) { $0 + $1.count + 1 }
        let covered = headerBytes - lines[7].count - 1
        let checksum = Checksum.crc32c(Array(bytes[..<covered]).span.raw)
        guard fields[7].count == 1, UInt32(fields[7][0], radix: 16) == checksum else {
            throw damaged("its checksum is wrong")
        }
        guard fields[0] == ["import", "1"] else { throw damaged("its version is not 1") }
        guard
            fields[1].count == 1, let log = LogID(fields[1][0]), fields[2].count == 1,
            let parent = Self.point(fields[3]), let end = Self.point(fields[4]),
            let lineStride = Self.number(fields[5]), lineStride > 0,
            let points = Self.number(fields[6])
        else { throw damaged("a value is not what it should be") }
        guard points <= size / 8, UInt64(headerBytes) + 8 * points == size else {
            throw damaged("it has \(size) bytes, not those of \(points) digests")
        }
        self.init(
            log: log,
            format: fields[2][0],
            parent: parent,
            end: end,
            lineStride: lineStride,
            pointCount: points,
            headerBytes: headerBytes
        )
    }

    init(
        log: LogID,
        format: String,
        parent: ContentPoint,
        end: ContentPoint,
        lineStride: UInt64 = 1,
        pointCount: UInt64 = 0,
        headerBytes: Int = 0
    ) {
        self.log = log
        self.format = format
        self.parent = parent
        self.end = end
        self.lineStride = lineStride
        self.pointCount = pointCount
        self.headerBytes = headerBytes
    }

    private static func number(_ words: [String]) -> UInt64? {
        words.count == 1 ? UInt64(words[0]) : nil
    }

    private static func point(_ words: [String]) -> ContentPoint? {
        guard
            words.count == 4, let bytes = UInt64(words[0]), let lines = UInt64(words[1]),
            let digest = ContentDigest(hexadecimal: words[2]), words[3] == "0" || words[3] == "1"
        else { return nil }
        return ContentPoint(
            byteCount: bytes,
            lineCount: lines,
            digest: digest,
            isLineEnd: words[3] == "1"
        )
    }
}
