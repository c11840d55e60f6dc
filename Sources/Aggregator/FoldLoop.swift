import EventLog
import FileIO
import Logging
import Records
import Rollups
import Synchronization
import Telemetry
import Threads

/// Collects batches on one thread while the batch before is written on another.
final class FoldLoop<Transport: FoldTransport>: Sendable {
    private let configuration: AggregatorConfiguration
    private let time: any TimeSource
    private let metrics: AggregatorMetrics
    private let stop: StopSignal
    private let transport: ThreadOwned<Transport>
    private let writer: ThreadOwned<FoldWriter>
    /// Whether no batch is being written; set by the writer's thread.
    private let isWriterIdle = Atomic<Bool>(true)
    /// Lets the transport return from what it waits for, after the writer has become idle.
    private let wake: @Sendable () -> Void

    /// A loop that has not looked at anything.
    init(
        _ configuration: AggregatorConfiguration,
        transport: sending Transport,
        policy: FoldWriter.MissPolicy,
        time: any TimeSource,
        metrics: AggregatorMetrics,
        logger: Logger,
        observer: FoldObserver?,
        stop: StopSignal,
        wake: @escaping @Sendable () -> Void
    ) {
        self.configuration = configuration
        self.time = time
        self.metrics = metrics
        self.stop = stop
        self.wake = wake
        self.transport = ThreadOwned(name: "fold-reader", transport)
        writer = ThreadOwned(
            name: "fold-writer",
            FoldWriter(
                configuration,
                policy: policy,
                time: time,
                metrics: metrics,
                logger: logger,
                observer: observer,
                stop: stop
            )
        )
    }

    /// Folds until the signal to stop.
    func run() async {
        var catalog: RollupCatalog?
        var spare: [FoldOutput] = []
        var pending: FoldJob?
        while !stop.isStopping {
            switch await housekeep(catalog) {
            case .ready: break
            case .stopping: continue
            case .startOver(let active):
                // What was collected was folded for another generation or another database.
                if let job = pending { spare.append(job.emptied) }
                pending = nil
                catalog = active
                continue
            }
            guard let catalog else { continue }
            let next = FoldJob(catalog, spare: spare.popLast())
            guard let job = pending else {
                pending = await collect(next)
                if let empty = pending, empty.isEmpty {
                    spare.append(empty.output)
                    pending = nil
                }
                continue
            }
            isWriterIdle.store(false, ordering: .releasing)
            async let written = write(job)
            var collected = await collect(next)
            await attend()
            let result = await written
            spare.append(result.output)
            if result.mustResync {
                await transport.run { $0.distrust() }
                spare.append(collected.emptied)
                pending = nil
                continue
            }
            let dropped = await transport.run { $0.apply(result) }
            drop(dropped, from: &collected)
            if collected.isEmpty {
                spare.append(collected.output)
                pending = nil
            } else {
                pending = collected
            }
        }
        await writer.run { $0.close() }
        await transport.run { $0.close() }
    }

    /// Serves the transport until the writer is idle.
    private func attend() async {
        await transport.run { transport in
            transport.attend { isWriterIdle.load(ordering: .acquiring) }
        }
    }

    /// What to do after looking after everything but folding.
    private enum Outlook {
        /// Go on.
        case ready
        /// Everything that is believed of the database was forgotten; fold for this catalog.
        case startOver(RollupCatalog)
        /// End.
        case stopping
    }

    /// Lets the transport look after its affairs, and asks the database what it wants to know.
    private func housekeep(_ catalog: RollupCatalog?) async -> Outlook {
        let isLost = await writer.run { $0.noticesLoss() }
        let due = await transport.run { transport in
            transport.housekeep()
            return transport.examination
        }
        guard isLost || !due.isEmpty || catalog == nil else { return .ready }
        isWriterIdle.store(false, ordering: .releasing)
        async let loaded = load(due)
        await attend()
        guard let state = await loaded else { return .stopping }
        if catalog == nil {
            await transport.run { $0.adopt(state, due) }
            return .startOver(state.catalog)
        }
        if state.mustResync || state.catalog != catalog {
            await transport.run { $0.distrust() }
            return .startOver(state.catalog)
        }
        await transport.run { $0.adopt(state, due) }
        return .ready
    }

    private func collect(_ job: FoldJob) async -> FoldJob {
        await transport.run { transport in
            var job = job
            let started = transport.now
            transport.collect(into: &job, giveUpAt: transport.nextExamination) {
                isWriterIdle.load(ordering: .acquiring)
            }
            if !job.isEmpty {
                metrics.foldSeconds.record(
                    microseconds: Int64((transport.now &- started) / 1_000)
                )
            }
            return job
        }
    }

    private func write(_ job: FoldJob) async -> FoldResult {
        await writer.run { writer in
            let result = writer.write(job)
            isWriterIdle.store(true, ordering: .releasing)
            wake()
            return result
        }
    }

    private func load(_ examination: Examination) async -> FoldedState? {
        await writer.run { writer in
            let state = writer.load(examination)
            isWriterIdle.store(true, ordering: .releasing)
            wake()
            return state
        }
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
