internal import FileIO
internal import Records

/// The first 4 KiB of a segment file: who wrote it, and the salt of its frames.
///
/// Two equal copies, at bytes 0 and 2048, so that one damaged sector does not cost the salt. Each:
///
/// | byte | size | field | type |
/// |---:|---:|---|---|
/// | 0 | 8 | magic `SLUICELG` | bytes |
/// | 8 | 2 | format version, 1 | u16 |
/// | 10 | 2 | lane index; 65535 = no lane | u16 |
/// | 12 | 4 | size of the header block, 4096 | u32 |
/// | 16 | 16 | log id | UUID, network byte order |
/// | 32 | 8 | base offset | u64 |
/// | 40 | 8 | salt | u64 |
/// | 48 | 8 | creation time, µs since the epoch | i64 |
/// | 56 | 16 | predecessor's log id; zero = none | UUID |
/// | 72 | 8 | durable offset when it was written | u64 |
/// | 80 | 2 | n = bytes of the node's name, at most 512 | u16 |
/// | 82 | 2 | r = bytes of the region's name, at most 512 | u16 |
/// | 84 | n | node | UTF-8 |
/// | 84 + n | r | region | UTF-8 |
/// | … | … | zero | |
/// | 2044 | 4 | CRC32C of bytes 0 to 2043 | u32 |
///
/// Integers are little-endian. `docs/formats/segment.md` has the same table.
struct SegmentHeader: Equatable, Sendable {
    /// The log.
    var logID: LogID
    /// The offset of the segment's first record.
    var baseOffset: Offset
    /// What the segment's frames carry, so that no other bytes look like one.
    var salt: UInt64
    /// When the segment was begun, µs since the epoch.
    var createdAt: Int64
    /// The lane's index; nil for a log that no lane wrote.
    var lane: Int?
    /// The log that the lane's earlier incarnation wrote.
    var predecessor: LogID?
    /// The durable offset when the header was written.
    var durableOffset: Offset
    /// The gateway's name.
    var node: String
    /// The gateway's region.
    var region: String

    /// The size of the block; frames begin after it.
    static let blockBytes = 4096
    /// The size of one copy.
    static let copyBytes = 2048
    /// The format version that this program writes.
    static let version: UInt16 = 1
    /// The longest node or region name kept, in bytes.
    static let nameBytesMax = 512
    /// `SLUICELG` as a little-endian integer.
    private static let magic: UInt64 = 0x474C_4543_4955_4C53

    /// What the bytes of a header turned out to be.
    enum Decoded: Equatable {
        /// At least one copy is valid.
        case valid(SegmentHeader)
        /// No copy is valid.
        case damaged
        /// Valid, but of a version that this program does not know.
        case unsupported(version: UInt16)
    }

    /// The block's bytes.
    func encoded() -> [UInt8] {
        var copy: [UInt8] = []
        copy.reserveCapacity(Self.blockBytes)
        copy.appendLittleEndian(Self.magic)
        copy.appendLittleEndian(Self.version)
        copy.appendLittleEndian(UInt16(clamping: lane ?? Int(UInt16.max)))
        copy.appendLittleEndian(UInt32(Self.blockBytes))
        copy.append(logID)
        copy.appendLittleEndian(baseOffset.rawValue)
        copy.appendLittleEndian(salt)
        copy.appendLittleEndian(UInt64(bitPattern: createdAt))
        copy.append(predecessor ?? LogID(high: 0, low: 0))
        copy.appendLittleEndian(durableOffset.rawValue)
        let nodeBytes = Array(node.utf8.prefix(Self.nameBytesMax))
        let regionBytes = Array(region.utf8.prefix(Self.nameBytesMax))
        copy.appendLittleEndian(UInt16(nodeBytes.count))
        copy.appendLittleEndian(UInt16(regionBytes.count))
        copy += nodeBytes
        copy += regionBytes
        copy += [UInt8](repeating: 0, count: Self.copyBytes - 4 - copy.count)
        copy.appendLittleEndian(Checksum.crc32c(copy.span.raw))
        return copy + copy
    }

    /// Reads a block, or the beginning of one; the second copy is used when the first is damaged.
    static func decode(_ bytes: [UInt8]) -> Decoded {
        var result = Decoded.damaged
        for start in [0, copyBytes] where start + copyBytes <= bytes.count {
            result = decodeCopy(bytes.span.raw.extracting(start..<(start + copyBytes)))
            if result != .damaged { break }
        }
        return result
    }

    /// Reads one copy.
    private static func decodeCopy(_ bytes: RawSpan) -> Decoded {
        let body = bytes.extracting(0..<(copyBytes - 4))
        guard bytes.littleEndian(UInt64.self, at: 0) == magic,
            bytes.littleEndian(UInt32.self, at: copyBytes - 4) == Checksum.crc32c(body)
        else { return .damaged }
        let version = bytes.littleEndian(UInt16.self, at: 8)
        guard version == Self.version,
            bytes.littleEndian(UInt32.self, at: 12) == UInt32(blockBytes)
        else { return .unsupported(version: version) }
        let nodeEnd = 84 + Int(bytes.littleEndian(UInt16.self, at: 80))
        let regionEnd = nodeEnd + Int(bytes.littleEndian(UInt16.self, at: 82))
        guard regionEnd <= copyBytes - 4 else { return .damaged }
        let lane = bytes.littleEndian(UInt16.self, at: 10)
        let predecessor = bytes.logID(at: 56)
        return .valid(
            SegmentHeader(
                logID: bytes.logID(at: 16),
                baseOffset: Offset(bytes.littleEndian(UInt64.self, at: 32)),
                salt: bytes.littleEndian(UInt64.self, at: 40),
                createdAt: bytes.littleEndian(Int64.self, at: 48),
                lane: lane == UInt16.max ? nil : Int(lane),
                predecessor: predecessor == LogID(high: 0, low: 0) ? nil : predecessor,
                durableOffset: Offset(bytes.littleEndian(UInt64.self, at: 72)),
                node: bytes.text(84..<nodeEnd),
                region: bytes.text(nodeEnd..<regionEnd)
            )
        )
    }
}

extension RawSpan {
    /// The log id whose 16 bytes are at a byte offset.
    func logID(at byteOffset: Int) -> LogID {
        LogID(
            high: littleEndian(UInt64.self, at: byteOffset).byteSwapped,
            low: littleEndian(UInt64.self, at: byteOffset + 8).byteSwapped
        )
    }

    /// The text of a range of bytes; invalid UTF-8 is replaced.
    func text(_ range: Range<Int>) -> String {
        String(decoding: range.map { byte(at: $0) }, as: UTF8.self)
    }
}

extension [UInt8] {
    /// Appends the 16 bytes of a log id, network byte order.
    mutating func append(_ id: LogID) {
        appendLittleEndian(id.high.byteSwapped)
        appendLittleEndian(id.low.byteSwapped)
    }
}
