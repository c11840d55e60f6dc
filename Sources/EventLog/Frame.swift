internal import FileIO
internal import Records

/// The header of one batch (or of a log's end) in a segment.
///
/// | byte | size | field | type |
/// |---:|---:|---|---|
/// | 0 | 4 | magic `SLFR` | bytes |
/// | 4 | 1 | format version, 1 | u8 |
/// | 5 | 1 | kind: 1 = records, 2 = end of the log | u8 |
/// | 6 | 2 | zero | u16 |
/// | 8 | 4 | bytes of the frame, this header included | u32 |
/// | 12 | 4 | record count; 0 in an end frame | u32 |
/// | 16 | 8 | base offset; in an end frame the end offset | u64 |
/// | 24 | 8 | append time, µs since the epoch | i64 |
/// | 32 | 8 | earliest event time, µs since the epoch | i64 |
/// | 40 | 8 | latest event time, µs since the epoch | i64 |
/// | 48 | 8 | durable offset when it was written | u64 |
/// | 56 | 8 | salt of the segment | u64 |
/// | 64 | 4 | zero | u32 |
/// | 68 | 4 | CRC32C of bytes 0 to 67 and the payload | u32 |
///
/// Payload: per record its size (u32) and its bytes. Integers are little-endian.
/// `docs/formats/segment.md` has the same table.
struct FrameHeader: Equatable, Sendable {
    /// What a frame holds.
    enum Kind: UInt8, Sendable {
        /// A batch of records.
        case records = 1
        /// The end of the log: no offset at or above its base offset was ever assigned.
        case end = 2
    }

    /// What the frame holds.
    var kind: Kind
    /// Bytes of the frame, header included.
    var byteCount: Int
    /// How many records.
    var count: Int
    /// The offset of the first record.
    var baseOffset: Offset
    /// When it was written, µs since the epoch.
    var appendTime: Int64
    /// The earliest event time.
    var eventTimeMin: Int64
    /// The latest event time.
    var eventTimeMax: Int64
    /// The durable offset when it was written.
    var durableOffset: Offset

    /// The offset after the last record.
    var nextOffset: Offset { baseOffset.advanced(by: UInt64(count)) }

    /// The size of a header.
    static let headerBytes = 72
    /// The largest frame that readers accept; chosen: well above any configured batch.
    static let frameBytesMax = 64 << 20
    /// `SLFR` as a little-endian integer.
    static let magic: UInt32 = 0x5246_4C53
    /// Magic and version: the first five bytes.
    static let version: UInt8 = 1
    /// Where the salt is.
    static let saltPosition = 56
    /// Where the checksum is.
    static let checksumPosition = 68

    /// Writes the header into the room at the front of a frame's bytes and sets the checksum.
    ///
    /// - Parameters:
    ///   - bytes: The frame: 72 bytes of room, then the payload.
    ///   - salt: The segment's salt.
    func store(into bytes: inout [UInt8], salt: UInt64) {
        bytes.storeLittleEndian(Self.magic, at: 0)
        bytes[4] = Self.version
        bytes[5] = kind.rawValue
        bytes.storeLittleEndian(UInt16(0), at: 6)
        bytes.storeLittleEndian(UInt32(bytes.count), at: 8)
        bytes.storeLittleEndian(UInt32(count), at: 12)
        bytes.storeLittleEndian(baseOffset.rawValue, at: 16)
        bytes.storeLittleEndian(UInt64(bitPattern: appendTime), at: 24)
        bytes.storeLittleEndian(UInt64(bitPattern: eventTimeMin), at: 32)
        bytes.storeLittleEndian(UInt64(bitPattern: eventTimeMax), at: 40)
        bytes.storeLittleEndian(durableOffset.rawValue, at: 48)
        bytes.storeLittleEndian(UInt32(0), at: 64)
        Self.storeSalt(salt, into: &bytes)
    }

    /// Replaces the salt of a complete frame and sets the checksum: for another segment.
    static func storeSalt(_ salt: UInt64, into bytes: inout [UInt8]) {
        bytes.storeLittleEndian(salt, at: saltPosition)
        let checksum = checksum(of: bytes.span.raw)
        bytes.storeLittleEndian(checksum, at: checksumPosition)
    }

