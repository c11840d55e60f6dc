internal import CZlib

/// Compresses bytes into gzip members; members put one after the other are a gzip file.
package enum GzipMember {
    /// One whole member.
    ///
    /// - Parameter bytes: The content.
    /// - Returns: Header, compressed content and trailer.
    /// - Throws: `inputOutput` when zlib has no memory.
    package static func compress(_ bytes: [UInt8]) throws(FileIOError) -> [UInt8] {
        var stream = unsafe z_stream()
        // 15 window bits, plus 16: gzip. Level 6 and memory level 8 are zlib's own defaults.
        var result = unsafe deflateInit2_(
            &stream,
            6,
            Z_DEFLATED,
            15 + 16,
            8,
            Z_DEFAULT_STRATEGY,
            ZLIB_VERSION,
            Int32(MemoryLayout<z_stream>.size)
        )
        guard result == Z_OK else { throw failure("deflateInit2") }
        defer { unsafe deflateEnd(&stream) }
        let bound = Int(unsafe deflateBound(&stream, UInt(bytes.count)))
        let member = unsafe [UInt8](unsafeUninitializedCapacity: bound) { output, filled in
            unsafe bytes.withUnsafeBufferPointer { source in
                // zlib does not write to its input.
                unsafe stream.next_in = source.baseAddress.map {
                    unsafe UnsafeMutablePointer(mutating: $0)
                }
                unsafe stream.avail_in = UInt32(source.count)
                unsafe stream.next_out = output.baseAddress
                unsafe stream.avail_out = UInt32(bound)
                result = unsafe deflate(&stream, Z_FINISH)
                filled = unsafe bound - Int(stream.avail_out)
            }
        }
        guard result == Z_STREAM_END else { throw failure("deflate") }
        return member
    }

    private static func failure(_ call: String) -> FileIOError {
        FileIOError(call: call, path: "", code: FileIOError.inputOutput)
    }
}
