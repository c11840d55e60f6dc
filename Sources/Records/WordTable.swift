/// A small fixed map from words to numbers, looked up without allocating.
///
/// Words are at most eight ASCII letters or digits, packed in an integer, case ignored: longer
/// words are known by their first eight. Built once; open addressing over 512 places.
struct WordTable: Sendable {
    /// The packed words; 0 is a free place.
    private var words = [UInt64](repeating: 0, count: 512)
    /// The number of the word at the same place.
    private var values = [UInt8](repeating: 0, count: 512)

    /// Builds the table; a word that occurs twice keeps its first number.
    init(_ entries: [(word: String, value: UInt8)]) {
        for entry in entries.prefix(256) {
            var packed: UInt64 = 0
            for unit in entry.word.utf8.prefix(8) {
                packed = packed << 8 | UInt64(Self.folded(unit))
            }
            var place = Self.place(packed)
            while words[place] != 0, words[place] != packed { place = (place + 1) & 511 }
            if words[place] == 0 {
                words[place] = packed
                values[place] = entry.value
            }
        }
    }

    /// The number of a packed word, or nil.
    @inline(__always)
    private func value(_ packed: UInt64) -> UInt8? {
        var place = Self.place(packed)
        while words[place] != 0 {
            if words[place] == packed { return values[place] }
            place = (place + 1) & 511
        }
        return nil
    }

    /// The smallest number of any word in the text, and whether a word says it is a robot.
    func smallest(in bytes: Span<UInt8>) -> (value: UInt8?, isRobot: Bool) {
        var best: UInt8?
        var isRobot = false
        var head: UInt64 = 0
        var tail: UInt64 = 0
        var count = 0
        for index in 0...bytes.count {
            let folded = index < bytes.count ? Self.folded(bytes[index]) : 0
            if folded != 0 {
                if count < 8 { head = head << 8 | UInt64(folded) }
                tail = tail << 8 | UInt64(folded)
                count += 1
            } else if count > 0 {
                if let value = value(head), best.map({ value < $0 }) ?? true { best = value }
                isRobot = isRobot || Self.endsLikeRobot(tail)
                head = 0
                tail = 0
                count = 0
            }
        }
        return (best, isRobot)
    }

    /// Whether a word's last letters are those of "bot", "spider" or "crawler".
    @inline(__always)
    private static func endsLikeRobot(_ tail: UInt64) -> Bool {
        tail & 0xFF_FFFF == 0x62_6F74 || tail & 0xFFFF_FFFF_FFFF == 0x7370_6964_6572
            || tail & 0xFF_FFFF_FFFF_FFFF == 0x63_7261_776C_6572
    }

    /// Where the search for a word begins.
    @inline(__always)
    private static func place(_ packed: UInt64) -> Int {
        // Multiplicative hashing keeps only the high bits: wrapping is meant.
        Int(truncatingIfNeeded: (packed &* 0x9E37_79B9_7F4A_7C15) >> 55)
    }

    /// The lower case of an ASCII letter or digit; 0 for every other byte.
    @inline(__always)
    private static func folded(_ byte: UInt8) -> UInt8 {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"): byte
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): byte + 32
        default: 0
        }
    }
}
