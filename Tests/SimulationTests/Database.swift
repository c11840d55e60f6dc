import Aggregator
import EventLog
import Postgres
import PostgresTesting
import Records
import Rollups
import Synchronization

/// The real database of a world, and what can happen to it.
final class Database {
    private let empty: TestDatabase
    private let admin: PostgresConnection
    private var connection: PostgresConnection?
    private var hasBackup = false

    var uri: String { empty.uri }
    private var backup: String { empty.name + "_backup" }

    /// A migrated database that the others are copies of.
    private static let template: Result<String, any Error> = Result {
        let database = try TestDatabase()
        let connection = try PostgresConnection(database.uri, applicationName: "simulation")
        _ = try Migrator().migrate(connection)
        return database.name
    }

    init(_ canary: Canary?) throws {
        let template = try Database.template.get()
        empty = try TestDatabase()
        let uri = empty.superuserURI.replacing("@/\(empty.name)?", with: "@/postgres?")
        admin = try PostgresConnection(uri, applicationName: "simulation")
        try admin.execute("DROP DATABASE \(empty.name)")
        try admin.execute("CREATE DATABASE \(empty.name) TEMPLATE \(template) OWNER sluice")
        if let sql = canary?.sql { try connected().execute(sql) }
    }

    func drop() {
        connection = nil
        try? admin.execute("DROP DATABASE IF EXISTS \(empty.name) WITH (FORCE)")
        try? admin.execute("DROP DATABASE IF EXISTS \(backup) WITH (FORCE)")
    }

    /// A live session of the checker.
    func connected() throws -> PostgresConnection {
        if let connection, connection.isAlive { return connection }
        let made = try PostgresConnection(uri, applicationName: "simulation")
        connection = made
        return made
    }

    /// Ends all sessions.
    func disconnectAll() throws {
        connection = nil
        try admin.query(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = $1",
            [.text(empty.name)]
        )
    }

    /// Keeps a copy of what is there now.
    func back() throws {
        try disconnectAll()
        try admin.execute("DROP DATABASE IF EXISTS \(backup)")
        try admin.execute("CREATE DATABASE \(backup) TEMPLATE \(empty.name) OWNER sluice")
        hasBackup = true
    }

    /// Puts the copy in the place of the database; false when there is none.
    func restore() throws -> Bool {
        guard hasBackup else { return false }
        try disconnectAll()
        try admin.execute("DROP DATABASE \(empty.name) WITH (FORCE)")
        try admin.execute("CREATE DATABASE \(empty.name) TEMPLATE \(backup) OWNER sluice")
        return true
    }

    /// What is folded, by log.
    func folded() throws -> [LogID: OffsetRanges] {
        let rows = try connected().query(
            """
            SELECT s.log_id, lower(r), upper(r)
            FROM sluice.source s CROSS JOIN unnest(s.folded) AS r WHERE s.generation = 1
            """
        )
        var folded: [LogID: OffsetRanges] = [:]
        for row in 0..<rows.rowCount {
            guard let uuid = rows.uuid(row, 0), let lower = rows.int(row, 1),
                let upper = rows.int(row, 2)
            else { throw Violation(invariant: 4, text: "a folded set cannot be read") }
            folded[LogID(high: uuid.high, low: uuid.low), default: OffsetRanges()]
                .insert(UInt64(lower)..<UInt64(upper))
        }
        return folded
    }

    /// Where partitions go on, for traces.
    func positions() throws -> String {
        let rows = try connected().query(
            """
            SELECT string_agg(partition || ':' || next_offset, ' ' ORDER BY partition)
            FROM sluice.transport_offset
            """
        )
        return rows.text(0, 0) ?? ""
    }

    /// What the ledger says of each log.
    func ledger() throws -> [LogID: (folded: Int64, parked: Int64, skipped: Int64)] {
        let rows = try connected().query(
            """
            SELECT log_id, sum(folded), sum(dead_lettered),
                sum(expired + damaged + filtered + sampled + too_large + rejected)
            FROM sluice.ledger WHERE generation = 1 GROUP BY log_id
            """
        )
        var ledger: [LogID: (folded: Int64, parked: Int64, skipped: Int64)] = [:]
        for row in 0..<rows.rowCount {
            guard let uuid = rows.uuid(row, 0) else { continue }
            ledger[LogID(high: uuid.high, low: uuid.low)] = (
                rows.int(row, 1) ?? -1, rows.int(row, 2) ?? -1, rows.int(row, 3) ?? -1
            )
        }
        return ledger
    }

