package import EventLog
package import FileIO
package import Logging
import Records
package import Sinks
import Telemetry

/// Drives one sink: decides what is read, sent, repeated and checkpointed. Every call may block on
/// files, none on the sink.
///
/// The sink's work is handed out as jobs by `step` and comes back by `handle`; so tests can run
/// them in any order, fail them, and stop at any point.
///
/// Owner: one thread.
package final class SinkDriver {
    /// Work for the sink.
    package enum Job: Sendable {
        case open
        case deliver(UInt64, SinkBatch)
        case flush
    }

    /// What came of it.
    package enum Completion: Sendable {
        case opened(SinkError?)
        case delivered(UInt64, DeliveryResult)
        case flushed(SinkError?)
    }

    /// A batch that was read and is not acknowledged.
    struct Flight {
        var batch: SinkBatch
        let byteCount: Int
        let appendTime: Int64
        /// Whether the sink has it now; otherwise it waits for `nextAt`.
        var isActive = false
        var nextAt: UInt64 = 0
        var startedAt: UInt64 = 0
        var backoff: Backoff
    }

    /// Whether the sink can take anything.
    enum Connection { case closed, opening, open }

    let configuration: PumpConfiguration
    let pumped: PumpedSink
    let directory: LogDirectory
    let checkpoints: CheckpointStore
    let letters: SinkLetterWriter
    let time: any TimeSource
    let metrics: PumpMetrics
    let logger: Logger
    var random: any RandomNumberGenerator

    /// All logs that are there, by id.
    var logs: [LogID: PumpedLog] = [:]
    /// The logs in the order in which they are served.
    var order: [LogID] = []
    /// Where the next pass begins, so that no log is always first.
    var nextInOrder = 0
    /// How many readers are open.
    var readersOpen = 0
    /// The set of logs at the last survey.
    var topologySeen: UInt32?
    /// When the next survey is due even if the set of logs did not change.
    var surveyAt: UInt64 = 0
    /// Before this no survey is made.
    var surveyNotBefore: UInt64 = 0
    /// What is left of `configuration.reshipFrom`: until the first survey.
    var reshipFrom: Int64?
    /// When there was first something to read; reading waits for more until `batchWait` later.
    var noticedAt: UInt64?

    var connection = Connection.closed
    var breaker: CircuitBreaker
    var flights: [UInt64: Flight] = [:]
    /// How many deliveries the sink has now.
    package internal(set) var activeCount = 0
    /// Bytes that are read and not acknowledged.
    package internal(set) var inFlightBytes = 0
    private var nextFlight: UInt64 = 0
    private var isFlushing = false
    private var flushAt: UInt64 = 0
    private var reported: (state: Breaker, reason: String?) = (.closed, nil)

    /// A driver that has not looked at anything.
    package init(
        _ configuration: PumpConfiguration,
        _ pumped: PumpedSink,
        directory: LogDirectory,
        time: any TimeSource,
        metrics: PumpMetrics,
        logger: Logger,
        random: any RandomNumberGenerator = SystemRandom()
    ) throws(EventLogError) {
        self.configuration = configuration
        self.pumped = pumped
        self.directory = directory
        self.time = time
        self.metrics = metrics
        self.logger = logger
        self.random = random
        checkpoints = try directory.checkpoints(consumer: pumped.consumer)
        letters = SinkLetterWriter(
            LetterPaths(data: directory.path, consumer: pumped.consumer),
            fileSystem: directory.fileSystem,
            limits: configuration.deadLetters
        )
        reshipFrom = pumped.sink.traits.isTransport ? configuration.reshipFrom : nil
        breaker = CircuitBreaker(
            threshold: pumped.breakerThreshold,
            wait: Backoff(first: pumped.retryDelayMin, longest: pumped.retryDelayMax)
        )
    }

    var now: UInt64 { time.monotonicNanoseconds() }

    // MARK: One step

    /// What to do after a step.
    package struct Step {
        /// Work for the sink.
        package var jobs: [Job] = []
        /// Step again at this time at the latest, monotonic nanoseconds.
        package var wakeAt: UInt64
        /// Whether a change of the logs is a reason to step earlier.
        package var waitsForLogs = false
    }

    /// Looks at everything once.
    package func step() -> Step {
        survey()
        let isKnown = topologySeen == directory.topologyCount
        var step = Step(wakeAt: isKnown ? max(surveyAt, surveyNotBefore) : surveyNotBefore)
        let now = self.now
        switch connection {
        case .closed:
            if breaker.permits(now, active: 0) {
                connection = .opening
                step.jobs.append(.open)
            } else {
                step.wakeAt = min(step.wakeAt, breaker.openUntil)
            }
        case .opening: break
        case .open:
            startDeliveries(&step)
            startFlush(&step)
        }
        storeCheckpoints(&step)
        publish()
        return step
    }

    /// Whether stepping on would bring nothing: all is acknowledged, or the sink takes nothing now.
    package var isAtRest: Bool {
        guard case .open = connection, breaker.state == .closed else { return activeCount == 0 }
        return flights.isEmpty && topologySeen == directory.topologyCount && !refreshMarks()
    }

    /// Starts what may be started: repetitions that are due first, then what is newly read.
    private func startDeliveries(_ step: inout Step) {
        let now = self.now
        var due = flights.filter { !$0.value.isActive && $0.value.nextAt <= now }.map(\.key)
        due.sort()
        for id in due {
            guard breaker.permits(now, active: activeCount) else { break }
            start(id, &step)
        }
        if breaker.state == .open, breaker.openUntil > now {
            step.wakeAt = min(step.wakeAt, breaker.openUntil)
        }
        for flight in flights.values where !flight.isActive && flight.nextAt > now {
            step.wakeAt = min(step.wakeAt, flight.nextAt)
        }
        readMore(&step)
    }

    /// Reads new batches, when records have waited long enough for others to come along.
    private func readMore(_ step: inout Step) {
        guard breaker.state == .closed || (flights.isEmpty && breaker.permits(now, active: 0))
        else { return }
        guard hasRoom else { return }
        guard logs.values.contains(where: { $0.hasUnread }) || refreshMarks() else {
            noticedAt = nil
            step.waitsForLogs = true
            return
        }
        let noticed = noticedAt ?? now
        noticedAt = noticed
        let readAt = noticed &+ pumped.batchWait.nanoseconds
        guard now >= readAt else {
            step.wakeAt = min(step.wakeAt, readAt)
            return
        }
        _ = refreshMarks()
        while hasRoom, breaker.permits(now, active: activeCount), let batch = nextBatch() {
            let id = add(batch)
            start(id, &step)
        }
        guard hasRoom else { return }
        step.waitsForLogs = true
        // What waits for its turn, as in a sink that takes one batch of a log at a time, has
        // waited long enough.
        if !logs.values.contains(where: { $0.hasUnread }) { noticedAt = nil }
    }

    /// Whether another batch may be in flight.
    private var hasRoom: Bool {
        flights.count < pumped.inFlightMax
            && inFlightBytes < pumped.inFlightMax * pumped.batchBytesMax
    }

    /// Takes over a batch that was read; its log's window has it already.
    private func add(_ batch: SinkBatch) -> UInt64 {
        let id = nextFlight &- 1
        let flight = Flight(
            batch: batch,
            byteCount: batch.byteCount,
            appendTime: batch.appendTime,
            backoff: Backoff(first: pumped.retryDelayMin, longest: pumped.retryDelayMax)
        )
        inFlightBytes += flight.byteCount
        flights[id] = flight
        return id
    }

    /// The id of the flight that a batch being read will have.
    func takeFlightID() -> UInt64 {
        defer { nextFlight &+= 1 }
        return nextFlight
    }

    private func start(_ id: UInt64, _ step: inout Step) {
        guard var flight = flights[id] else { return }
        flight.isActive = true
        flight.startedAt = now
        flights[id] = flight
        activeCount += 1
        metrics.batches.add()
        step.jobs.append(.deliver(id, flight.batch))
    }

    private func startFlush(_ step: inout Step) {
        guard !isFlushing else { return }
        if now >= flushAt {
            isFlushing = true
            step.jobs.append(.flush)
        } else {
            step.wakeAt = min(step.wakeAt, flushAt)
        }
    }

    // MARK: Answers

    /// Takes over what came of a job.
    package func handle(_ completion: Completion) {
        switch completion {
        case .opened(nil):
            connection = .open
            breaker.succeeded()
        case .opened(let error?):
            connection = .closed
            metrics.failures.add()
            breaker.trip("\(error)", now, using: &random)
        case .flushed(let error):
            isFlushing = false
            flushAt = now &+ configuration.flushInterval.nanoseconds
            if let error {
                logger.warning(
                    "sink_flush_failed",
                    metadata: ["sink": "\(pumped.name)", "error": "\(error)"]
                )
            }
        case .delivered(let id, let result): settle(id, result)
        }
        publishBreaker()
    }

    private func settle(_ id: UInt64, _ result: DeliveryResult) {
        guard var flight = flights[id], flight.isActive else { return }
        flight.isActive = false
        activeCount -= 1
        let now = self.now
        metrics.deliverySeconds.record(microseconds: Int64((now &- flight.startedAt) / 1_000))
        let result = result.hasRejected ? park(result, of: flight.batch) : result
        let outcome = flight.batch.outcome(
            result,
            marksRejected: pumped.sink.traits.isTransport
        )
        metrics.delivered.add(UInt64(outcome.accepted))
        metrics.retried.add(UInt64(outcome.retried))
        for (reason, count) in outcome.skipped { metrics.skippedOver(count, reason) }
        for (reason, count) in outcome.rejected {
            metrics.refused(count, reason)
            logger.warning(
                "records_rejected",
                metadata: [
                    "sink": "\(pumped.name)", "log": "\(flight.batch.log)", "count": "\(count)",
                    "first_offset": "\(flight.batch.firstOffset ?? .zero)",
                    "reason": "\(reason.rawValue)", "error": "\(result.reason ?? "")",
                ]
            )
        }
        if outcome.hasFailed {
            metrics.failures.add()
            flight.nextAt = now &+ flight.backoff.next(&random)
        }
        if outcome.hasProgressed || !outcome.hasFailed {
            breaker.succeeded()
        } else {
            breaker.failed(result.reason, now, using: &random)
        }
        if let remainder = outcome.remainder {
            flight.batch = remainder
            flights[id] = flight
        } else {
            flights[id] = nil
            inFlightBytes -= flight.byteCount
            metrics.deliveredBytes.add(UInt64(flight.byteCount))
        }
        acknowledge(id, flight.batch.log, outcome.remainder?.firstOffset)
    }

    private func publishBreaker() {
        let reason = breaker.state == .closed ? nil : breaker.reason
        guard breaker.state != reported.state || reason != reported.reason else { return }
        let hasChanged = breaker.state != reported.state
        reported = (breaker.state, reason)
        let level: Int64 =
            switch breaker.state {
            case .closed: 0
            case .halfOpen: 1
            case .open: 2
            }
        metrics.breakerState.set(level)
        if hasChanged {
            logger.log(
                level: breaker.state == .open ? .warning : .info,
                "sink_breaker_\(breaker.state.rawValue)",
                metadata: ["sink": "\(pumped.name)", "reason": "\(reason ?? "")"]
            )
        }
        configuration.onStateChange?(
            pumped.name,
            SinkState(breaker: breaker.state, reason: reason, since: time.wallMicroseconds())
        )
    }

    private func publish() {
        publishBreaker()
        metrics.inFlightBytes.set(Int64(inFlightBytes))
        metrics.inFlightBatches.set(Int64(flights.count))
        let oldest = flights.values.map(\.appendTime).min()
        metrics.age.microseconds = oldest.map { max(0, time.wallMicroseconds() - $0) } ?? 0
    }
}
