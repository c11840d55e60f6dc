/// Makes foreign bytes acceptable as PostgreSQL `text`: valid UTF-8 without U+0000.
package enum TextRepair {
    /// Whether PostgreSQL stores `content` as it is.
    package static func isStorable(_ content: Span<UInt8>) -> Bool {
        var isPlain = true
        for index in content.indices {
            let byte = content[index]
            if byte == 0 { return false }
            if byte >= 0x80 { isPlain = false }
        }
        if isPlain { return true }
        return (try? UTF8Span(validating: content)) != nil
    }

    /// `content` with each malformed sequence and each U+0000 replaced by U+FFFD.
    package static func repaired(_ content: Span<UInt8>) -> [UInt8] {
        let text = unsafe content.withUnsafeBufferPointer {
            unsafe String(decoding: $0, as: UTF8.self)
        }
        var bytes: [UInt8] = []
        for byte in text.utf8 {
            if byte == 0 { bytes += [0xEF, 0xBF, 0xBD] } else { bytes.append(byte) }
        }
        return bytes
    }
}