    /// How many records are parked, by log.
    func letters() throws -> [LogID: Int64] {
        let rows = try connected().query(
            "SELECT log_id, count(*) FROM sluice.dead_letter GROUP BY log_id"
        )
        var letters: [LogID: Int64] = [:]
        for row in 0..<rows.rowCount {
            guard let uuid = rows.uuid(row, 0) else { continue }
            letters[LogID(high: uuid.high, low: uuid.low)] = rows.int(row, 1)
        }
        return letters
    }

    /// What all rows of one rollup add up to, compacted or not.
    func totals() throws -> Totals {
        let rows = try connected().query(
            """
            SELECT sum(requests), sum(bytes_out), sum(latency_sum) FROM (
                SELECT requests, bytes_out, latency_sum FROM sluice_g1.api_delta
                UNION ALL SELECT requests, bytes_out, latency_sum FROM sluice_g1.api_1d) r
            """
        )
        return Totals(
            requests: rows.int(0, 0) ?? 0,
            bytes: rows.int(0, 1) ?? 0,
            latency: rows.int(0, 2) ?? 0
        )
    }

    /// What the rows of a tier add up to, by bucket and API; histograms must agree with counts.
    func table(_ definition: RollupDefinition, _ tier: Tier) throws -> [String: Totals] {
        let api = definition.dimensions.contains { $0.name == "api" }
        let rows = try connected().query(
            """
            SELECT t.bucket, \(api ? "d.value" : "''"), requests, bytes_out, latency_sum,
                latency_hist, latency_count
            FROM sluice_g1.\(definition.name)_\(tier.rawValue) t
            \(api ? "LEFT JOIN sluice.dimension d ON d.id = t.api AND d.name = 'api'" : "")
            """
        )
        var table: [String: Totals] = [:]
        for row in 0..<rows.rowCount {
            let key = "\(rows.timestamp(row, 0) ?? 0) \(rows.text(row, 1) ?? "?")"
            table[key, default: Totals()].requests += rows.int(row, 2) ?? 0
            table[key, default: Totals()].bytes += rows.int(row, 3) ?? 0
            table[key, default: Totals()].latency += rows.int(row, 4) ?? 0
            let histogram = rows.bytes(row, 5) ?? []
            let counted = try LatencyHistogram.total(histogram.span)
            guard Int64(counted) == rows.int(row, 6) else {
                throw Violation(invariant: 5, text: "a histogram of \(definition.name) is not full")
            }
        }
        return table
    }
}

/// What happens to aggregators while they write; armed by the world.
final class FoldFaults: Sendable {
    /// What happens.
    enum Kind: CaseIterable { case deadlock, lost, terminated, killed }

    private struct State {
        var countdown = 0
        var kind = Kind.lost
        var attempts = 0
        var hit: [String: Int] = [:]
    }

    private let state = Mutex(State())
    private let uri: String
    private let stop: StopSignal

    init(_ uri: String, _ stop: StopSignal) {
        self.uri = uri
        self.stop = stop
    }

    /// Lets something happen at a later step.
    func arm(_ kind: Kind, after count: Int) {
        state.withLock {
            $0.kind = kind
            $0.countdown = count
        }
    }

    /// At which steps how much has happened.
    var hit: [String: Int] { state.withLock { $0.hit } }

    /// Starts to count the attempts at one batch.
    func begin() { state.withLock { $0.attempts = 0 } }

    /// Whether one batch has been attempted so often that it will never be taken.
    var isStuck: Bool { state.withLock { $0.attempts > 100 } }

    /// Called before each step of a fold.
    func observe(_ step: FoldStep, _ backend: Int32) -> PostgresError? {
        let kind: Kind? = state.withLock { state in
            if step == .begin { state.attempts += 1 }
            if state.attempts > 100 { return .killed }
            guard state.countdown > 0 else { return nil }
            state.countdown -= 1
            guard state.countdown == 0 else { return nil }
            state.hit["\(step.rawValue) \(state.kind)", default: 0] += 1
            return state.kind
        }
        switch kind {
        case nil: return nil
        case .deadlock:
            return PostgresError(sqlState: "40P01", call: "simulation", message: "deadlock")
        case .terminated:
            if let killer = try? PostgresConnection(uri, applicationName: "killer") {
                _ = try? killer.query(
                    "SELECT pg_terminate_backend($1::int8::integer, 60000)",
                    [.int(Int64(backend))]
                )
            }
            return nil
        case .killed:
            stop.stop()
            return Self.gone
        case .lost: return Self.gone
        }
    }

    private static let gone = PostgresError(
        call: "simulation",
        message: "the server has gone",
        isConnectionLost: true
    )
}
