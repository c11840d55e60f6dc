import EventLog
import Records

extension LogDirectory {
    /// The first record of a log that was appended at or after a time.
    ///
    /// Segments that retention has deleted are not there any more; the first one that is left may
    /// then be the answer. Reads the first batch of each segment, and one segment to the place.
    ///
    /// - Parameters:
    ///   - summary: The log.
    ///   - time: The append time, µs since the epoch.
    /// - Returns: Nil when every record is older.
    func firstOffset(
        of summary: LogSummary,
        appendedFrom time: Int64
    ) throws(EventLogError) -> Offset? {
        // The last segment that begins before the time: the place is in it or just after it.
        var start = summary.startOffset
        for segment in summary.segments.dropFirst() {
            guard let first = try firstBatch(of: summary.id, from: segment.baseOffset) else {
                continue
            }
            if first.appendTime >= time { break }
            start = segment.baseOffset
        }
        var reader = try reader(summary.id, from: start)
        while let item = try reader.next() {
            if case .records(let batch) = item, batch.appendTime >= time {
                return batch.baseOffset
            }
        }
        return nil
    }

    private func firstBatch(of log: LogID, from offset: Offset) throws(EventLogError) -> LogBatch? {
        var reader = try reader(log, from: offset)
        while let item = try reader.next() {
            if case .records(let batch) = item { return batch }
        }
        return nil
    }
}
