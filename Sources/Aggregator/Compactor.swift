import FileIO
import Logging
import Postgres
import Rollups
import Telemetry

/// The one task that merges deltas into rollup tables. Every call blocks.
///
/// Any number may be running; whoever holds the session's advisory lock works, the others wait. A
/// session that loses its connection loses the lock and its open transaction together.
///
/// Owner: a `ThreadOwned`.
final class Compactor {
    /// The advisory lock of the compactor; an arbitrary number ("compact" in ASCII).
    private static let lock: Int64 = 0x63_6F6D_7061_6374
    /// After this silence inside a transaction the session ends. Longer than the fold's: a round
    /// merges between its statements, a few seconds at most.
    private static let idleInTransactionMilliseconds = 60_000
    /// After this silence between rounds the session ends, and with it the lock of a compactor
    /// that was stopped.
    private static let idleMilliseconds: Int64 = 30_000
    /// A COPY of another session that does not move for this long is not waited for; chosen: as
    /// long as any silence between rounds.
    private static let frozenNanoseconds: UInt64 = 30_000_000_000

    /// Time between two looks for what is expired; chosen: days are dropped.
    private static let dropIntervalNanoseconds: UInt64 = 60_000_000_000

    private let configuration: AggregatorConfiguration
    private let time: any TimeSource
    private let metrics: AggregatorMetrics
    private let logger: Logger
    private let observer: CompactionObserver?
    private let stop: StopSignal
    private var connection: PostgresConnection?
    private var holdsLock = false
    private var groups = KeyGroupCache()
    /// What the groups and the dead rows were remembered of.
    private var known = RollupCatalog.none
    private var hashes = ValueHashes()
    /// Rows that died since the last vacuum, by table.
    private var deadRows: [String: Int] = [:]
    /// Who may hold the lock without being awake.
    private var frozen = FrozenSessions()
    /// When to look for them again.
    private var nextFrozenLook: UInt64 = 0
    /// When to look for what is expired again.
    private var nextDrop: UInt64 = 0
    /// When the ledger is looked at again.
    private var reviewAt: UInt64 = 0
    private var wasBalanced = true
    private var backoff: Backoff
    private var random = SystemRandom()

    /// A compactor that connects when it is first needed.
    init(
        _ configuration: AggregatorConfiguration,
        time: any TimeSource,
        metrics: AggregatorMetrics,
        logger: Logger,
        observer: CompactionObserver?,
        stop: StopSignal
    ) {
        self.configuration = configuration
        self.time = time
        self.metrics = metrics
        self.logger = logger
        self.observer = observer
        self.stop = stop
        backoff = Backoff(first: .milliseconds(50), longest: .seconds(2))
    }

    /// Compacts until the signal to stop.
    func run() {
        while !stop.isStopping {
            do throws(CompactionFailure) {
                let hasBacklog = try compact()
                backoff.reset()
                if !hasBacklog { wait(configuration.compactionInterval) }
            } catch {
                forget()
                metrics.compactionFailures.add()
                let delay = backoff.next(&random)
                switch error {
                case .database(let error) where error.isRetriable:
                    logger.notice(
                        "a compaction round was rolled back, trying again",
                        metadata: ["error": "\(error)"]
                    )
                case .database(let error):
                    logger.error(
                        "the database refuses a compaction round, trying again",
                        metadata: ["error": "\(error)"]
                    )
                case .malformed(let error, let table):
                    logger.error(
                        "a stored row is damaged, deltas pile up until it is repaired",
                        metadata: ["error": "\(error)", "table": "\(table)"]
                    )
                }
                wait(delay)
            }
        }
        connection = nil
    }

    /// Compacts until no deltas are left; for tests and `--wait`.
    func drain() throws(CompactionFailure) {
        while try compact() {}
        connection = nil
        forget()
    }

    private func wait(_ duration: Duration) {
        stop.wait(duration) { time.monotonicNanoseconds() }
    }

    /// Makes one round per rollup if this session holds the lock or can get it.
    ///
    /// - Returns: Whether a rollup had more deltas than one round takes.
    private func compact() throws(CompactionFailure) -> Bool {
        let connection = try connected()
        guard try holdLock(connection) else { return false }
        let catalog = try catalog(connection)
        if !catalog.hasTables(of: known) {
            groups.removeAll()
            deadRows.removeAll()
        }
        known = catalog
        do throws(CompactionFailure) { return try compact(catalog, connection) } catch {
            guard case .database(let cause) = error, cause.isUndefinedTable,
                try !self.catalog(connection).hasTables(of: catalog)
            else { throw error }
            // A replay has put other rollups into their place meanwhile, or somebody dropped one.
            return true
        }
    }

    /// Makes one round per rollup, and what is due besides.
    private func compact(
        _ catalog: RollupCatalog,
        _ connection: PostgresConnection
    ) throws(CompactionFailure) -> Bool {
        var hasBacklog = false
        for table in catalog.tables {
            guard try hasDeltas(table, connection) else { continue }
            let started = time.monotonicNanoseconds()
            let round = CompactionRound(
                connection: connection,
                configuration: configuration,
                table: table,
                observer: observer
            )
            let result = try round.run(&groups, &hashes)
            metrics.compactionRounds.add()
            metrics.compactionDeltas.add(UInt64(result.deltaRows))
            metrics.compactionRows.add(UInt64(result.rollupRows))
            metrics.keysDisplaced.add(UInt64(result.keysDisplaced))
            metrics.compactionSeconds.record(
                microseconds: Int64((time.monotonicNanoseconds() &- started) / 1_000)
            )
            for (name, count) in result.deadRows { deadRows[name, default: 0] += count }
            if result.deltaRows >= configuration.compactionRowsMax { hasBacklog = true }
        }
        try vacuum(connection)
        try dropExpired(connection)
        try reviewLedger(connection)
        return hasBacklog
    }

