/// A key as a terminal sends it.
package enum Key: Equatable, Sendable {
    /// A character.
    case character(Character)
    /// The arrow upwards.
    case up
    /// The arrow downwards.
    case down
    /// A page upwards.
    case pageUp
    /// A page downwards.
    case pageDown
    /// To the beginning.
    case home
    /// To the end.
    case end
    /// Escape alone.
    case escape
    /// Any other key with a sequence of its own.
    case other

    /// The keys in bytes that arrived together (ECMA-48: a sequence begins with ESC [ or ESC O and
    /// ends with a byte from @ to ~).
    package static func keys(_ bytes: [UInt8]) -> [Key] {
        var keys: [Key] = []
        var text: [UInt8] = []
        func flush() {
            keys += String(decoding: text, as: UTF8.self).map { .character($0) }
            text = []
        }
        var rest = bytes[...]
        while let byte = rest.popFirst() {
            guard byte == 0x1B else {
                text.append(byte)
                continue
            }
            flush()
            guard let kind = rest.first, kind == UInt8(ascii: "[") || kind == UInt8(ascii: "O")
            else {
                keys.append(.escape)
                continue
            }
            rest.removeFirst()
            let parameters = rest.prefix { !(0x40...0x7E).contains($0) }
            rest = rest.dropFirst(parameters.count)
            keys.append(key(Array(parameters), rest.popFirst()))
        }
        flush()
        return keys
    }

    private static func key(_ parameters: [UInt8], _ last: UInt8?) -> Key {
        switch (last, parameters.first) {
        case (UInt8(ascii: "A"), _): .up
        case (UInt8(ascii: "B"), _): .down
        case (UInt8(ascii: "H"), _), (UInt8(ascii: "~"), UInt8(ascii: "1")): .home
        case (UInt8(ascii: "F"), _), (UInt8(ascii: "~"), UInt8(ascii: "4")): .end
        case (UInt8(ascii: "~"), UInt8(ascii: "5")): .pageUp
        case (UInt8(ascii: "~"), UInt8(ascii: "6")): .pageDown
        default: .other
        }
    }
}
