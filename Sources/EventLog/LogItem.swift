internal import FileIO
package import Records

/// Why offsets have no record for a consumer.
package enum SkipReason: String, Sendable, CaseIterable {
    /// A filter of the sink left them out.
    case filtered
    /// Sampling left them out.
    case sampled
    /// Their bytes are damaged or were lost before they were synced.
    case damaged
    /// Retention deleted them before they were read.
    case expired
    /// They were larger than the receiver takes.
    case tooLarge = "too_large"
    /// The receiver refused them.
    case rejected
}

/// What a reader finds next in a log.
package enum LogItem: Sendable {
    /// Records with consecutive offsets.
    case records(LogBatch)
    /// Offsets without records.
    case skip(Range<Offset>, SkipReason)
    /// The log's end: no offset at or above this one was ever assigned.
    case end(Offset)
}

/// The records of one batch, as they lie in the log.
package struct LogBatch: Sendable {
    /// The log.
    package let logID: LogID
    /// The offset of the first record.
    package let baseOffset: Offset
    /// How many records there are.
    package let count: Int
    /// When the batch was written, µs since the epoch.
    package let appendTime: Int64
    /// The earliest event time, µs since the epoch.
    package let eventTimeMin: Int64
    /// The latest event time, µs since the epoch.
    package let eventTimeMax: Int64
    /// The bytes that the batch is a part of.
    let chunk: [UInt8]
    /// Where the first wanted record's length is in `chunk`.
    let start: Int
    /// Where the payload ends in `chunk`.
    let stop: Int

    /// Makes a batch of records that came another way than through a segment.
    ///
    /// - Parameters:
    ///   - logID: The log.
    ///   - baseOffset: The offset of the first record.
    ///   - count: How many records there are.
    ///   - appendTime: When they were appended, µs since the epoch; stands for their event times.
    ///   - records: The records, each behind its length as four bytes, least significant first.
    package init(
        logID: LogID,
        baseOffset: Offset,
        count: Int,
        appendTime: Int64,
        records: [UInt8]
    ) {
        self.init(
            logID: logID,
            baseOffset: baseOffset,
            count: count,
            appendTime: appendTime,
            eventTimeMin: appendTime,
            eventTimeMax: appendTime,
            chunk: records,
            start: 0,
            stop: records.count
        )
    }

    /// Makes a batch that is a part of some bytes.
    init(
        logID: LogID,
        baseOffset: Offset,
        count: Int,
        appendTime: Int64,
        eventTimeMin: Int64,
        eventTimeMax: Int64,
        chunk: [UInt8],
        start: Int,
        stop: Int
    ) {
        self.logID = logID
        self.baseOffset = baseOffset
        self.count = count
        self.appendTime = appendTime
        self.eventTimeMin = eventTimeMin
        self.eventTimeMax = eventTimeMax
        self.chunk = chunk
        self.start = start
        self.stop = stop
    }

    /// The offset after the last record.
    package var nextOffset: Offset {
        baseOffset.advanced(by: UInt64(count))
    }

    /// How many bytes the records take, lengths included.
    package var byteCount: Int {
        stop - start
    }

    /// Calls a closure with each record in order; nothing is copied.
    ///
    /// - Parameter body: Takes the record's offset and its bytes, which it must not keep.
    package func forEach<E: Error>(
        _ body: (Offset, RawSpan) throws(E) -> Void
    ) throws(E) {
        let bytes = chunk.span.raw
        var at = start
        var offset = baseOffset
        for _ in 0..<count {
            let length = Int(bytes.littleEndian(UInt32.self, at: at))
            let from = at + 4
            try body(offset, bytes.extracting(from..<(from + length)))
            at = from + length
            offset = offset.advanced(by: 1)
        }
    }
}