    /// Drops buckets and raw records that are past their retention, now and then.
    private func dropExpired(_ connection: PostgresConnection) throws(CompactionFailure) {
        let now = time.monotonicNanoseconds()
        guard now >= nextDrop else { return }
        nextDrop = now &+ Self.dropIntervalNanoseconds
        do throws(PostgresError) {
            let buckets = try RollupRetention.enforce(on: connection)
            if !buckets.isEmpty {
                logger.info("buckets of rollups expired", metadata: ["partitions": "\(buckets)"])
            }
            let dropped = try RecordRetention.enforce(on: connection)
            guard !dropped.isEmpty else { return }
            logger.info("raw records expired", metadata: ["partitions": "\(dropped)"])
        } catch { throw .database(error) }
    }

    /// Longest time between two looks at the ledger; chosen.
    private static let reviewNanoseconds: UInt64 = 15_000_000_000

    /// Sets the series of the ledger, and says so when it does not balance any more.
    private func reviewLedger(_ connection: PostgresConnection) throws(CompactionFailure) {
        let now = time.monotonicNanoseconds()
        guard now >= reviewAt else { return }
        do throws(PostgresError) {
            let balance = try LedgerBalance(connection)
            metrics.balanced(balance)
            metrics.ledgerReviews.add()
            if wasBalanced && !balance.isBalanced {
                let gaps = try LogCompleteness.gaps(connection, limit: 5)
                logger.error(
                    "the ledger does not balance; `sluice status` says where",
                    metadata: [
                        "logs": "\(balance.unbalancedCount)", "missing": "\(balance.missing)",
                        "unaccounted": "\(balance.unaccounted)",
                        "gaps": "\(gaps)",
                    ]
                )
            }
            wasBalanced = balance.isBalanced
        } catch { throw .database(error) }
        // A ledger that takes long to read is read rarely: at most a hundredth of the time.
        let took = time.monotonicNanoseconds() &- now
        reviewAt = now &+ max(Self.reviewNanoseconds, 100 &* took)
    }

    /// Gives back the space of dead rows, table by table, outside any transaction.
    private func vacuum(_ connection: PostgresConnection) throws(CompactionFailure) {
        for (name, count) in deadRows where count >= configuration.vacuumRowsMin {
            deadRows[name] = nil
            do throws(PostgresError) {
                try connection.execute("VACUUM \(name)")
            } catch { throw .database(error) }
        }
        // Tables that are hardly touched any more are left to autovacuum.
        if deadRows.count > 1_000 { deadRows.removeAll() }
    }

    // MARK: Connection and lock

    private func connected() throws(CompactionFailure) -> PostgresConnection {
        if let connection, connection.isAlive { return connection }
        forget()
        do throws(PostgresError) {
            let made = try PostgresConnection(
                configuration.postgres,
                applicationName: "sluice-compactor"
            )
            let idle = max(
                Self.idleMilliseconds,
                10 * configuration.compactionInterval.milliseconds
            )
            try made.execute(
                """
                SET idle_in_transaction_session_timeout = \(Self.idleInTransactionMilliseconds);
                SET idle_session_timeout = \(idle); SET jit = off
                """
            )
            connection = made
            return made
        } catch { throw .database(error) }
    }

    /// Forgets what is only true while the lock is held.
    private func forget() {
        if connection?.isAlive != true {
            connection = nil
            holdsLock = false
            // Whoever compacts now shows the ledger.
            metrics.balanced(LedgerBalance())
            reviewAt = 0
        }
        groups.removeAll()
        hashes.removeAll()
    }

    private func holdLock(_ connection: PostgresConnection) throws(CompactionFailure) -> Bool {
        if holdsLock { return true }
        do throws(PostgresError) {
            let got = try connection.query("SELECT pg_try_advisory_lock($1)", [.int(Self.lock)])
            holdsLock = got.bool(0, 0) == true
            if !holdsLock { try endFrozenSessions(connection) }
        } catch { throw .database(error) }
        return holdsLock
    }

    /// Ends sessions that stopped in the middle of a COPY, the one that holds the lock perhaps.
    private func endFrozenSessions(_ connection: PostgresConnection) throws(PostgresError) {
        let now = time.monotonicNanoseconds()
        guard now >= nextFrozenLook else { return }
        nextFrozenLook = now &+ Self.frozenNanoseconds
        try frozen.endFrozen(on: connection, logger)
    }

    private func catalog(
        _ connection: PostgresConnection
    ) throws(CompactionFailure) -> RollupCatalog {
        do throws(PostgresError) { return try RollupCatalog(connection) } catch {
            throw .database(error)
        }
    }

    private func hasDeltas(
        _ table: RollupTable,
        _ connection: PostgresConnection
    ) throws(CompactionFailure) -> Bool {
        do throws(PostgresError) {
            let found = try connection.query("SELECT EXISTS (SELECT FROM \(table.deltaTable))")
            return found.bool(0, 0) == true
        } catch { throw .database(error) }
    }
}
