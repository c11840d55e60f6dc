import Foundation
import Logging
import Postgres
import PostgresTesting
import Query
import Records
import Rollups
import Synchronization
import Telemetry

/// A database with our schema, filled with rollups folded from records, and the API over it.
struct Fixture: Sendable {
    /// Connection string of the database.
    let uri: String

    /// The clock of the API, microseconds since the Unix epoch.
    let clock: Clock

    /// A clock that tests set.
    final class Clock: Sendable {
        private let time: Mutex<Int64>

        init(_ time: Int64) { self.time = Mutex(time) }

        var now: Int64 { time.withLock { $0 } }

        func advance(seconds: Double) { time.withLock { $0 += Int64(seconds * 1_000_000) } }
    }

    /// 2026-03-10T12:00:30Z, the default of the clock.
    static let now: Int64 = 1_773_144_030_000_000

    /// Directory of the checkout.
    static let root = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    /// Lends a fresh database with the schema of `schemas/postgres`.
    static func with<T>(_ body: (Fixture) async throws -> T) async throws -> T {
        try await TestDatabase.with { uri in
            let connection = try PostgresConnection(uri, applicationName: "fixture")
            let folder = root.appendingPathComponent("schemas/postgres")
            for name in try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
            where name.hasSuffix(".sql") {
                let sql = try String(
                    contentsOf: folder.appendingPathComponent(name),
                    encoding: .utf8
                )
                try connection.execute(sql)
                try connection.query(
                    "INSERT INTO sluice.migration VALUES ($1, $2::text, '', now())",
                    [.int(Int64(name.prefix(4)) ?? 0), .text(name)]
                )
            }
            let tables = RollupDefinition.builtIn.flatMap { rollup in
                rollup.tiers.map { "\(rollup.name)_\($0.rawValue)" }
            }
            for table in tables {
                try connection.execute(
                    """
                    CREATE TABLE IF NOT EXISTS sluice_g1.\(table)_rest
                    PARTITION OF sluice_g1.\(table) DEFAULT
                    """
                )
            }
            return try await body(Fixture(uri: uri, clock: Clock(now)))
        }
    }

    /// The endpoints over this database.
    func api(_ change: (inout QueryConfiguration) -> Void = { _ in }) -> QueryAPI {
        var configuration = QueryConfiguration(postgresURI: uri)
        // The clock stands still, so what is limited by time would end; its tests set limits.
        configuration.requestsPerSecondMax = 0
        configuration.attemptsPerSecondMax = 0
        change(&configuration)
        var logger = Logger(label: "query.tests")
        logger.logLevel = .critical
        let clock = clock
        return QueryAPI(configuration, metrics: MetricsRegistry(), logger: logger) { clock.now }
    }

    /// The value of `Authorization` for a new token of `scope`.
    func authorization(_ scope: TokenScope, expiresAt: Int64? = nil) async throws -> String {
        let store = TokenStore(postgresURI: uri)
        return "Bearer " + (try await store.create(scope: scope, expiresAt: expiresAt).secret)
    }

    /// Adds a rollup, as the registry does, with room for all times.
    func add(_ rollup: RollupDefinition) throws {
        let connection = try PostgresConnection(uri, applicationName: "fixture")
        try connection.query(
            "SELECT sluice.add_rollup($1, $2::text[], $3::text[], $4)",
            [
                .text(rollup.name), .textArray(rollup.dimensions.map(\.name)),
                .textArray(rollup.tiers.map(\.rawValue)), .bool(rollup.countsKeys),
            ]
        )
        for tier in rollup.tiers {
            let table = "\(rollup.name)_\(tier.rawValue)"
            try connection.execute(
                """
                CREATE TABLE sluice_g1."\(table)_rest" PARTITION OF sluice_g1."\(table)" DEFAULT
                """
            )
        }
    }

