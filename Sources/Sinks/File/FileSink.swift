package import FileIO
package import Logging
import Synchronization
import Threads

/// Writes records as lines of JSON into files, exactly once.
///
/// Each line is one record with its identity (`log_id`, `offset`). Finished files never change; the
/// one being written is called `….part`. Batches of several logs that arrive together share their
/// syncs. See `FileSinkWriter` for what makes it exact.
package final class FileSink: Sink {
    /// What waits to be written, and what came of it.
    private struct Queue {
        var waiting: [(ticket: UInt64, batch: SinkBatch)] = []
        var next: UInt64 = 0
    }

    private let writer: ThreadOwned<FileSinkWriter>
    private let queue = Mutex(Queue())

    /// One batch of a log at a time, because the journal keeps one offset for each log.
    package let traits = SinkTraits(isTransport: false, ordersLogs: true)

    /// A sink that has not looked at its directory.
    ///
    /// - Parameters:
    ///   - configuration: Where and how it writes.
    ///   - fileSystem: The file system of the directory.
    ///   - time: The clocks.
    ///   - logger: Where it reports what it found after a crash.
    package init(
        _ configuration: FileSinkConfiguration,
        fileSystem: any FileSystem,
        time: any TimeSource,
        logger: Logger
    ) {
        writer = ThreadOwned(
            name: "file-sink",
            FileSinkWriter(configuration, fileSystem: fileSystem, time: time, logger: logger)
        )
    }

    /// Locks the directory and finishes or cuts off what a crash has left.
    package func open() async throws(SinkError) {
        try await writer.run { writer throws(SinkError) in try writer.open() }
    }

    /// Writes and syncs the records that are not in the files yet.
    package func deliver(_ batch: SinkBatch) async -> DeliveryResult {
        let ticket = queue.withLock { queue in
            let ticket = queue.next
            queue.next += 1
            queue.waiting.append((ticket, batch))
            return ticket
        }
        return await writer.run { writer in
            // Whoever comes first writes for all that wait.
            let group = queue.withLock { queue in
                defer { queue.waiting = [] }
                return queue.waiting
            }
            if !group.isEmpty {
                let result = writer.write(group.map(\.batch))
                for (ticket, _) in group { writer.results[ticket] = result }
            }
            return writer.results.removeValue(forKey: ticket) ?? .accepted
        }
    }

    /// Which records the files of the directory hold, for a replay; the pump's journal knows all
    /// that the pump needs.
    package func holdings() async throws(SinkError) -> SinkHoldings? {
        try await writer.run { writer throws(SinkError) in try writer.holdings() }
    }

    /// Finishes a file that is old enough.
    package func flush() async throws(SinkError) {
        try await writer.run { writer throws(SinkError) in try writer.rotateIfDue() }
    }

    /// Closes the files and unlocks the directory.
    package func close() async {
        await writer.run { $0.close() }
    }
}
