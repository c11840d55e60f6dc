internal import CSluice

/// CRC32C (Castagnoli), the checksum of every file format here.
package enum Checksum {
    /// The checksum of bytes, continuing from an earlier one.
    ///
    /// - Parameters:
    ///   - bytes: What to add.
    ///   - previous: The checksum of the bytes before these; 0 at the start.
    /// - Returns: The checksum of all bytes so far.
    package static func crc32c(_ bytes: RawSpan, continuing previous: UInt32 = 0) -> UInt32 {
        unsafe bytes.withUnsafeBytes { buffer in
            unsafe sluice_crc32c(previous, buffer.baseAddress, buffer.count)
        }
    }

    /// The checksum of an array, continuing from an earlier one.
    package static func crc32c(_ bytes: [UInt8], continuing previous: UInt32 = 0) -> UInt32 {
        crc32c(bytes.span.raw, continuing: previous)
    }

    /// The same by the portable path, for comparison in tests.
    package static func crc32cPortable(_ bytes: [UInt8]) -> UInt32 {
        unsafe bytes.withUnsafeBytes { buffer in
            unsafe sluice_crc32c_table(0, buffer.baseAddress, buffer.count)
        }
    }
}

extension Checksum {
    /// The checksum of 64-bit words in their little-endian form.
    package static func crc32c(words: Span<UInt64>) -> UInt32 {
        var result: UInt32 = 0
        for index in words.indices {
            var word = words[index].littleEndian
            result = unsafe sluice_crc32c(result, &word, 8)
        }
        return result
    }
}
