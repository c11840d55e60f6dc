import EventLog
import Records

extension LogDirectory {
    /// Where a log goes on that is to be shipped again from a time: after the last record that was
    /// appended before it. So offsets without records, which have no time, are told again as well.
    ///
    /// Segments that retention has deleted are not there any more; the first one that is left may
    /// then be the answer. Reads the first batch of each segment, and one segment to the place.
    ///
    /// - Parameters:
    ///   - summary: The log.
    ///   - time: The append time, µs since the epoch.
    /// - Returns: Nil when every record is older, and nothing follows the last one.
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
        var isMissing = false
        reading: while let item = try reader.next() {
            switch item {
            case .records(let batch) where batch.appendTime >= time: return start
            case .records(let batch):
                start = batch.nextOffset
                isMissing = false
            case .skip: isMissing = true
            case .end: break reading
            }
        }
        return isMissing ? start : nil
    }

    private func firstBatch(of log: LogID, from offset: Offset) throws(EventLogError) -> LogBatch? {
        var reader = try reader(log, from: offset)
        while let item = try reader.next() {
            if case .records(let batch) = item { return batch }
        }
        return nil
    }
}
