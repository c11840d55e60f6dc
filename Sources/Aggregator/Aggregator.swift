import EventLog
package import FileIO
package import Logging
import ServiceLifecycle
package import Telemetry
import Threads

/// The service that folds logs into PostgreSQL and keeps its rollups compacted.
///
/// Any number of them may run over the same logs and database, through either transport or both:
/// each offset counts once, because the guarded update of `sluice.source` admits it once, and the
/// compactor is whoever holds an advisory lock.
package final class Aggregator: Service {
    private let configuration: AggregatorConfiguration
    private let source: AggregatorSource
    private let time: any TimeSource
    private let logger: Logger
    private let metrics: AggregatorMetrics
    private let hooks: AggregatorHooks
    private let stop = StopSignal()

    /// An aggregator that does nothing before `run()`.
    ///
    /// - Parameters:
    ///   - configuration: Where to write, and every limit.
    ///   - source: Where records come from.
    ///   - time: The clocks.
    ///   - metrics: Where its metrics are registered.
    ///   - logger: Where it reports.
    ///   - hooks: For tests.
    package init(
        _ configuration: AggregatorConfiguration,
        source: AggregatorSource,
        time: any TimeSource,
        metrics: MetricsRegistry,
        logger: Logger,
        hooks: AggregatorHooks = AggregatorHooks()
    ) {
        self.configuration = configuration
        self.source = source
        self.time = time
        self.metrics = AggregatorMetrics(metrics)
        self.logger = logger
        self.hooks = hooks
    }

    /// Folds until graceful shutdown or cancellation.
    ///
    /// The transaction under way is finished or rolled back; what was collected for the next one is
    /// not written, and will be read again. Returns within the time of one transaction and one
    /// compaction round. A database that is not there is waited for, and so are brokers; the
    /// database must have been migrated.
    ///
    /// - Throws: When the directory of checkpoints cannot be made, when the properties of the
    ///   Kafka client are refused, or when the consumer has failed for good, as when another
    ///   process has taken its group instance id.
    package func run() async throws {
        switch source {
        case .local(let directory):
            let transport = try LocalTransport(
                configuration,
                directory: directory,
                time: time,
                metrics: metrics,
                logger: logger,
                stop: stop
            )
            let loop = makeLoop(transport, policy: .yield) {}
            await run(loop) { directory.ringBell() }
        case .kafka(let kafka):
            try await run(KafkaTransport.Topic(name: kafka.topic), try GroupConsumer(kafka))
        case .consumer(let topic, let make):
            try await run(KafkaTransport.Topic(name: topic), try make())
        }
    }

    /// Folds what a consumer hands over.
    private func run(
        _ topic: KafkaTransport.Topic,
        _ consumer: sending any TransportConsumer
    ) async throws {
        let wakeConsumer = consumer.waker
        let bell = Doorbell()
        let failure = TransportFailure()
        let transport = KafkaTransport(
            configuration,
            topic: topic,
            consumer: consumer,
            bell: bell,
            failure: failure,
            time: time,
            metrics: metrics,
            logger: logger,
            stop: stop
        )
        let wake: @Sendable () -> Void = {
            bell.ring()
            wakeConsumer()
        }
        await run(makeLoop(transport, policy: .keep, wake: wake), wake: wake)
        if let error = failure.error { throw error }
    }

    private func makeLoop<Transport: FoldTransport>(
        _ transport: sending Transport,
        policy: FoldWriter.MissPolicy,
        wake: @escaping @Sendable () -> Void
    ) -> FoldLoop<Transport> {
        FoldLoop(
            configuration,
            transport: transport,
            policy: policy,
            time: time,
            metrics: metrics,
            logger: logger,
            observer: hooks.fold,
            stop: stop,
            wake: wake
        )
    }

    /// Runs the loop and the compactor until they are told to stop.
    private func run<Transport: FoldTransport>(
        _ loop: FoldLoop<Transport>,
        wake: @escaping @Sendable () -> Void
    ) async {
        let compactor = configuration.compacts ? makeCompactor() : nil
        let stop = stop
        let end: @Sendable () -> Void = {
            stop.stop()
            wake()
        }
        await withTaskCancellationHandler {
            await withGracefulShutdownHandler {
                await withTaskGroup { group in
                    group.addTask { await loop.run() }
                    if let compactor {
                        group.addTask { await compactor.run { $0.run() } }
                    }
                }
            } onGracefulShutdown: {
                end()
            }
        } onCancel: {
            end()
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
}
