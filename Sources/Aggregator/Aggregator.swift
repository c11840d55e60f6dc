package import EventLog
package import FileIO
package import Logging
import ServiceLifecycle
package import Telemetry
import Threads

/// The service that folds logs into PostgreSQL and keeps its rollups compacted.
///
/// Any number of them may run over the same logs and database: each offset counts once, because
/// the guarded update of `sluice.source` admits it once, and the compactor is whoever holds an
/// advisory lock.
package final class Aggregator: Service {
    private let configuration: AggregatorConfiguration
    private let directory: LogDirectory
    private let time: any TimeSource
    private let logger: Logger
    private let metrics: AggregatorMetrics
    private let hooks: AggregatorHooks
    private let stop = StopSignal()

    /// An aggregator that does nothing before `run()`.
    ///
    /// - Parameters:
    ///   - configuration: Where to write, and every limit.
    ///   - logs: The logs to read.
    ///   - time: The clocks.
    ///   - metrics: Where its metrics are registered.
    ///   - logger: Where it reports.
    ///   - hooks: For tests.
    package init(
        _ configuration: AggregatorConfiguration,
        logs: LogDirectory,
        time: any TimeSource,
        metrics: MetricsRegistry,
        logger: Logger,
        hooks: AggregatorHooks = AggregatorHooks()
    ) {
        self.configuration = configuration
        self.directory = logs
        self.time = time
        self.metrics = AggregatorMetrics(metrics)
        self.logger = logger
        self.hooks = hooks
    }

    /// Folds until graceful shutdown or cancellation.
    ///
    /// The transaction under way is finished or rolled back; what was collected for the next one is
    /// not written, and will be read again. Returns within the time of one transaction and one
    /// compaction round. A database that is not there is waited for; it must have been migrated.
    ///
    /// - Throws: When the directory of checkpoints cannot be made.
    package func run() async throws {
        let loop = try FoldLoop(
            configuration,
            directory: directory,
            time: time,
            metrics: metrics,
            logger: logger,
            observer: hooks.fold,
            stop: stop
        )
        let compactor = configuration.compacts ? makeCompactor() : nil
        await withTaskCancellationHandler {
            await withGracefulShutdownHandler {
                await withTaskGroup { group in
                    group.addTask { await loop.run() }
                    if let compactor {
                        group.addTask { await compactor.run { $0.run() } }
                    }
                }
            } onGracefulShutdown: {
                self.end()
            }
        } onCancel: {
            self.end()
        }
    }

    private func makeCompactor() -> ThreadOwned<Compactor> {
        ThreadOwned(
            name: "compactor",
            Compactor(
                configuration,
                time: time,
                metrics: metrics,
                logger: logger,
                observer: hooks.compaction,
                stop: stop
            )
        )
    }

    /// Compacts all deltas that are there, if nobody else is the compactor.
    ///
    /// - Throws: What the database refused, as text.
    package func compactAll() async throws {
        try await makeCompactor().run { compactor throws(CompactionFailure) in
            try compactor.drain()
        }
    }

    /// Lets every thread return from what it waits for.
    private func end() {
        stop.stop()
        directory.ringBell()
    }
}
