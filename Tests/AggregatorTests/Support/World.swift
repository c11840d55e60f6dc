import Aggregator
import EventLog
import FileIO
import FileIOTesting
import Foundation
import Logging
import Postgres
import PostgresTesting
import Records
import Rollups
import Telemetry
import Testing
import Threads

/// Logs in memory, a migrated database, and what the logs ought to fold to.
final class World: Sendable {
    let fileSystem = MemoryFileSystem()
    let directory: LogDirectory
    let uri: String
    let time = SystemTimeSource()
    let metrics = MetricsRegistry()

    /// `SLUICE_TEST_LOG=info` shows what aggregators report.
    static let logLevel =
        ProcessInfo.processInfo.environment["SLUICE_TEST_LOG"].flatMap {
            Logger.Level(rawValue: $0)
        }
        ?? .critical

    init(_ uri: String) throws {
        self.uri = uri
        directory = try LogDirectory(path: "/data", fileSystem: fileSystem, time: time)
    }

    /// Lends a world around a migrated database.
    static func with<T>(_ body: (World) async throws -> T) async throws -> T {
        try await TestDatabase.with { uri in
            _ = try await Migrator().migrate(uri)
            return try await body(try World(uri))
        }
    }

    /// Raw records of the sample log's day are kept.
    static let keepEverything = Duration.seconds(100 * 366 * 86_400)

    var configuration: AggregatorConfiguration {
        var configuration = AggregatorConfiguration(postgres: uri, data: "/data")
        configuration.flushInterval = .milliseconds(5)
        configuration.compactionInterval = .milliseconds(20)
        configuration.retryDelayMax = .milliseconds(100)
        configuration.recordsRetain = Self.keepEverything
        return configuration
    }

    func connect() throws -> PostgresConnection {
        try PostgresConnection(uri, applicationName: "tests")
    }

    /// An aggregator over this world.
    func aggregator(
        _ configuration: AggregatorConfiguration,
        hooks: AggregatorHooks = AggregatorHooks(),
        source: AggregatorSource? = nil
    ) -> Aggregator {
        var logger = Logger(label: "aggregator")
        logger.logLevel = Self.logLevel
        return Aggregator(
            configuration,
            source: source ?? .local(directory),
            time: time,
            metrics: metrics,
            logger: logger,
            hooks: hooks
        )
    }

    /// Runs aggregators until everything durable is folded, and compacts.
    func fold(
        _ aggregators: [Aggregator],
        compacting configuration: AggregatorConfiguration? = nil
    ) async throws {
        try await whileRunning(aggregators) {
            let isDone = await isFolded()
            #expect(isDone, "folded in time")
        }
        try await compact(configuration)
    }

    /// Runs aggregators as long as `body` takes.
    func whileRunning(
        _ aggregators: [Aggregator],
        _ body: () async throws -> Void
    ) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for aggregator in aggregators { group.addTask { try await aggregator.run() } }
            let result: Result<Void, any Error>
            do {
                try await body()
                result = .success(())
            } catch {
                result = .failure(error)
            }
            group.cancelAll()
            try await group.waitForAll()
            try result.get()
        }
    }

    /// Compacts what is left; if the compactor's session is just going, tries again.
    func compact(_ configuration: AggregatorConfiguration? = nil) async throws {
        for _ in 0..<100 {
            try await aggregator(configuration ?? self.configuration).compactAll()
            let generation = try activeGeneration(connect())
            let names = try RollupRegistry(connect()).list().map(\.definition.name)
            let left = try connect().query(
                "SELECT "
                    + names
                    .map { "EXISTS (SELECT FROM sluice_g\(generation).\"\($0)_delta\")" }
                    .joined(separator: " OR ")
            )
            if left.bool(0, 0) == false { return }
        }
        Issue.record("deltas are left")
    }

    /// Waits until everything durable is folded; false when the time is up.
    func isFolded(
        within timeout: Duration = .seconds(120),
        only: LogID? = nil
    ) async -> Bool {
        let directory = directory
        let uri = uri
        let time = time
        let (seconds, attoseconds) = timeout.components
        let deadline =
            time.monotonicNanoseconds()
            + UInt64(seconds) * 1_000_000_000 + UInt64(attoseconds / 1_000_000_000)
        return await ThreadOwned(name: "wait", ()).run { _ in
            var connection: PostgresConnection?
            while true {
                let change = directory.changeCount
                // The database may be replaced meanwhile.
                if connection?.isAlive != true {
                    connection = try? PostgresConnection(uri, applicationName: "tests")
                }
                if let connection, (try? allFolded(directory, only, connection)) == true {
                    return true
                }
                if time.monotonicNanoseconds() >= deadline { return false }
                directory.waitForChange(since: change, timeout: .milliseconds(50))
            }
        }
    }

    /// The first segment of a log.
    func segment(of log: LogID) -> String {
        "/data/log/\(log)/00000000000000000000.log"
    }

    /// Flips a bit in a segment.
    func damage(_ log: LogID, from position: Int) {
        var bytes = fileSystem.bytes(of: segment(of: log)) ?? []
        bytes[position + 100] ^= 1
        fileSystem.setBytes(bytes, of: segment(of: log))
    }
}

