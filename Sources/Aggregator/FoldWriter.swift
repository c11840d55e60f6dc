import FileIO
import Logging
import Postgres
import Records
import Rollups
import Telemetry

/// A batch on its way to the database.
struct FoldJob: Sendable {
    var batch: RetainedBatch
    var output: FoldOutput
    /// What it was folded for.
    var catalog: RollupCatalog
    /// How far the positions of a transport move together with the batch.
    var positions: [TransportOffset] = []
    /// What was not trusted: parked together with the batch, and not accounted for, so that the
    /// genuine records of these offsets still count.
    private(set) var untrusted: [DeadLetter] = []
    /// The bytes of what was not trusted.
    private var untrustedByteCount = 0

    /// A job that something is to be put into.
    init(_ catalog: RollupCatalog, output: FoldOutput) {
        batch = RetainedBatch()
        self.output = output
        self.catalog = catalog
    }

    /// An empty job; `spare` is an output to be used again if it fits.
    init(_ catalog: RollupCatalog, spare: FoldOutput? = nil) {
        let isFit = spare?.fits(catalog) == true
        self.init(catalog, output: (isFit ? spare : nil) ?? catalog.makeOutput())
    }

    /// Adds what was not trusted.
    mutating func park(_ letter: DeadLetter) {
        untrusted.append(letter)
        untrustedByteCount += letter.record.count
    }

    /// Whether there is nothing to write.
    var isEmpty: Bool { batch.isEmpty && positions.isEmpty && untrusted.isEmpty }

    /// Whether nothing more is to be put into it.
    func isFull(_ configuration: AggregatorConfiguration) -> Bool {
        batch.offsetCount >= UInt64(configuration.flushRecordsMax)
            || batch.byteCount + untrustedByteCount >= configuration.flushBytesMax
            || untrusted.count >= configuration.flushRecordsMax
            || batch.slices.count >= configuration.flushLogsMax
            || output.rowCount >= configuration.flushRowsMax
    }

    /// The output without content, so that its memory is used again.
    var emptied: FoldOutput {
        var output = output
        output.removeAll()
        return output
    }
}

/// What became of a batch.
struct FoldResult: Sendable {
    /// The job's output, emptied, so that its memory is used again.
    var output: FoldOutput
    /// Offsets that are folded now, by this call or, found out later, by an earlier attempt.
    var folded: [LogID: OffsetRanges] = [:]
    /// Logs whose end has been recorded.
    var ended: [LogID] = []
    /// Where the transport's positions are now, as far as this call moved them.
    var positions: [TransportOffset] = []
    /// Logs that somebody else is folding, and what the database says is folded of them.
    var yielded: [LogID: OffsetRanges] = [:]
    /// Logs whose folded set has too many ranges, and how many.
    var crowded: [LogID: Int] = [:]
    /// Whether the connection or the generation was replaced: what is known of the database may
    /// no longer be true.
    var mustResync = false
    /// Whether nothing was written because the aggregator stops or the generation changed.
    var wasAbandoned = false
}

/// What the database says about some logs and partitions.
struct FoldedState: Sendable {
    var catalog: RollupCatalog
    var folded: [LogID: OffsetRanges] = [:]
    var ends: [LogID: UInt64] = [:]
    /// The organisations that logs may bill, where that is known.
    var orgs: [LogID: [String]] = [:]
    /// The stored positions of those partitions that have one.
    var positions: [Int32: StoredPosition] = [:]
    /// Whether the connection was replaced: what is known of other logs may no longer be true.
    var mustResync = false
}

/// Writes batches, one after the other, through a connection of its own. Every call blocks.
///
/// Owner: a `ThreadOwned`.
final class FoldWriter {
    /// What to do with the rest of a log when somebody else has folded part of a batch.
    enum MissPolicy: Sendable {
        /// Drop the duplicates and fold the rest: the others may never come back to it.
        case keep
        /// Drop the log: whoever folded the part will fold the rest.
        case yield
    }

    /// Days remembered at most; chosen: more than anybody keeps.
    private static let recordDaysMax = 100_000

    private let configuration: AggregatorConfiguration
    private let policy: MissPolicy
    private let time: any TimeSource
    private let metrics: AggregatorMetrics
    private let logger: Logger
    private let observer: FoldObserver?
    private let stop: StopSignal
    private var connection: PostgresConnection?
    private var wasConnected = false
    /// Whether a connection was lost since the database was last asked about logs.
    private var hasLostConnection = false
    private var dimensions: DimensionCache
    /// Days whose partitions of raw records are there.
    private var recordDays: Set<Int64> = []
    private var frozen = FrozenSessions()
    private var backoff: Backoff
    private var random = SystemRandom()

