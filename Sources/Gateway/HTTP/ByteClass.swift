/// The classes of bytes that the grammar of HTTP/1.1 distinguishes; arithmetic, no tables.
enum ByteClass {
    /// Carriage return.
    static var carriageReturn: UInt8 { 0x0D }
    /// Line feed.
    static var lineFeed: UInt8 { 0x0A }
    /// Space.
    static var space: UInt8 { 0x20 }
    /// Horizontal tab.
    static var tab: UInt8 { 0x09 }
    /// Colon.
    static var colon: UInt8 { 0x3A }

    /// `tchar` of RFC 9110 §5.6.2: what methods and field names consist of.
    @inline(__always)
    static func isToken(_ byte: UInt8) -> Bool {
        // One bit per byte value: ! # $ % & ' * + - . 0-9 in the first word, A-Z ^ _ ` a-z | ~ in
        // the second.
        if byte < 64 { return 0x03FF_6CFA_0000_0000 as UInt64 >> UInt64(byte) & 1 == 1 }
        return byte < 128 && 0x57FF_FFFF_C7FF_FFFE as UInt64 >> UInt64(byte - 64) & 1 == 1
    }

    /// What may stand in a field value: `HTAB`, `SP`, visible ASCII and `obs-text`.
    @inline(__always)
    static func isFieldValue(_ byte: UInt8) -> Bool {
        byte >= 0x20 ? byte != 0x7F : byte == 0x09
    }

    /// What may stand in a request target: visible ASCII but `" # < >`.
    ///
    /// Wider than RFC 3986 by the characters that browsers send unescaped in queries.
    @inline(__always)
    static func isTarget(_ byte: UInt8) -> Bool {
        if byte < 64 { return 0xAFFF_FFF2_0000_0000 as UInt64 >> UInt64(byte) & 1 == 1 }
        return byte < 0x7F
    }

    /// What may stand in a host name or address, port and brackets apart (RFC 3986 §3.2.2).
    @inline(__always)
    static func isHost(_ byte: UInt8) -> Bool {
        // ! $ % & ' ( ) * + , - . 0-9 ; = and A-Z _ a-z ~
        if byte < 64 { return 0x2BFF_7FF2_0000_0000 as UInt64 >> UInt64(byte) & 1 == 1 }
        return byte < 128 && 0x47FF_FFFE_87FF_FFFE as UInt64 >> UInt64(byte - 64) & 1 == 1
    }

    /// Whether a byte is an ASCII digit.
    @inline(__always)
    static func isDigit(_ byte: UInt8) -> Bool { byte >= 0x30 && byte <= 0x39 }

    /// The value of a hexadecimal digit; nil for any other byte.
    @inline(__always)
    static func hexadecimal(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 0x30...0x39: byte - 0x30
        case 0x41...0x46: byte - 0x41 + 10
        case 0x61...0x66: byte - 0x61 + 10
        default: nil
        }
    }

    /// The lower case of an ASCII letter; any other byte as it is.
    @inline(__always)
    static func lowercase(_ byte: UInt8) -> UInt8 {
        byte >= 0x41 && byte <= 0x5A ? byte + 0x20 : byte
    }
}

/// Compares bytes with lower-case ASCII text, ignoring the case of the bytes.
@inline(__always)
func equalsIgnoringCase(_ bytes: Span<UInt8>, _ lowercase: Span<UInt8>) -> Bool {
    guard bytes.count == lowercase.count else { return false }
    for index in 0..<bytes.count
    where ByteClass.lowercase(bytes[index]) != lowercase[index] {
        return false
    }
    return true
}

/// Compares bytes with lower-case ASCII text, ignoring the case of the bytes.
@inline(__always)
func equalsIgnoringCase(_ bytes: Span<UInt8>, _ lowercase: String) -> Bool {
    let text = lowercase.utf8
    return equalsIgnoringCase(bytes, text.span)
}