    /// Writes `records` to all tiers, as a compactor would have, or to the deltas.
    func insert(
        _ records: [RequestRecord],
        asDeltas: Bool,
        into rollups: [RollupDefinition] = RollupDefinition.builtIn
    ) throws {
        let connection = try PostgresConnection(uri, applicationName: "fixture")
        for rollup in rollups {
            let tiers = asDeltas ? [rollup.finestTier] : rollup.tiers
            for tier in tiers {
                let definition = RollupDefinition(
                    name: rollup.name,
                    dimensions: rollup.dimensions,
                    tiers: [tier],
                    countsKeys: rollup.countsKeys
                )
                var batch = FoldBatch([definition])
                for record in records {
                    let bytes = record.encoded()
                    let span = bytes.span.raw
                    batch.fold(try RecordView.decode(span), span)
                }
                let table = rollup.name + "_" + (asDeltas ? "delta" : tier.rawValue)
                try Self.copy(batch, to: table, connection)
            }
        }
    }

    private static func copy(
        _ batch: FoldBatch,
        to table: String,
        _ connection: PostgresConnection
    ) throws {
        var identifiers: [String: Int64] = [:]
        var rows: [[PostgresValue]] = []
        let definition = batch.definitions[0]
        batch.forEachRow(of: 0) { row in
            var values: [PostgresValue] = [.timestamp(row.bucket)]
            for (index, dimension) in definition.dimensions.enumerated() {
                let text = row.text(of: index)
                if dimension.isInteger {
                    values.append(.int(Int64(text) ?? 0))
                } else {
                    values.append(.text(text.isEmpty ? "" : dimension.name + "\t" + text))
                }
            }
            let counts = row.counts
            for number in [
                counts.requests, counts.clientErrors, counts.serverErrors, counts.aborted,
                counts.bytesIn, counts.bytesOut, counts.latency.count, counts.latency.sum,
                counts.latency.min, counts.latency.max, counts.upstream.count, counts.upstream.sum,
                counts.upstream.min, counts.upstream.max,
            ] {
                values.append(.int(number))
            }
            values.append(.bytes(row.latencyHistogram.copied()))
            values.append(.bytes(row.upstreamHistogram.copied()))
            values.append(.bytes(row.clients.copied()))
            if definition.countsKeys { values.append(.bytes(row.keys.copied())) }
            rows.append(values)
        }
        try connection.execute("BEGIN")
        for row in rows {
            let values = try row.map { value in
                guard case .text(let text) = value else { return value }
                if text.isEmpty { return .int(0) }
                if let known = identifiers[text] { return .int(known) }
                let halves = text.split(separator: "\t", maxSplits: 1).map(String.init)
                let id = try identifier(halves[0], halves[1], connection)
                identifiers[text] = id
                return .int(id)
            }
            let places = (1...values.count).map { "$\($0)" }.joined(separator: ", ")
            try connection.query("INSERT INTO sluice_g1.\"\(table)\" VALUES (\(places))", values)
        }
        try connection.execute("COMMIT")
    }

    /// The id of a value in `sluice.dimension`, made if missing.
    static func identifier(
        _ name: String,
        _ value: String,
        _ connection: PostgresConnection
    ) throws -> Int64 {
        let result = try connection.query(
            """
            INSERT INTO sluice.dimension (name, value) VALUES ($1::text, $2::text)
            ON CONFLICT (name, value) DO UPDATE SET value = EXCLUDED.value RETURNING id
            """,
            [.text(name), .text(value)]
        )
        return result.int(0, 0) ?? 0
    }
}

/// An answer read back from JSON.
struct Answer {
    let status: Int
    let object: [String: Any]

    var rows: [[String: Any]] { object["rows"] as? [[String: Any]] ?? [] }

    init(_ reply: APIReply) throws {
        status = reply.status
        object = try JSONSerialization.jsonObject(with: Data(reply.body)) as? [String: Any] ?? [:]
    }
}

extension QueryAPI {
    /// Asks `/v1/usage` with a query string.
    func usage(_ query: String, _ authorization: String) async throws -> Answer {
        try Answer(
            await respond(
                APIRequest("GET", "/v1/usage", query: query, authorization: authorization)
            )
        )
    }
}