    /// A writer that connects when it is first used.
    init(
        _ configuration: AggregatorConfiguration,
        policy: MissPolicy,
        time: any TimeSource,
        metrics: AggregatorMetrics,
        logger: Logger,
        observer: FoldObserver?,
        stop: StopSignal
    ) {
        self.configuration = configuration
        self.policy = policy
        self.time = time
        self.metrics = metrics
        self.logger = logger
        self.observer = observer
        self.stop = stop
        dimensions = DimensionCache(countMax: configuration.dimensionsCachedMax)
        backoff = Backoff(first: .milliseconds(20), longest: configuration.retryDelayMax)
    }

    /// Writes a batch exactly once; returns when it is written, yielded or abandoned.
    ///
    /// Every failure takes the same path: roll back, reload what is folded, drop the duplicates
    /// from the retained batch, fold again. There is no retry without a reload.
    func write(_ job: FoldJob) -> FoldResult {
        var job = job
        var result = FoldResult(output: job.output)
        result.output = FoldOutput([])
        let started = time.monotonicNanoseconds()
        var mustReload = false
        var isInDoubt = false
        while true {
            if stop.isStopping {
                result.wasAbandoned = true
                break
            }
            do throws(FoldFailure) {
                let connection = try connect(&result)
                // A database that was restored may lack what the messages up to there carried: what
                // was left out of the batch as folded, or lies before it. They are read again.
                if result.mustResync { job.positions = [] }
                if mustReload {
                    try reload(&job, &result, isInDoubt: isInDoubt, connection)
                    mustReload = false
                    isInDoubt = false
                    if job.isEmpty { break }
                }
                try attempt(job, &result, connection)
                break
            } catch {
                mustReload = true
                switch error {
                case .generationChanged(let active):
                    metrics.retried(.generation)
                    logger.notice(
                        "another generation is active, or its rollups have changed",
                        metadata: ["active": "\(active.map(String.init) ?? "none")"]
                    )
                    result.mustResync = true
                    result.wasAbandoned = true
                case .miss(let logs):
                    metrics.retried(.miss)
                    logger.info(
                        "offsets were folded by somebody else",
                        metadata: ["logs": "\(logs.prefix(5))", "count": "\(logs.count)"]
                    )
                case .inDoubt(let error):
                    isInDoubt = true
                    metrics.retried(.inDoubt)
                    recover(from: error)
                case .database(let error):
                    metrics.retried(.database)
                    recover(from: error)
                }
                if result.wasAbandoned { break }
            }
        }
        metrics.commitSeconds.record(
            microseconds: Int64((time.monotonicNanoseconds() &- started) / 1_000)
        )
        job.output.removeAll()
        result.output = job.output
        return result
    }

    /// What the database says; nil when the aggregator stops first.
    func load(_ examination: Examination) -> FoldedState? {
        while !stop.isStopping {
            do throws(FoldFailure) {
                var result = FoldResult(output: FoldOutput([]))
                let connection = try connect(&result)
                var state = try load(examination, connection)
                state.mustResync = result.mustResync || hasLostConnection
                hasLostConnection = false
                return state
            } catch {
                switch error {
                case .database(let error), .inDoubt(let error): recover(from: error)
                case .miss, .generationChanged: break
                }
            }
        }
        return nil
    }

    /// Whether the connection was lost while nobody used it; the database may have been restored.
    func noticesLoss() -> Bool {
        guard let connection, connection.waitForClose(milliseconds: 0) else { return false }
        self.connection = nil
        hasLostConnection = true
        return true
    }

    /// Closes the connection.
    func close() { connection = nil }

    // MARK: Parts of an attempt

    private func attempt(
        _ job: FoldJob,
        _ result: inout FoldResult,
        _ connection: PostgresConnection
    ) throws(FoldFailure) {
        let ids = try resolve(job.output.rollups, connection)
        var transaction = FoldTransaction(
            connection: connection,
            catalog: job.catalog,
            observer: observer,
            recordDays: configuration.recordsRetain == nil ? nil : recordDays
        )
        // What a transaction has made may be lost with it; ask again.
        recordDays.removeAll()
        let written = try transaction.write(job, ids: ids)
        if let days = transaction.recordDays, days.count < Self.recordDaysMax { recordDays = days }
        backoff.reset()
        frozen.reset()
        for (log, offsets) in job.batch.wanted {
            result.folded[log, default: OffsetRanges()].formUnion(offsets)
        }
        result.ended.append(contentsOf: job.batch.ended)
        result.positions = job.positions
        for (log, count) in written.rangeCounts where count > configuration.rangesPerLogMax {
            result.crowded[log] = count
        }
        metrics.recordsFolded.add(UInt64(job.output.foldedCount))
        metrics.rowsWritten.add(UInt64(written.rowCount))
        metrics.recordsLoaded.add(UInt64(written.recordCount))
        metrics.parked(job.output.deadLetters)
        metrics.parked(job.untrusted)
    }

