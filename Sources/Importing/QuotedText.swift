import Records

/// Turns what servers write inside quotes back into text.
enum QuotedText {
    /// Appends the text of `escaped`: `\"`, `\\`, `\xHH`, `\n`, `\r`, `\t`, `\b`, `\v` and `\f` are
    /// resolved (Apache `ap_escape_logitem`, nginx `ngx_http_log_escape`); any other backslash
    /// stays.
    static func unescape(_ escaped: Span<UInt8>, into text: inout [UInt8]) {
        var position = 0
        while position < escaped.count {
            let byte = escaped[position]
            position += 1
            guard byte == UInt8(ascii: "\\"), position < escaped.count else {
                text.append(byte)
                continue
            }
            let code = escaped[position]
            position += 1
            switch code {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"): text.append(code)
            case UInt8(ascii: "n"): text.append(0x0A)
            case UInt8(ascii: "r"): text.append(0x0D)
            case UInt8(ascii: "t"): text.append(0x09)
            case UInt8(ascii: "b"): text.append(0x08)
            case UInt8(ascii: "v"): text.append(0x0B)
            case UInt8(ascii: "f"): text.append(0x0C)
            case UInt8(ascii: "x"):
                if position + 1 < escaped.count,
                    let high = Hexadecimal.value(of: escaped[position]),
                    let low = Hexadecimal.value(of: escaped[position + 1])
                {
                    text.append(high << 4 | low)
                    position += 2
                } else {
                    text.append(byte)
                    text.append(code)
                }
            default:
                text.append(byte)
                text.append(code)
            }
        }
    }

    /// `bytes` as UTF-8: what is malformed becomes U+FFFD.
    static func repaired(_ bytes: [UInt8]) -> [UInt8] {
        if (try? UTF8Span(validating: bytes.span)) != nil { return bytes }
        return Array(String(decoding: bytes, as: UTF8.self).utf8)
    }
}
