/// Hexadecimal digits, in the lower case that we always write.
package enum Hexadecimal {
    /// The value of one digit in either case; nil when it is none.
    package static func value(of digit: UInt8) -> UInt8? {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): digit - UInt8(ascii: "A") + 10
        default: nil
        }
    }

    /// The lower-case digit of a value below 16.
    package static func digit(_ value: UInt8) -> UInt8 {
        let value = value & 15
        return value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") + value - 10
    }

    /// Appends the two digits of a byte.
    package static func append(_ byte: UInt8, to text: inout String) {
        text.unicodeScalars.append(Unicode.Scalar(digit(byte >> 4)))
        text.unicodeScalars.append(Unicode.Scalar(digit(byte)))
    }

    /// The digits of many bytes.
    package static func text(_ bytes: [UInt8]) -> String {
        var text = ""
        text.reserveCapacity(bytes.count * 2)
        for byte in bytes { append(byte, to: &text) }
        return text
    }
}
