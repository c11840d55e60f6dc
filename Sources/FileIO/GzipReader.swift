internal import CZlib

/// Reads a file front to back, inflating it when it is gzip (members concatenated) and as it is
/// otherwise. Owned by one thread.
package final class GzipReader {
    private let file: any File
    private var position: UInt64
    private var input: [UInt8] = []
    private var inputStart = 0
    private var inflater: Inflater?
    private var isAtEnd = false

    /// Where in the file the last gzip member that was read whole has ended.
    package private(set) var memberEnd: UInt64

    /// How much is read from the file at once; chosen: 256 KiB.
    private static let inputBytes = 256 << 10

    /// Starts reading a file.
    ///
    /// - Parameters:
    ///   - file: The file; looked at from there.
    ///   - position: Where to begin.
    package init(_ file: any File, from position: UInt64 = 0) throws(FileIOError) {
        self.file = file
        self.position = position
        memberEnd = position
        try refill()
        if input.starts(with: [0x1F, 0x8B]) {
            inflater = try Inflater(path: file.path)
        }
    }

    /// Whether the file is compressed.
    package var isCompressed: Bool { inflater != nil }

    /// Whether what was read so far ends with a whole member.
    package var isBetweenMembers: Bool { inflater?.isInsideMember == false }

    /// Appends the next bytes of the decompressed content.
    ///
    /// - Parameters:
    ///   - count: How many bytes at most; at least 1.
    ///   - buffer: Where they are appended.
    /// - Returns: How many bytes were appended; 0 at the end.
    /// - Throws: An error of the file, or `corruptData` when the compressed data are damaged or end
    ///   too early; what was appended before is good.
    package func read(_ count: Int, appendingTo buffer: inout [UInt8]) throws(FileIOError) -> Int {
        while let taken = try step(count, appendingTo: &buffer) {
            if taken > 0 { return taken }
        }
        return 0
    }

    /// As `read`, but ends with a member, possibly without any byte of content.
    ///
    /// - Returns: How many bytes were appended; nil at the end.
    package func step(_ count: Int, appendingTo buffer: inout [UInt8]) throws(FileIOError) -> Int? {
        guard !isAtEnd else { return nil }
        if inputStart == input.count {
            try refill()
        }
        if input.isEmpty {
            isAtEnd = true
            if let inflater, inflater.isInsideMember {
                throw FileIOError(call: "inflate", path: file.path, code: FileIOError.corruptData)
            }
            return nil
        }
        guard let inflater else {
            let taken = min(count, input.count - inputStart)
            buffer += input[inputStart..<(inputStart + taken)]
            inputStart += taken
            return taken
        }
        let step = try inflater.inflate(input, from: inputStart, count, appendingTo: &buffer)
        inputStart += step.consumed
        if step.isEnd {
            isAtEnd = true
            return nil
        }
        if !inflater.isInsideMember { memberEnd = position - UInt64(input.count - inputStart) }
        return step.produced
    }

    /// Reads the next piece of the file; empty at its end.
    private func refill() throws(FileIOError) {
        input = try file.read(at: position, count: Self.inputBytes)
        inputStart = 0
        position += UInt64(input.count)
    }
}

/// A zlib stream that inflates gzip members one after the other.
// Safety: the stream is allocated in `init`, freed in `deinit`, and used by one thread at a time
// because its owner is not Sendable; zlib keeps a pointer to it, so it must not move.
@safe
private final class Inflater {
    private let stream: UnsafeMutablePointer<z_stream>
    private let path: String
    /// Whether a member has begun and not ended.
    private(set) var isInsideMember = false
    private var hasEndedOne = false

    /// What one call did.
    struct Step {
        var consumed: Int
        var produced: Int
        /// Whether what follows is no gzip member (padding): the end.
        var isEnd = false
    }

    init(path: String) throws(FileIOError) {
        self.path = path
        unsafe stream = .allocate(capacity: 1)
        unsafe stream.initialize(to: z_stream())
        // 15 window bits, plus 16: gzip only.
        let result = unsafe inflateInit2_(
            stream,
            15 + 16,
            ZLIB_VERSION,
            Int32(MemoryLayout<z_stream>.size)
        )
        guard result == Z_OK else {
            throw FileIOError(call: "inflateInit2", path: path, code: FileIOError.inputOutput)
        }
    }

    deinit {
        unsafe inflateEnd(stream)
        unsafe stream.deallocate()
    }

    /// Inflates a piece.
    func inflate(
        _ input: [UInt8],
        from start: Int,
        _ count: Int,
        appendingTo buffer: inout [UInt8]
    ) throws(FileIOError) -> Step {
        if !isInsideMember && hasEndedOne && input[start] != 0x1F {
            return Step(consumed: input.count - start, produced: 0, isEnd: true)
        }
        var result = Z_OK
        var consumed = 0
        var produced = 0
        let piece = unsafe [UInt8](unsafeUninitializedCapacity: count) { output, filled in
            unsafe input.withUnsafeBufferPointer { source in
                // zlib does not write to its input.
                unsafe stream.pointee.next_in = source.baseAddress.map {
                    unsafe UnsafeMutablePointer(mutating: $0) + start
                }
                unsafe stream.pointee.avail_in = UInt32(source.count - start)
                unsafe stream.pointee.next_out = output.baseAddress
                unsafe stream.pointee.avail_out = UInt32(count)
                result = unsafe CZlib.inflate(stream, Z_NO_FLUSH)
                consumed = unsafe source.count - start - Int(stream.pointee.avail_in)
                produced = unsafe count - Int(stream.pointee.avail_out)
                unsafe stream.pointee.next_in = nil
                unsafe stream.pointee.next_out = nil
            }
            filled = produced
        }
        buffer += piece
        switch result {
        case Z_OK, Z_BUF_ERROR:
            isInsideMember = true
        case Z_STREAM_END:
            isInsideMember = false
            hasEndedOne = true
            unsafe inflateReset(stream)
        default:
            throw FileIOError(call: "inflate", path: path, code: FileIOError.corruptData)
        }
        return Step(consumed: consumed, produced: produced)
    }
}
