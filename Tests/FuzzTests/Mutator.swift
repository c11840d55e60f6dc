/// Changes bytes at random, in ways that parsers are known to mind.
///
/// The same seed makes the same changes.
struct Mutator: RandomNumberGenerator {
    private var state: UInt64

    /// Pieces that are put in: what the format is made of.
    var pieces: [[UInt8]]

    /// Begins at a seed.
    init(seed: UInt64, pieces: [[UInt8]] = []) {
        state = seed
        self.pieces = pieces + Self.boundaries
    }

    /// SplitMix64.
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }

    /// Numbers at the edges of their types, in binary and as text.
    private static let boundaries: [[UInt8]] =
        [0, 1, 0x7F, 0x80, 0xFF].map { [$0] }
        + [
            [0xFF, 0xFF], [0, 0, 0, 0], [0xFF, 0xFF, 0xFF, 0xFF], [0xFF, 0xFF, 0xFF, 0x7F],
            [UInt8](repeating: 0xFF, count: 8), [UInt8](repeating: 0xFF, count: 7) + [0x7F],
            [UInt8](repeating: 0, count: 7) + [0x80], [UInt8](repeating: 0xFF, count: 9) + [1],
            [0xC3, 0x28], [0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80],
        ]
        + [
            "-1", "18446744073709551615", "18446744073709551616", "9223372036854775808",
            "-9223372036854775808", "99999999999999999999", "\r\n", "\n", " ", "\"", "\\", "%00",
        ].map { Array($0.utf8) }

    /// A number below a bound.
    mutating func below(_ bound: Int) -> Int {
        Int.random(in: 0..<max(bound, 1), using: &self)
    }

    /// One input out of several: mostly one of them changed a little, sometimes two of them
    /// spliced, now and then nothing but noise.
    mutating func input(from corpus: [[UInt8]], countMax: Int) -> [UInt8] {
        let roll = below(20)
        if roll == 0 || corpus.isEmpty { return noise(below(300)) }
        var bytes = corpus[below(corpus.count)]
        if roll == 1 {
            let other = corpus[below(corpus.count)]
            bytes = Array(bytes.prefix(below(bytes.count + 1)))
            bytes += other.suffix(below(other.count + 1))
        }
        let changes = 1 << below(5)
        for _ in 0..<below(changes) + 1 { change(&bytes) }
        if bytes.count > countMax { bytes.removeLast(bytes.count - countMax) }
        return bytes
    }

    /// Bytes without sense.
    mutating func noise(_ count: Int) -> [UInt8] {
        (0..<count).map { _ in UInt8.random(in: 0...255, using: &self) }
    }

    /// One change.
    mutating func change(_ bytes: inout [UInt8]) {
        let at = below(bytes.count + 1)
        switch below(9) {
        case 0 where at < bytes.count: bytes[at] ^= 1 << UInt8(below(8))
        case 1 where at < bytes.count: bytes[at] = UInt8(below(256))
        case 2 where at < bytes.count: bytes[at] &+= below(2) == 0 ? 1 : 255
        case 3: bytes.removeSubrange(at..<min(bytes.count, at + 1 + below(16)))
        case 4:
            // A piece of it again, somewhere else.
            let piece = bytes[at..<min(bytes.count, at + 1 + below(64))]
            bytes.insert(contentsOf: piece, at: below(bytes.count + 1))
        case 5: bytes.insert(contentsOf: pieces[below(pieces.count)], at: at)
        case 6:
            let piece = pieces[below(pieces.count)]
            bytes.replaceSubrange(at..<min(bytes.count, at + piece.count), with: piece)
        case 7: bytes.removeLast(bytes.count - at)
        default:
            // The same byte many times: lengths and depths.
            let byte = at < bytes.count ? bytes[at] : UInt8(below(256))
            bytes.insert(contentsOf: repeatElement(byte, count: 1 << below(10)), at: at)
        }
    }
}