/// The generation that counts.
func activeGeneration(_ connection: PostgresConnection) throws -> Int64 {
    let found = try connection.query("SELECT id FROM sluice.generation WHERE state = 'active'")
    return try #require(found.int(0, 0))
}

/// Whether the database says that everything durable is folded and every end is recorded.
private func allFolded(
    _ directory: LogDirectory,
    _ only: LogID?,
    _ connection: PostgresConnection
) throws -> Bool {
    for log in try directory.logs() where only == nil || only == log.id {
        let found = try connection.query(
            """
            SELECT s.folded = $2::text::int8multirange, l.end_offset
            FROM sluice.source s LEFT JOIN sluice.log l USING (log_id)
            WHERE s.generation = (SELECT id FROM sluice.generation WHERE state = 'active')
                AND s.log_id = $1::text::uuid
            """,
            [.text(log.id.description), .text("{[0,\(log.durableOffset))}")]
        )
        guard found.rowCount == 1, found.bool(0, 0) == true else { return false }
        if let end = log.endOffset, found.int(0, 1) != Int64(end.rawValue) { return false }
    }
    return true
}

/// Writes random logs and keeps what they ought to fold to.
struct Scenario {
    var random: SplitMix
    var models = RollupDefinition.builtIn.map { RollupModel($0) }
    var requests = 0
    var deadLetters: [String: Int] = [:]
    /// Messages that may go to the dead letters, without being accounted for.
    var intrusions = 0
    var offsets: UInt64 = 0

    /// 2015-05-17 10:05:00 UTC: the day of the sample log.
    static let start: Int64 = 1_431_857_100_000_000

    init(seed: UInt64) { random = SplitMix(seed: seed) }

    /// Writes a log of random requests in random batches, ended or not.
    @discardableResult
    mutating func writeLog(
        _ world: World,
        records: Int,
        span: Int64 = 3 * 86_400_000_000,
        bad: Bool = true,
        closes: Bool = true
    ) throws -> LaneWriter? {
        var configuration = LogConfiguration()
        configuration.sync = .os
        configuration.node = "gw-\(random.below(3))"
        configuration.region = "eu"
        configuration.orgs = SampleRequest.orgs.filter { !$0.isEmpty }
        let lane = try world.directory.openLane(random.below(4), configuration)
        for _ in 0..<records {
            if bad, random.below(25) == 0 {
                try writeBad(lane)
            } else {
                let request = SampleRequest.random(&random, around: Self.start, span: span)
                try lane.append(eventTime: request.completedAt) { request.encode(into: &$0) }
                add(request)
            }
            if random.below(12) == 0 { try lane.write() }
            if random.below(60) == 0 { try lane.heartbeat() }
        }
        if closes {
            try lane.close()
        } else {
            try lane.write()
        }
        offsets += lane.nextOffset.rawValue
        return closes ? nil : lane
    }

    mutating func add(_ request: SampleRequest) {
        for index in models.indices { models[index].add(request) }
        requests += 1
    }

