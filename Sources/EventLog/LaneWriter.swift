package import Records

/// Appends records to one log. Owned by one thread or event loop.
package final class LaneWriter {
    /// The log.
    package let logID: LogID
    /// The lane's index.
    package let lane: Int
    /// The offset that the next record gets.
    package private(set) var nextOffset = Offset.zero

    init(logID: LogID, lane: Int) {
        self.logID = logID
        self.lane = lane
    }

    /// Promises log space, before anything is done that has to be recorded.
    ///
    /// - Parameter bytes: The largest size that the record can get.
    /// - Returns: False when there is no space (answer 503).
    package func reserve(_ bytes: Int) -> Bool {
        false
    }

    /// Gives a promise back, after the append or instead of it.
    ///
    /// - Parameter bytes: What `reserve` was called with.
    package func release(_ bytes: Int) {
    }

    /// Appends a record to the pending batch; `write` hands it to the kernel.
    ///
    /// - Parameters:
    ///   - eventTime: When the call completed, µs since the epoch.
    ///   - encode: Encodes the fields from kind onwards; schema version, log id and offset are
    ///     there already.
    /// - Returns: The record's offset.
    /// - Throws: `recordTooLarge`, `dropped`, `stalled`, `closed`; nothing was appended then.
    @discardableResult
    package func append(
        eventTime: Int64, _ encode: (inout RecordEncoder) -> Void
    ) throws(EventLogError) -> Offset {
        throw .closed
    }

    /// Writes the pending batch: one `pwrite`; does nothing when there is none.
    ///
    /// - Throws: When the file cannot be written; the batch stays pending, and a later call tries
    ///   again in a new segment.
    package func write() throws(EventLogError) {
        throw .closed
    }

    /// The first offset that the kernel does not have yet.
    package var writtenOffset: Offset { .zero }

    /// The first offset that is not yet durable, by the rule of the lane's mode.
    package var durableOffset: Offset { .zero }

    /// Called with the first offset that is not yet durable, each time it has moved: on the sync
    /// thread (modes `strict` and `interval`) or inside `write` (`os`). Set it before appending.
    package var onDurable: (@Sendable (Offset) -> Void)?

    /// Counters since the lane was opened.
    package var statistics: LaneStatistics { LaneStatistics() }

    /// Appends and writes a record that says "complete up to now".
    package func heartbeat() throws(EventLogError) {
    }

    /// Writes and syncs what is pending, ends the log and unlocks it. Blocks for the sync.
    package func close() throws(EventLogError) {
    }
}
