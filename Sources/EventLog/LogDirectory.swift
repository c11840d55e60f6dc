package import FileIO
package import Records

/// The event logs of one data directory.
///
/// Files: `DATA/log/<log id>/<base offset>.log`, `DATA/log/<log id>/mark`, `DATA/log/bell`,
/// `DATA/checkpoints/<consumer>/<log id>`. Any number of processes may read; each lane has one
/// writer. Nothing is done at initialisation.
package final class LogDirectory: Sendable {
    /// The data directory.
    package let path: String
    /// The file system that it is in.
    package let fileSystem: any FileSystem
    /// The clocks.
    package let time: any TimeSource

    /// Names a data directory.
    ///
    /// - Parameters:
    ///   - path: The data directory (`DATA`, not `DATA/log`); created when it is not there.
    ///   - fileSystem: The file system that it is in.
    ///   - time: The clocks.
    package init(
        path: String, fileSystem: any FileSystem, time: any TimeSource
    ) throws(EventLogError) {
        self.path = path
        self.fileSystem = fileSystem
        self.time = time
    }

    /// Seals every log whose writer is gone, and reports what was lost.
    ///
    /// Logs that are locked by a living process, and those that have ended, are left alone.
    package func recover() throws(EventLogError) -> [RecoveryReport] {
        []
    }

    /// Opens a lane for appending: always a new log, whose record at offset 0 names its predecessor.
    package func openLane(
        _ index: Int, _ configuration: LogConfiguration
    ) throws(EventLogError) -> sending LaneWriter {
        throw .closed
    }

    /// All logs, in the order of their ids.
    package func logs() throws(EventLogError) -> [LogSummary] {
        []
    }

    /// One log; nil when it is not there.
    package func log(_ id: LogID) throws(EventLogError) -> LogSummary? {
        nil
    }

    /// Counts every change: a durable mark moved, a log or segment appeared or went, a checkpoint
    /// moved. Shared by all processes.
    package var changeCount: UInt32 {
        0
    }

    /// Counts changes of the set of logs only: cheaper to watch than `logs()`.
    package var topologyCount: UInt32 {
        0
    }

    /// Blocks the calling thread until `changeCount` differs from `since`; call it on a thread of
    /// your own.
    ///
    /// - Returns: The count now; equal to `since` when the time was up.
    @discardableResult
    package func waitForChange(since: UInt32, timeout: Duration) -> UInt32 {
        since
    }

    /// Wakes everyone who waits for a change (for shutting down a waiting thread).
    package func ringBell() {
    }

    /// A reader of one log.
    ///
    /// - Parameters:
    ///   - log: The log.
    ///   - from: The first offset wanted.
    package func reader(_ log: LogID, from: Offset) throws(EventLogError) -> LogReader {
        throw .unknownLog(log)
    }

    /// A consumer's checkpoints in this data directory.
    package func checkpoints(consumer: String) throws(EventLogError) -> CheckpointStore {
        throw .invalidConsumerName(consumer)
    }

    /// Deletes sealed segments that all the consumers have passed and the policy does not keep.
    ///
    /// - Returns: What is gone; also written to the log's tombstones before the deletion.
    @discardableResult
    package func deleteSegments(
        consumedBy consumers: [String], retain policy: RetentionPolicy
    ) throws(EventLogError) -> [Tombstone] {
        []
    }

    /// All that was ever deleted.
    package func tombstones() throws(EventLogError) -> [Tombstone] {
        []
    }

    /// Writes a complete log aside and publishes it at once, closed.
    ///
    /// - Parameters:
    ///   - id: The log's id.
    ///   - configuration: `segmentBytes`, limits, node and region are used.
    ///   - body: Appends the records; when it throws, nothing is published.
    /// - Returns: False when a log of that id is there already (or was, and has been deleted), also
    ///   when another process won the race; the body may then not have been called.
    package func writeSealedLog(
        id: LogID,
        _ configuration: LogConfiguration = LogConfiguration(),
        _ body: (SealedLogWriter) throws(EventLogError) -> Void
    ) throws(EventLogError) -> Bool {
        false
    }
}
