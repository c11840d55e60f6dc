package import Records

/// Appends records to a log that is published only when it is complete.
package final class SealedLogWriter {
    /// The log.
    package let logID: LogID
    /// The offset that the next record gets.
    package private(set) var nextOffset = Offset.zero

    init(logID: LogID) {
        self.logID = logID
    }

    /// Appends a record; batches are written as they fill up.
    ///
    /// - Parameters:
    ///   - eventTime: When the call completed, µs since the epoch.
    ///   - encode: Encodes the fields from kind onwards.
    /// - Returns: The record's offset.
    @discardableResult
    package func append(
        eventTime: Int64, _ encode: (inout RecordEncoder) -> Void
    ) throws(EventLogError) -> Offset {
        throw .closed
    }
}
