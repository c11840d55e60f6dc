internal import FileIO
internal import Records

/// What a log's mark file says.
struct MarkValue: Equatable, Sendable {
    /// The first offset that is not durable; readers stop here.
    var durableOffset = Offset.zero
    /// The base offset of the segment in which the durable records end.
    var segmentBase = Offset.zero
    /// The file position in that segment at which they end; an end frame is included.
    var position: UInt64 = 0
    /// Whether the log has ended there.
    var isEnded = false
}

/// A log's durable mark: a small file mapped by its writer and its readers.
///
/// | byte | size | field |
/// |---:|---:|---|
/// | 0 | 8 | magic `SLUICEMK` |
/// | 8 | 8 | format version, 1 |
/// | 16 | 16 | log id |
/// | 512 | 48 | slot 0 |
/// | 1024 | 48 | slot 1 |
///
/// A slot is six u64: sequence number, durable offset, base offset of the segment in which the
/// durable records end, file position there, flags (bit 0: the log has ended), CRC32C of the log id
/// (two u64) and the five words before. The file is 4096 bytes; integers are little-endian.
/// `docs/formats/mark.md` has the same table.
///
/// The value with sequence n goes into slot n mod 2, so the other one stays whole while it is
/// written. It is stored only after the records are durable and never synced: whatever reaches the
/// disk is a true lower bound.
final class DurableMark: Sendable {
    /// The size of the file.
    static let byteCount = 4096
    /// `SLUICEMK` as a little-endian integer.
    private static let magic: UInt64 = 0x4B4D_4543_4955_4C53
    private static let slotPositions = [512, 1024]

    private let words: any SharedWords
    private let logID: LogID

    /// Wraps the mapped file of a log.
    init(_ words: any SharedWords, logID: LogID) {
        self.words = words
        self.logID = logID
    }

    /// Maps the mark of the log in a directory.
    static func map(
        _ path: String,
        logID: LogID,
        fileSystem: any FileSystem,
        writable: Bool
    ) throws(EventLogError) -> DurableMark {
        let words = try io { () throws(FileIOError) in
            try fileSystem.mapWords(path, byteCount: byteCount, writable: writable)
        }
        return DurableMark(words, logID: logID)
    }

    /// Writes the part that never changes.
    func initialize() {
        words.store64(0, Self.magic)
        words.store64(8, 1)
        words.store64(16, logID.high.byteSwapped)
        words.store64(24, logID.low.byteSwapped)
    }

    /// The newest value; nil when neither slot is valid. Any thread, any process.
    func load() -> MarkValue? {
        newest()?.value
    }

    /// Publishes a value. One thread of the process that holds the log's lock.
    func store(_ value: MarkValue) {
        let sequence = (newest()?.sequence ?? 0) + 1
        let at = Self.slotPositions[Int(sequence % 2)]
        let flags: UInt64 = value.isEnded ? 1 : 0
        words.store64(at, sequence)
        words.store64(at + 8, value.durableOffset.rawValue)
        words.store64(at + 16, value.segmentBase.rawValue)
        words.store64(at + 24, value.position)
        words.store64(at + 32, flags)
        words.store64(
            at + 40,
            checksum([
                logID.high, logID.low, sequence, value.durableOffset.rawValue,
                value.segmentBase.rawValue, value.position, flags,
            ])
        )
    }

    /// The valid slot with the highest sequence number.
    private func newest() -> (sequence: UInt64, value: MarkValue)? {
        let first = slot(Self.slotPositions[0])
        let second = slot(Self.slotPositions[1])
        guard let first else { return second }
        guard let second else { return first }
        return first.sequence > second.sequence ? first : second
    }

    /// One slot, if its checksum is right.
    private func slot(_ at: Int) -> (sequence: UInt64, value: MarkValue)? {
        let sum = words.load64(at + 40)
        let sequence = words.load64(at)
        let durable = words.load64(at + 8)
        let base = words.load64(at + 16)
        let position = words.load64(at + 24)
        let flags = words.load64(at + 32)
        guard
            sum == checksum([logID.high, logID.low, sequence, durable, base, position, flags])
        else { return nil }
        let value = MarkValue(
            durableOffset: Offset(durable),
            segmentBase: Offset(base),
            position: position,
            isEnded: flags & 1 != 0
        )
        return (sequence, value)
    }

    /// The checksum of a slot's words.
    private func checksum(_ words: [7 of UInt64]) -> UInt64 {
        UInt64(Checksum.crc32c(words: words.span))
    }
}