    /// Writes a record that must go to the dead letters.
    mutating func writeBad(_ lane: LaneWriter) throws {
        let request = SampleRequest.random(&random, around: Self.start, span: 1_000)
        let kind = random.pick([
            "malformed", "schema_newer", "identity_mismatch", "future", "unknown_kind", "no_time",
        ])
        deadLetters[kind, default: 0] += 1
        let other = LogID(random: &random)
        try lane.append(eventTime: request.completedAt) { encoder in
            request.encode(into: &encoder)
            switch kind {
            case "malformed": encoder.bytes.append(contentsOf: [0x3A, 0xFF])
            case "schema_newer": encoder.put(.schemaVersion, 99)
            case "identity_mismatch": encoder.put(.logID, other)
            case "future": encoder.put(.completedAt, signed: 4_102_444_800_000_000)
            case "unknown_kind": encoder.put(.kind, 77)
            default: encoder.put(.completedAt, signed: 0)
            }
        }
    }

    /// Compares raw records with what was counted of them.
    private func checkRecords(
        _ connection: PostgresConnection,
        _ generation: Int64
    ) throws {
        let count = try connection.query(
            "SELECT count(*), count(DISTINCT (log_id, \"offset\")) FROM sluice.records"
        )
        #expect(count.int(0, 0) == Int64(requests), "raw records")
        #expect(count.int(0, 1) == Int64(requests), "identities of raw records")
        let wrong = try connection.query(
            """
            WITH names AS (
              SELECT s.bucket, o.value AS org, a.value AS api, s.requests, s.client_errors,
                s.server_errors, s.aborted, s.bytes_in, s.bytes_out, s.latency_count,
                s.latency_sum, s.upstream_count, s.upstream_sum
              FROM sluice_g\(generation).summary_1d s
              LEFT JOIN sluice.dimension o ON o.id = s.org
              LEFT JOIN sluice.dimension a ON a.id = s.api
            ), records AS (
              SELECT date_trunc('day', completed_at, 'UTC'), org, api, count(*),
                count(*) FILTER (WHERE error = 'client'), count(*) FILTER (WHERE error = 'server'),
                count(*) FILTER (WHERE outcome = 'client_aborted'),
                sum(bytes_in), sum(bytes_out), count(latency), coalesce(sum(latency), 0),
                count(upstream_latency), coalesce(sum(upstream_latency), 0)
              FROM sluice.records GROUP BY 1, 2, 3
            )
            SELECT (SELECT count(*) FROM (TABLE names EXCEPT TABLE records) d),
              (SELECT count(*) FROM (TABLE records EXCEPT TABLE names) d)
            """
        )
        #expect(wrong.int(0, 0) == 0 && wrong.int(0, 1) == 0, "raw records add up to the rollup")
    }

    /// Compares every table with the model, and raw records with the tables unless `records` is
    /// false.
    func check(
        _ world: World,
        keysMax: Int = .max,
        records: Bool = true,
        _ comment: Comment = ""
    ) throws {
        let connection = try world.connect()
        let generation = try activeGeneration(connection)
        for model in models {
            for tier in model.definition.tiers {
                let found = try readTable(model.definition, tier, connection)
                let wrong = differences(found, model.table(tier, keysMax: keysMax))
                #expect(wrong.isEmpty, "\(model.definition.name) \(tier.rawValue): \(comment)")
            }
            let left = try connection.query(
                "SELECT count(*) FROM sluice_g\(generation).\"\(model.definition.name)_delta\""
            )
            #expect(left.int(0, 0) == 0)
        }
        // Keys in `__other__` are named in raw records only.
        if records, keysMax == .max { try checkRecords(connection, generation) }
        let ledger = try connection.query(
            """
            SELECT sum(folded), sum(dead_lettered),
                sum(expired + damaged + filtered + sampled + too_large + rejected)
            FROM sluice.ledger
            """
        )
        let sum = (0..<3).reduce(0) { $0 + (ledger.int(0, $1) ?? 0) }
        #expect(sum == Int64(offsets), "the ledger balances")
        let letters = try connection.query(
            """
            SELECT reason, count(*) FROM sluice.dead_letter
            WHERE log_id <> '00000000-0000-0000-0000-000000000000' GROUP BY reason
            """
        )
        var found: [String: Int] = [:]
        for row in 0..<letters.rowCount {
            found[letters.text(row, 0) ?? ""] = Int(letters.int(row, 1) ?? 0)
        }
        #expect(found == deadLetters)
        let intruders = try connection.query(
            """
            SELECT count(*) FROM sluice.dead_letter
            WHERE log_id = '00000000-0000-0000-0000-000000000000'
            """
        )
        #expect(Int(intruders.int(0, 0) ?? -1) <= intrusions)
    }
}
