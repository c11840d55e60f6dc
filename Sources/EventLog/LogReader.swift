package import Records

/// Reads one log front to back, up to the durable mark. Any number of readers, in any process.
package struct LogReader {
    /// The log.
    package let logID: LogID
    /// The first offset that has not been returned.
    package private(set) var nextOffset: Offset

    /// The next batch, skip or end.
    ///
    /// - Returns: Nil at the durable mark: wait for the bell and call again. After `end`, nil.
    package mutating func next() throws(EventLogError) -> LogItem? {
        nil
    }
}
