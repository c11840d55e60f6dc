package import EventLog
package import FileIO
package import Logging
import Records
import Rollups
import Telemetry
import Threads

/// An aggregator that does one thing at a time, when it is told to and on the caller's thread: the
/// parts of `FoldLoop` in its order, without its threads. For simulations.
///
/// Dropping it is as killing the process: what was collected and not written is gone.
package final class SteppedFold {
    private let configuration: AggregatorConfiguration
    private let time: any TimeSource
    private let transport: any FoldTransport
    private let writer: FoldWriter
    private let stop: StopSignal
    private let metrics: AggregatorMetrics
    private let logger: Logger
    private var catalog: RollupCatalog?
    /// What is collected and not written, oldest first; two at most.
    private var jobs: [FoldJob] = []

    /// One that takes records from a member of a consumer group.
    package init(
        _ configuration: AggregatorConfiguration,
        topic: String,
        consumer: any TransportConsumer,
        time: any TimeSource,
        logger: Logger,
        stop: StopSignal,
        observer: FoldObserver?
    ) {
        let metrics = AggregatorMetrics(MetricsRegistry())
        let transport = KafkaTransport(
            configuration,
            topic: KafkaTransport.Topic(name: topic),
            consumer: consumer,
            bell: Doorbell(),
            failure: TransportFailure(),
            time: time,
            metrics: metrics,
            logger: logger,
            stop: stop
        )
        self.configuration = configuration
        self.time = time
        self.transport = transport
        self.stop = stop
        self.metrics = metrics
        self.logger = logger
        writer = FoldWriter(
            configuration,
            policy: .keep,
            time: time,
            metrics: metrics,
            logger: logger,
            observer: observer,
            stop: stop
        )
    }

    /// One that reads the logs of a data directory.
    package init(
        _ configuration: AggregatorConfiguration,
        directory: LogDirectory,
        time: any TimeSource,
        logger: Logger,
        stop: StopSignal,
        observer: FoldObserver?
    ) throws(EventLogError) {
        let metrics = AggregatorMetrics(MetricsRegistry())
        transport = try LocalTransport(
            configuration,
            directory: directory,
            time: time,
            metrics: metrics,
            logger: logger,
            stop: stop
        )
        self.configuration = configuration
        self.time = time
        self.stop = stop
        self.metrics = metrics
        self.logger = logger
        writer = FoldWriter(
            configuration,
            policy: .yield,
            time: time,
            metrics: metrics,
            logger: logger,
            observer: observer,
            stop: stop
        )
    }

    /// What it has collected and what it waits for, for the report of a failure.
    package var summary: String {
        var parts = ["\(jobs.count) batches"]
        if let kafka = transport as? KafkaTransport {
            parts += kafka.partitions.values.sorted { $0.number < $1.number }.map {
                "\($0.number): \($0.state) next \($0.next.map(String.init) ?? "none")"
            }
            parts.append("unasked \(kafka.unasked.count), unbound \(kafka.unbound.count)")
        }
        return parts.joined(separator: "; ")
    }

    /// How many batches are collected and not written.
    package var jobCount: Int { jobs.count }

    /// Looks after everything but folding, and collects a batch, unless two wait to be written.
    ///
    /// - Parameter patience: Nanoseconds to wait for something to collect.
    package func collect(patience: UInt64) {
        guard jobs.count < 2, prepare(), let catalog else { return }
        var job = FoldJob(catalog)
        let giveUpAt = min(transport.nextExamination, transport.now &+ patience)
        transport.collect(into: &job, giveUpAt: giveUpAt) { true }
        if !job.isEmpty { jobs.append(job) }
    }

    /// Writes the oldest batch; returns false when the aggregator has been stopped.
    package func write() -> Bool {
        guard !jobs.isEmpty, !stop.isStopping else { return !stop.isStopping }
        let result = writer.write(jobs.removeFirst())
        if stop.isStopping { return false }
        if result.mustResync {
            transport.distrust()
            jobs.removeAll()
            return true
        }
        let dropped = transport.apply(result)
        for index in jobs.indices { drop(dropped, from: &jobs[index]) }
        jobs.removeAll { $0.isEmpty }
        return true
    }

    /// Leaves the group and closes the connection.
    package func close() {
        writer.close()
        transport.close()
    }

    /// Merges all deltas into their rollups, if nobody else is the compactor.
    ///
    /// - Returns: What the database refused; nil when all went well.
    package func compact() -> String? {
        let compactor = Compactor(
            configuration,
            time: time,
            metrics: metrics,
            logger: logger,
            observer: nil,
            stop: stop
        )
        do throws(CompactionFailure) {
            try compactor.drain()
            return nil
        } catch { return "\(error)" }
    }

    /// Asks the database what the transport wants to know; false when collecting has to wait.
    private func prepare() -> Bool {
        let isLost = writer.noticesLoss()
        transport.housekeep()
        let due = transport.examination
        guard isLost || !due.isEmpty || catalog == nil else { return true }
        guard let state = writer.load(due) else { return false }
        if let catalog, state.mustResync || state.catalog != catalog {
            transport.distrust()
            jobs.removeAll()
            self.catalog = state.catalog
            return false
        }
        catalog = state.catalog
        transport.adopt(state, due)
        return true
    }

    /// Takes logs out of a batch that has been folded already, and folds the rest again.
    private func drop(_ logs: [LogID], from job: inout FoldJob) {
        let affected = logs.filter { job.batch.slices[$0] != nil }
        guard !affected.isEmpty else { return }
        for log in affected { job.batch.remove(log) }
        job.output.removeAll()
        job.output.fold(job.batch, latest: configuration.latestCompletion(time))
    }
}
