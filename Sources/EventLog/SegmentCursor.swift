internal import FileIO
internal import Records

/// Walks the frames of one segment file, stepping over damage.
///
/// Reads large pieces; a frame's bytes stay alive in the array that they were read into for as long
/// as somebody keeps them.
struct SegmentCursor {
    /// One frame and where its bytes are.
    struct Found {
        /// The frame's header.
        var header: FrameHeader
        /// The bytes that it is a part of.
        var chunk: [UInt8]
        /// Where it begins in `chunk`.
        var start: Int
        /// Where it begins in the file.
        var position: UInt64
    }

    private let file: any File
    /// The segment's header; nil when both copies are damaged.
    let header: SegmentHeader?
    /// Where the next frame should begin.
    private(set) var position = UInt64(SegmentHeader.blockBytes)
    /// How many bytes were stepped over because no valid frame began there.
    private(set) var damagedBytes: UInt64 = 0
    private var chunk: [UInt8] = []
    private var chunkPosition: UInt64 = 0

    /// How much is read at once; measured: larger pieces are not faster. Chosen: 1 MiB.
    static let chunkBytes = 1 << 20

    /// Reads the header of an open segment file of a log.
    ///
    /// - Throws: `unsupportedVersion`. A damaged header, or one of another log or offset, is not an
    ///   error: there are no frames then.
    init(_ file: any File, logID: LogID, base: Offset) throws(EventLogError) {
        self.file = file
        let block = try io { () throws(FileIOError) in
            try file.read(at: 0, count: SegmentHeader.blockBytes)
        }
        switch SegmentHeader.decode(block) {
        case .valid(let header) where header.logID == logID && header.baseOffset == base:
            self.header = header
        case .valid, .damaged:
            header = nil
        case .unsupported(let version):
            throw .unsupportedVersion(path: file.path, version: version)
        }
    }

    /// The next valid frame that ends at or before `limit`.
    ///
    /// - Parameter limit: A file position; bytes beyond it are not looked at.
    /// - Returns: Nil when there is none; `position` is `limit` then, and bytes before it that were
    ///   no frame are counted in `damagedBytes`.
    mutating func next(limit: UInt64) throws(EventLogError) -> Found? {
        guard let salt = header?.salt else {
            if position < limit {
                damagedBytes += limit - position
                position = limit
            }
            return nil
        }
        while position < limit {
            guard try fill(FrameHeader.headerBytes, limit: limit) else { break }
            let start = Int(position - chunkPosition)
            switch FrameHeader.parse(chunk.span.raw, at: start, salt: salt) {
            case .frame(let header):
                let found = Found(header: header, chunk: chunk, start: start, position: position)
                position += UInt64(header.byteCount)
                return found
            case .incomplete(let bytes):
                if position + UInt64(bytes) <= limit, try fill(bytes, limit: limit) { continue }
                try resynchronise(salt: salt, limit: limit)
            case .invalid:
                try resynchronise(salt: salt, limit: limit)
            }
        }
        if position < limit {
            // The file is shorter than it should be, or there is no room for another header.
            damagedBytes += limit - position
            position = limit
        }
        return nil
    }

    /// Steps to the next place where a frame may begin, or to the limit.
    private mutating func resynchronise(salt: UInt64, limit: UInt64) throws(EventLogError) {
        let from = position
        position += 1
        while position < limit {
            guard try fill(FrameHeader.headerBytes, limit: limit) else {
                position = limit
                break
            }
            let start = Int(position - chunkPosition)
            let candidate = FrameHeader.nextCandidate(chunk.span.raw, from: start, salt: salt)
            position = chunkPosition + UInt64(candidate)
            if chunk.count - candidate >= FrameHeader.headerBytes { break }
        }
        damagedBytes += position - from
    }

    /// Makes sure that so many bytes from `position` on are in the chunk.
    ///
    /// - Returns: False when the file ends, or the limit comes, before.
    private mutating func fill(_ count: Int, limit: UInt64) throws(EventLogError) -> Bool {
        let wanted = position + UInt64(count)
        guard wanted <= limit else { return false }
        if position >= chunkPosition && wanted <= chunkPosition + UInt64(chunk.count) {
            return true
        }
        let size = max(count, min(Self.chunkBytes, Int(clamping: limit - position)))
        let from = position
        chunk = try io { () throws(FileIOError) in
            try file.read(at: from, count: size)
        }
        chunkPosition = position
        return chunk.count >= count
    }

    /// Closes the file.
    func close() {
        file.close()
    }

    /// The file's length now.
    func size() throws(EventLogError) -> UInt64 {
        try io { () throws(FileIOError) in try file.size() }
    }
}