    /// The database's id of each value of each text dimension.
    private func resolve(
        _ rollups: FoldBatch,
        _ connection: PostgresConnection
    ) throws(FoldFailure) -> [[Int32]] {
        do throws(PostgresError) {
            let backend = connection.backendPID
            return try dimensions.resolve(rollups, on: connection) { () throws(PostgresError) in
                if let error = observer?(.dimensions, backend) { throw error }
            }
        } catch {
            // What was inserted may be lost with the connection; ask again.
            dimensions.removeAll()
            throw .database(error)
        }
    }

    /// Reloads what is folded of the batch's logs and drops it from the batch.
    private func reload(
        _ job: inout FoldJob,
        _ result: inout FoldResult,
        isInDoubt: Bool,
        _ connection: PostgresConnection
    ) throws(FoldFailure) {
        let state = try load(Examination(logs: job.batch.logs), connection)
        guard state.catalog == job.catalog else {
            throw .generationChanged(state.catalog.generation)
        }
        for (log, wanted) in job.batch.wanted {
            let done = state.folded[log] ?? OffsetRanges()
            guard done.overlaps(wanted) else { continue }
            if isInDoubt, done.isSuperset(of: wanted) {
                // Our own commit, of which we never heard.
                result.folded[log, default: OffsetRanges()].formUnion(wanted)
                job.batch.dropDuplicates([log: done])
                continue
            }
            let before = job.batch.offsetCount
            switch policy {
            case .keep:
                job.batch.dropDuplicates([log: done])
                metrics.recordsDuplicate.add(before - job.batch.offsetCount)
                result.folded[log, default: OffsetRanges()].formUnion(done)
            case .yield:
                job.batch.remove(log)
                metrics.recordsDuplicate.add(before - job.batch.offsetCount)
                metrics.logsYielded.add()
                result.yielded[log] = done
            }
        }
        job.output.removeAll()
        job.output.fold(job.batch, latest: configuration.latestCompletion(time))
    }

    private func load(
        _ examination: Examination,
        _ connection: PostgresConnection
    ) throws(FoldFailure) -> FoldedState {
        do throws(PostgresError) {
            return try FoldStatements.load(examination, on: connection)
        } catch { throw .database(error) }
    }

    // MARK: The connection

    /// The live connection, a new one if there is none.
    private func connect(_ result: inout FoldResult) throws(FoldFailure) -> PostgresConnection {
        if let connection, connection.isAlive { return connection }
        connection = nil
        // After a reconnect the database may be another one, restored from a backup.
        dimensions.removeAll()
        recordDays.removeAll()
        if wasConnected {
            result.mustResync = true
            hasLostConnection = true
        }
        do throws(PostgresError) {
            let made = try PostgresConnection(
                configuration.postgres,
                applicationName: "sluice-aggregator"
            )
            let idle = configuration.idleTransactionTimeout.milliseconds
            try made.execute(
                """
                SET idle_in_transaction_session_timeout = \(idle); SET lock_timeout = \(idle);
                SET jit = off
                """
            )
            try RecordRetention.declare(configuration.recordsRetain, on: made)
            connection = made
            wasConnected = true
            return made
        } catch { throw .database(error) }
    }

    /// Waits before the next attempt.
    private func recover(from error: PostgresError) {
        if connection?.isAlive == false || error.isConnectionLost { connection = nil }
        if error.isLockTimeout { endFrozenSessions() }
        let delay = backoff.next(&random)
        if error.isRetriable {
            logger.notice(
                "the database did not take a batch, trying again",
                metadata: ["error": "\(error)", "delay": "\(delay)"]
            )
        } else {
            logger.error(
                "the database refuses a batch, trying again",
                metadata: ["error": "\(error)", "delay": "\(delay)"]
            )
        }
        stop.wait(delay) { time.monotonicNanoseconds() }
    }

    /// Ends the sessions that may have held the lock and have not moved since the last time.
    private func endFrozenSessions() {
        guard let connection else { return }
        do throws(PostgresError) {
            try frozen.endFrozen(on: connection, logger)
        } catch {
            logger.notice(
                "could not look for sessions that hold locks",
                metadata: ["error": "\(error)"]
            )
        }
    }
}

extension AggregatorConfiguration {
    /// The latest completion time that is folded.
    func latestCompletion(_ time: any TimeSource) -> Int64 {
        time.wallMicroseconds() + futureTolerance.microseconds
    }
}
