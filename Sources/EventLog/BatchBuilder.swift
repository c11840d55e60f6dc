internal import FileIO
internal import Records

/// The batch that records are appended to before it is written: one growing array with room for
/// the frame header in front.
struct BatchBuilder {
    private var encoder: RecordEncoder
    /// Schema version and log id, encoded once.
    private let prefix: [UInt8]
    /// How many records are in it.
    private(set) var count = 0
    /// The offset of the first one.
    private(set) var baseOffset = Offset.zero
    private var eventTimeMin = Int64.max
    private var eventTimeMax = Int64.min

    /// The schema version that this program writes.
    private static let schemaVersion: UInt64 = 1
    private static let headerRoom = [UInt8](repeating: 0, count: FrameHeader.headerBytes)

    /// Makes an empty batch for a log.
    init(logID: LogID) {
        var prefix = RecordEncoder()
        prefix.put(.schemaVersion, Self.schemaVersion)
        prefix.put(.logID, logID)
        self.prefix = prefix.bytes
        encoder = RecordEncoder(capacity: 64 << 10)
        encoder.bytes += Self.headerRoom
    }

    /// Bytes of the frame so far.
    var byteCount: Int { encoder.bytes.count }
    /// Whether it has no records.
    var isEmpty: Bool { count == 0 }

    /// Appends one record.
    ///
    /// - Parameters:
    ///   - offset: The record's offset; one more than the last one's.
    ///   - eventTime: Its event time.
    ///   - bytesMax: The largest record allowed.
    ///   - encode: Encodes the fields from kind onwards.
    /// - Throws: `recordTooLarge`; the batch is as it was then.
    mutating func append(
        offset: Offset,
        eventTime: Int64,
        bytesMax: Int,
        _ encode: (inout RecordEncoder) -> Void
    ) throws(EventLogError) {
        let start = encoder.bytes.count
        encoder.bytes.appendLittleEndian(UInt32(0))
        encoder.bytes += prefix
        encoder.put(.offset, offset.rawValue)
        encode(&encoder)
        let size = encoder.bytes.count - start - 4
        guard size <= bytesMax else {
            encoder.bytes.removeLast(size + 4)
            throw .recordTooLarge(bytes: size, limit: bytesMax)
        }
        encoder.bytes.storeLittleEndian(UInt32(size), at: start)
        if count == 0 { baseOffset = offset }
        count += 1
        eventTimeMin = min(eventTimeMin, eventTime)
        eventTimeMax = max(eventTimeMax, eventTime)
    }

    /// Completes the frame for a segment; may be repeated for another segment.
    mutating func seal(appendTime: Int64, durableOffset: Offset, salt: UInt64) {
        let header = FrameHeader(
            kind: .records,
            byteCount: encoder.bytes.count,
            count: count,
            baseOffset: baseOffset,
            appendTime: appendTime,
            eventTimeMin: eventTimeMin,
            eventTimeMax: eventTimeMax,
            durableOffset: durableOffset
        )
        header.store(into: &encoder.bytes, salt: salt)
    }

    /// The frame's bytes.
    var frame: [UInt8] { encoder.bytes }

    /// Gives the frame away and begins the next batch in another array.
    ///
    /// - Parameter replacement: An array to reuse; its contents are dropped.
    mutating func takeFrame(replacement: [UInt8]) -> [UInt8] {
        var next = replacement
        next.removeAll(keepingCapacity: true)
        next += Self.headerRoom
        swap(&next, &encoder.bytes)
        reset()
        return next
    }

    /// Begins the next batch in the same array.
    mutating func removeAll() {
        encoder.bytes.removeLast(encoder.bytes.count - FrameHeader.headerBytes)
        reset()
    }

    /// Forgets the records.
    private mutating func reset() {
        count = 0
        eventTimeMin = .max
        eventTimeMax = .min
    }

    /// The frame that ends a log, with a log-end record for information.
    static func endFrame(
        logID: LogID,
        endOffset: Offset,
        appendTime: Int64,
        salt: UInt64
    ) -> [UInt8] {
        var record = RecordEncoder()
        record.put(.schemaVersion, schemaVersion)
        record.put(.logID, logID)
        record.put(.offset, endOffset.rawValue)
        record.put(.kind, UInt64(RecordKind.logEnd.rawValue))
        record.put(.completedAt, signed: appendTime)
        record.put(.nextOffset, endOffset.rawValue)
        var frame = headerRoom
        frame.appendLittleEndian(UInt32(record.bytes.count))
        frame += record.bytes
        let header = FrameHeader(
            kind: .end,
            byteCount: frame.count,
            count: 0,
            baseOffset: endOffset,
            appendTime: appendTime,
            eventTimeMin: appendTime,
            eventTimeMax: appendTime,
            durableOffset: endOffset
        )
        header.store(into: &frame, salt: salt)
        return frame
    }
}
