/// One cell of an answer.
package enum Value: Hashable, Sendable {
    /// Unknown or absent.
    case null
    /// A count, a number of bytes or a status.
    case integer(Int64)
    /// Seconds, or a ratio.
    case number(Double)
    /// The value of a dimension.
    case text(String)
}

/// Writes JSON text member by member, in the order of the calls.
package struct JSONWriter: Sendable {
    private var bytes: [UInt8] = []
    private var needsComma = false

    /// An empty document.
    package init() {}

    /// What has been written so far.
    package var text: String { String(decoding: bytes, as: UTF8.self) }

    /// What has been written so far, as UTF-8.
    package var utf8: [UInt8] { bytes }

    /// Opens an object.
    package mutating func beginObject() { open(UInt8(ascii: "{")) }

    /// Closes the innermost object.
    package mutating func endObject() { close(UInt8(ascii: "}")) }

    /// Opens an array.
    package mutating func beginArray() { open(UInt8(ascii: "[")) }

    /// Closes the innermost array.
    package mutating func endArray() { close(UInt8(ascii: "]")) }

    /// Ends a line, for newline-delimited JSON; the next value starts a new document.
    package mutating func endLine() {
        bytes.append(UInt8(ascii: "\n"))
        needsComma = false
    }

    /// Writes the name of the next member.
    package mutating func key(_ name: String) {
        separate()
        quote(name)
        bytes.append(UInt8(ascii: ":"))
        needsComma = false
    }

    /// Writes one value.
    package mutating func value(_ value: Value) {
        separate()
        switch value {
        case .null: bytes.append(contentsOf: "null".utf8)
        case .integer(let number): bytes.append(contentsOf: String(number).utf8)
        case .number(let number):
            // JSON has no infinities; none is ever computed, and null is the honest answer.
            let text = number.isFinite ? number.description : "null"
            bytes.append(contentsOf: text.utf8)
        case .text(let text): quote(text)
        }
        needsComma = true
    }

    /// Writes `true` or `false`.
    package mutating func value(_ flag: Bool) {
        separate()
        bytes.append(contentsOf: (flag ? "true" : "false").utf8)
        needsComma = true
    }

    /// Writes a value that is JSON text already.
    mutating func raw(_ json: String) {
        separate()
        bytes.append(contentsOf: json.utf8)
        needsComma = true
    }

    /// Writes a member with a value.
    package mutating func member(_ name: String, _ value: Value) {
        key(name)
        self.value(value)
    }

    /// Writes a member with a text, or null.
    package mutating func member(_ name: String, _ text: String?) {
        key(name)
        value(text.map { .text($0) } ?? .null)
    }

    /// Writes a member that is an array of texts.
    package mutating func member(_ name: String, _ texts: [String]) {
        key(name)
        beginArray()
        for text in texts { value(.text(text)) }
        endArray()
    }

    private mutating func open(_ bracket: UInt8) {
        separate()
        bytes.append(bracket)
        needsComma = false
    }

    private mutating func close(_ bracket: UInt8) {
        bytes.append(bracket)
        needsComma = true
    }

    private mutating func separate() {
        if needsComma { bytes.append(UInt8(ascii: ",")) }
    }

    /// Quotes and escapes as RFC 8259 asks; everything else stays UTF-8.
    private mutating func quote(_ text: String) {
        bytes.append(UInt8(ascii: "\""))
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"):
                bytes.append(UInt8(ascii: "\\"))
                bytes.append(byte)
            case 0x0A: bytes.append(contentsOf: "\\n".utf8)
            case 0x0D: bytes.append(contentsOf: "\\r".utf8)
            case 0x09: bytes.append(contentsOf: "\\t".utf8)
            case 0..<0x20, 0x7F:
                bytes.append(contentsOf: "\\u00".utf8)
                bytes.append(Self.hexadecimal(byte >> 4))
                bytes.append(Self.hexadecimal(byte & 15))
            default: bytes.append(byte)
            }
        }
        bytes.append(UInt8(ascii: "\""))
    }

    private static func hexadecimal(_ digit: UInt8) -> UInt8 {
        digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10
    }
}