    /// The checksum that a frame should have.
    private static func checksum(of frame: RawSpan) -> UInt32 {
        let head = Checksum.crc32c(frame.extracting(0..<checksumPosition))
        return Checksum.crc32c(
            frame.extracting(headerBytes..<frame.byteCount),
            continuing: head
        )
    }

    /// What bytes turned out to be.
    enum Parsed: Equatable {
        /// A valid frame.
        case frame(FrameHeader)
        /// Perhaps a frame, but this many bytes are needed to know.
        case incomplete(bytes: Int)
        /// No frame.
        case invalid
    }

    /// Looks for a frame at one place.
    ///
    /// - Parameters:
    ///   - bytes: Bytes of the segment.
    ///   - start: Where the frame should begin.
    ///   - salt: The segment's salt.
    static func parse(_ bytes: RawSpan, at start: Int, salt: UInt64) -> Parsed {
        guard bytes.byteCount - start >= headerBytes else {
            return .incomplete(bytes: headerBytes)
        }
        let byteCount = Int(bytes.littleEndian(UInt32.self, at: start + 8))
        guard bytes.littleEndian(UInt32.self, at: start) == magic,
            bytes.byte(at: start + 4) == version,
            let kind = Kind(rawValue: bytes.byte(at: start + 5)),
            byteCount >= headerBytes, byteCount <= frameBytesMax,
            bytes.littleEndian(UInt64.self, at: start + saltPosition) == salt
        else { return .invalid }
        guard bytes.byteCount - start >= byteCount else {
            return .incomplete(bytes: byteCount)
        }
        let frame = bytes.extracting(start..<(start + byteCount))
        guard frame.littleEndian(UInt32.self, at: checksumPosition) == checksum(of: frame) else {
            return .invalid
        }
        let count = Int(frame.littleEndian(UInt32.self, at: 12))
        let base = frame.littleEndian(UInt64.self, at: 16)
        guard base <= UInt64.max - UInt64(count), kind == .records ? count > 0 : count == 0,
            kind == .end || holdsRecords(frame, count: count)
        else { return .invalid }
        return .frame(
            FrameHeader(
                kind: kind,
                byteCount: byteCount,
                count: count,
                baseOffset: Offset(base),
                appendTime: frame.littleEndian(Int64.self, at: 24),
                eventTimeMin: frame.littleEndian(Int64.self, at: 32),
                eventTimeMax: frame.littleEndian(Int64.self, at: 40),
                durableOffset: Offset(frame.littleEndian(UInt64.self, at: 48))
            )
        )
    }

    /// Whether the payload is exactly `count` records, so that walking it can never go wrong, even
    /// in a file that somebody made up.
    private static func holdsRecords(_ frame: RawSpan, count: Int) -> Bool {
        var at = headerBytes
        for _ in 0..<count {
            guard frame.byteCount - at >= 4 else { return false }
            at += 4 + Int(frame.littleEndian(UInt32.self, at: at))
            guard at <= frame.byteCount else { return false }
        }
        return at == frame.byteCount
    }

    /// The next place at or after `start` where a frame of this salt may begin.
    ///
    /// - Returns: A place whose magic matches, and whose salt does as far as there are bytes; or
    ///   the first place that is too near the end to tell; `bytes.byteCount` when there is none.
    static func nextCandidate(_ bytes: RawSpan, from start: Int, salt: UInt64) -> Int {
        var at = start
        while at + 4 <= bytes.byteCount {
            if bytes.byte(at: at) == UInt8(truncatingIfNeeded: magic),
                bytes.littleEndian(UInt32.self, at: at) == magic
            {
                let saltEnd = at + saltPosition + 8
                if saltEnd > bytes.byteCount
                    || bytes.littleEndian(UInt64.self, at: at + saltPosition) == salt
                {
                    return at
                }
            }
            at += 1
        }
        return min(at, bytes.byteCount)
    }
}
