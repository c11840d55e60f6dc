package import Logging
import Postgres
import Synchronization
package import Telemetry

/// A revision that has been made.
package struct MeterRevision: Equatable, Sendable {
    /// The meter.
    package var meter: String
    /// The period.
    package var period: MeterPeriod
    /// From 1; the first is made when the period closes.
    package var revision: Int64
    /// How many applications have a row in it.
    package var rowCount: Int
}

/// What came of looking at all meters once.
package struct MeterPass: Equatable, Sendable {
    /// What was made, in order.
    package var revisions: [MeterRevision] = []
    /// What stands in the way of a meter, as sentences with its name.
    package var problems: [String] = []
    /// Whether another process is at it, so that nothing was done.
    package var isBusy = false
}

/// Closes the periods of meters and makes corrections for late records, one process at a time.
///
/// Each revision is one transaction, which reads rollups and bookkeeping in one snapshot; killed at
/// any instant, it has happened or it has not, and the next pass goes on.
package final class MeterCloser: Sendable {
    /// Most periods closed of one meter in one pass, so that others get their turn; chosen.
    private static let periodsMax = 1_000

    /// How often a pass looks at all closed periods and not only at the recent ones; chosen: once
    /// an hour, for reading years of rollups takes a while.
    private static let passesPerFullLook = 60

    /// Key of the advisory lock: "meters" in ASCII.
    static let lockKey: Int64 = 0x6D65_7465_7273

    /// Repeatable, so that all statements of a transaction see the same folds.
    static let snapshot = "ISOLATION LEVEL REPEATABLE READ"

    private let meters: [Meter]
    private let client: PostgresClient
    let engine = UsageEngine()
    private let logger: Logger
    private let made: Counter
    private let corrected: Counter
    private let failures: Counter
    /// Problems already logged, so that each is told once. Owner: the lock.
    private let told = Mutex<Set<String>>([])

    /// A closer of `meters` with a connection of its own to the database at `postgresURI`, as the
    /// owner of its tables.
    package init(
        _ meters: [Meter],
        postgresURI: String,
        metrics: MetricsRegistry,
        logger: Logger
    ) {
        self.meters = meters
        self.logger = logger
        client = PostgresClient(
            postgresURI,
            options: PostgresConnectionOptions(
                applicationName: "sluice meters",
                connectTimeoutSeconds: 5,
                statementTimeoutMilliseconds: 600_000
            )
        ) { connection in
            try connection.execute("SET jit = off; SET work_mem = '32MB'")
        }
        made = metrics.counter(
            "meter_periods_closed_total",
            help: "Periods of meters that this process has closed."
        )
        corrected = metrics.counter(
            "meter_corrections_total",
            help: "Revisions of closed periods that this process has made for late records."
        )
        failures = metrics.counter(
            "meter_failures_total",
            help: "Meters that could not be looked at, or closed, in a pass."
        )
    }

    /// Makes a pass now and then until cancelled.
    package func run(every interval: Duration) async {
        guard !meters.isEmpty else { return }
        let work = PeriodicWork(failure: "meters not looked at", failures: failures, logger: logger)
        await work.run(every: interval) { passes in
            _ = try await pass(everything: passes % Self.passesPerFullLook == 0)
        }
        await client.close()
    }

    /// Looks at all meters, or those of `names`, once: closes what is due, corrects what changed.
    ///
    /// Not interrupted by cancellation.
    ///
    /// - Parameters:
    ///   - names: The meters; all if nil.
    ///   - everything: Whether late records are looked for in all closed periods, or only in those
    ///     of the last 40 days.
    package func pass(
        _ names: Set<String>? = nil,
        everything: Bool = true
    ) async throws -> MeterPass {
        let chosen = meters.filter { names?.contains($0.name) ?? true }
        let pass = try await client.run { connection in
            try self.pass(chosen, everything, connection)
        }
        for revision in pass.revisions {
            if revision.revision == 1 { made.add() } else { corrected.add() }
            logger.info(
                revision.revision == 1 ? "meter_period_closed" : "meter_period_corrected",
                metadata: [
                    "meter": "\(revision.meter)", "revision": "\(revision.revision)",
                    "start": "\(CivilTime.utc(microseconds: revision.period.start * 1_000_000))",
                    "rows": "\(revision.rowCount)",
                ]
            )
        }
        for problem in pass.problems {
            failures.add()
            if told.withLock({ $0.insert(problem).inserted }) {
                logger.error("meter_failed", metadata: ["problem": "\(problem)"])
            }
        }
        return pass
    }

    private func pass(
        _ meters: [Meter],
        _ everything: Bool,
        _ connection: PostgresConnection
    ) throws(PostgresError) -> MeterPass {
        var pass = MeterPass()
        let isDone = try connection.doAlone(Self.lockKey) { () throws(PostgresError) in
            for meter in meters {
                do throws(QueryFailure) {
                    try look(at: meter, everything, connection, &pass)
                } catch {
                    connection.rollback()
                    switch error {
                    case .problem(let problem):
                        pass.problems.append("meter \(meter.name): \(problem.detail)")
                    case .database(let cause):
                        guard connection.isAlive else { throw cause }
                        pass.problems.append("meter \(meter.name): \(cause)")
                    }
                }
            }
        }
        pass.isBusy = !isDone
        return pass
    }

    /// Closes the periods of one meter that are due, and corrects those that have changed.
    private func look(
        at meter: Meter,
        _ everything: Bool,
        _ connection: PostgresConnection,
        _ pass: inout MeterPass
    ) throws(QueryFailure) {
        let table = MeterTable(connection)
        let definition = try table.register(meter)
        for _ in 0..<Self.periodsMax {
            guard let revision = try closeNext(meter, definition, table) else { break }
            pass.revisions.append(revision)
        }
        for changed in try changed(meter, everything, table, &pass) {
            if let revision = try correct(meter, changed, table) {
                pass.revisions.append(revision)
            }
        }
    }

    /// Closes the next period, if everything before its end and the grace is counted.
    private func closeNext(
        _ meter: Meter,
        _ definition: Int64,
        _ table: MeterTable
    ) throws(QueryFailure) -> MeterRevision? {
        try table.transaction { () throws(QueryFailure) in
            let freshness = try Freshness(table.connection)
            guard let completeTo = freshness.completeTo,
                let period = try table.nextPeriod(of: meter),
                completeTo >= period.end * 1_000_000 + meter.grace.microseconds
            else { return nil }
            let count = try engine.count(meter, period, freshness, table.connection)
            let requests = try requests(meter, period, freshness, table)
            let draft = MeterDraft(
                meter: meter,
                definition: definition,
                period: period,
                revision: 1,
                completeTo: completeTo,
                generation: freshness.generation,
                requests: requests,
                count: count,
                amounts: MeterDraft.amounts(before: [:], after: count.quantities, revision: 1)
            )
            try table.insert(draft)
            try table.insertPeriod(draft)
            return draft.made
        }
    }

    private func requests(
        _ meter: Meter,
        _ period: MeterPeriod,
        _ freshness: Freshness,
        _ table: MeterTable
    ) throws(QueryFailure) -> Int64 {
        let requests = try engine.requests(
            meter,
            from: period.start,
            to: period.end,
            freshness,
            table.connection
        )
        return requests.values.reduce(0, +)
    }

    /// The closed periods of a meter in which more requests are counted now than when they were
    /// last computed, or which another generation of the rollups holds now.
    private func changed(
        _ meter: Meter,
        _ everything: Bool,
        _ table: MeterTable,
        _ pass: inout MeterPass
    ) throws(QueryFailure) -> [ClosedPeriod] {
        var shrunk: [String] = []
        let changed = try table.transaction { () throws(QueryFailure) -> [ClosedPeriod] in
            let closed = try table.closedPeriods(of: meter, everything: everything)
            guard let first = closed.first, let last = closed.last else { return [] }
            let freshness = try Freshness(table.connection)
            let requests = try engine.requests(
                meter,
                from: first.period.start,
                to: last.period.end,
                freshness,
                table.connection
            )
            return closed.filter { period in
                let now = requests[period.period.start] ?? 0
                if now < period.requests {
                    shrunk.append(CivilTime.utc(microseconds: period.period.start * 1_000_000))
                    return false
                }
                return now > period.requests || freshness.generation != period.generation
            }
        }
        if let first = shrunk.first {
            pass.problems.append(
                "meter \(meter.name): fewer requests are kept of \(shrunk.count) closed periods, "
                    + "from \(first) on, than were billed; they are not corrected any more"
            )
        }
        return changed
    }

    /// Computes a closed period again, and makes a revision if somebody's quantity has changed.
    private func correct(
        _ meter: Meter,
        _ closed: ClosedPeriod,
        _ table: MeterTable
    ) throws(QueryFailure) -> MeterRevision? {
        try table.transaction { () throws(QueryFailure) in
            let meter = try table.meter(meter, asDefined: closed.definition)
            let freshness = try Freshness(table.connection)
            let count = try engine.count(meter, closed.period, freshness, table.connection)
            let requests = try requests(meter, closed.period, freshness, table)
            let (latest, before) = try table.amounts(of: meter, closed.period)
            let draft = MeterDraft(
                meter: meter,
                definition: closed.definition,
                period: closed.period,
                revision: latest + 1,
                completeTo: freshness.completeTo ?? closed.period.end * 1_000_000,
                generation: freshness.generation,
                requests: requests,
                count: count,
                amounts: MeterDraft.amounts(
                    before: before,
                    after: count.quantities,
                    revision: latest + 1
                )
            )
            try table.updatePeriod(draft)
            guard !draft.amounts.isEmpty else { return nil }
            try table.insert(draft)
            return draft.made
        }
    }
}
