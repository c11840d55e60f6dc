import Aggregator
import EventLog
import FileIO
import Kafka
import KafkaTesting
import Postgres
import Records
import Rollups
import Synchronization
import Testing
import Threads

@Suite("Replay", .timeLimit(.minutes(10)), .serialized)
struct ReplayTests {
    /// Runs one replay on a thread of its own.
    private func replay(
        _ world: World,
        flush: Int = 500,
        verifies: Bool = false,
        from: Int64? = nil,
        to: Int64? = nil,
        input: ReplayInput = .logs,
        keysMax: Int? = nil,
        failing limit: UInt64 = .max
    ) async throws -> ReplayReport {
        var bounded = world.configuration
        if let keysMax { bounded.keysPerBucketMax = keysMax }
        let configuration = bounded
        var small = ReplayLimits()
        small.recordsMax = UInt64(flush)
        // Some transactions have one batch, some several.
        small.heldRecordsMax = UInt64(flush) * (flush % 2 == 0 ? 1 : 3)
        // Some batches go through the delta tables, some do not.
        small.directRowsMin = flush % 3 == 0 ? .max : flush * 2
        // Some of the others are written by two sessions.
        small.sharedRowsMin = flush * 3
        // Some fit into one transaction; some have more sorted runs than are merged at once.
        small.runsMax = flush % 2 == 0 ? 2 : 64
        // Some buckets are compared together, some organisation by organisation.
        small.comparedRowsMax = flush / 10
        let limits = small
        return try await ThreadOwned(name: "replay", ()).run { _ in
            // Ends the sessions as a kill of its process does.
            try Replay(
                configuration,
                directory: world.directory,
                time: world.time,
                input: input,
                limits: limits
            ).run(from: from, to: to, verifies: verifies) { done, _ in
                if done > limit { endSessions("sluice-replay%", world.uri) }
            }
        }
    }

    /// A hash of the ordered rows of each table of a generation.
    private func hashes(_ world: World, _ generation: Int64) throws -> [String: String] {
        let connection = try world.connect()
        var result: [String: String] = [:]
        for definition in RollupDefinition.builtIn {
            for tier in definition.tiers {
                let name = "\(definition.name)_\(tier.rawValue)"
                let found = try connection.query(
                    """
                    SELECT md5(string_agg(t::text, E'\\n' ORDER BY t::text))
                    FROM sluice_g\(generation).\(name) t
                    """
                )
                result[name] = found.text(0, 0)
            }
        }
        return result
    }

    @Test("a rebuild has the rows of the live rollups, and takes their place")
    func rebuilds() async throws {
        try await World.with { world in
            var scenario = Scenario(seed: 11)
            for _ in 0..<4 { try scenario.writeLog(world, records: 700) }
            try await world.fold([world.aggregator(world.configuration)])
            let before = try hashes(world, 1)
            let verified = try await replay(world, verifies: true)
            #expect(verified.differences.isEmpty && verified.rowsCompared > 0)
            #expect(try activeGeneration(world.connect()) == 1)
            let report = try await replay(world)
            #expect(try activeGeneration(world.connect()) == Int64(report.generation))
            try await world.compact()
            #expect(try hashes(world, Int64(report.generation)) == before)
            try scenario.check(world)
            let gone = try world.connect().query("SELECT to_regnamespace('sluice_g1') IS NULL")
            #expect(gone.bool(0, 0) == true)
        }
    }

    @Test("ten kills do not change what is rebuilt while live traffic goes on")
    func survivesKills() async throws {
        try await World.with { world in
            var scenario = Scenario(seed: 12)
            for _ in 0..<3 { try scenario.writeLog(world, records: 800) }
            try await world.fold([world.aggregator(world.configuration)])
            let live = world.aggregator(world.configuration)
            try await world.whileRunning([live]) {
                for kill in 1...10 {
                    try scenario.writeLog(world, records: 100)
                    await #expect(throws: ReplayError.self) {
                        try await replay(world, flush: 50, failing: UInt64(kill) * 150)
                    }
                }
                try scenario.writeLog(world, records: 300)
                let report = try await replay(world)
                #expect(report.isResumed && report.generation == 2)
                try scenario.writeLog(world, records: 300)
                #expect(await world.isFolded(), "live folding goes on with the new generation")
            }
            try await world.compact()
            #expect(try activeGeneration(world.connect()) == 2)
            try scenario.check(world)
            #expect(try await replay(world, verifies: true).differences.isEmpty)
        }
    }

    @Test("a replay waits for another one, and for what is left of one that was killed")
    func waitsForOthers() async throws {
        try await World.with { world in
            var scenario = Scenario(seed: 24)
            try scenario.writeLog(world, records: 100)
            try await world.fold([world.aggregator(world.configuration)])
            let other = ThreadOwned<Replay?>(name: "other", nil)
            try await other.run {
                $0 = try Replay(world.configuration, directory: world.directory, time: world.time)
            }
            let found = try world.connect().query(
                """
                SELECT pid FROM pg_stat_activity
                WHERE datname = current_database() AND application_name = 'sluice-replay'
                """
            )
            let control = try Int32(#require(found.int(0, 0)))
            let refusal = await #expect(throws: ReplayError.self) {
                try await ThreadOwned(name: "replay", ()).run { _ in
                    var limits = ReplayLimits()
                    limits.lockPatience = .milliseconds(50)
                    _ = try Replay(
                        world.configuration,
                        directory: world.directory,
                        time: world.time,
                        limits: limits
                    )
                }
            }
            #expect("\(refusal, default: "")".contains("another replay is running from "))

            async let report = replay(world)
            let here = """
                JOIN pg_database ON pg_database.oid = waiting.database
                WHERE datname = current_database() AND waiting.locktype = 'advisory'
                    AND NOT waiting.granted
                """
            #expect(
                await world.waits("SELECT EXISTS (SELECT FROM pg_locks waiting \(here))")
            )
            // The process is killed, but a statement that writes goes on.
            terminate(control, world.uri)
            #expect(
                await world.waits(
                    """
                    SELECT EXISTS (
                        SELECT FROM pg_locks held
                        JOIN pg_locks waiting USING (database, locktype, objid)
                        \(here) AND held.mode = 'ShareLock' AND held.granted)
                    """
                )
            )
            endSessions("sluice-replay-fold", world.uri)
            #expect(try await report.generation == 2)
            await other.run { $0 = nil }
        }
    }

    @Test("a compactor whose rollups are replaced and dropped in the middle of a round goes on")
    func replacedWhileCompacting() async throws {
        try await World.with { world in
            var scenario = Scenario(seed: 25)
            try scenario.writeLog(world, records: 200)
            let quiet = world.configuration
            var hooks = AggregatorHooks()
            hooks.compaction = { _, _ in PostgresError(call: "test", message: "not now") }
            try await world.whileRunning([world.aggregator(quiet, hooks: hooks)]) {
                #expect(await world.isFolded())
            }
            let replays = Mutex<[String]>([])
            hooks.compaction = { step, _ in
                // The transaction has locked nothing yet.
                guard step == .begin, replays.withLock({ $0.isEmpty }) else { return nil }
                let outcome = Result {
                    try Replay(quiet, directory: world.directory, time: world.time).run()
                }
                replays.withLock { $0.append("\(outcome.map(\.generation))") }
                return nil
            }
            try await world.aggregator(quiet, hooks: hooks).compactAll()
            #expect(replays.withLock { $0 } == ["success(2)"])
            try await world.compact()
            try scenario.check(world)
        }
    }

    @Test("what one session has committed and the other has not counted is written again")
    func dropsUncounted() async throws {
        try await World.with { world in
            var scenario = Scenario(seed: 20)
            for _ in 0..<3 { try scenario.writeLog(world, records: 500) }
            try await world.fold([world.aggregator(world.configuration)])
            let before = try hashes(world, 1)
            await #expect(throws: ReplayError.self) {
                try await replay(world, flush: 100, failing: 600)
            }
            // As a kill between the two commits leaves it.
            try world.connect().execute(
                "CREATE TABLE sluice_g2.staged_1_1 AS SELECT * FROM sluice_g1.api_15m"
            )
            let report = try await replay(world, flush: 100)
            #expect(report.isResumed && report.generation == 2)
            try await world.compact()
            #expect(try hashes(world, 2) == before)
            let left = try world.connect().query(
                "SELECT count(*) FROM pg_class WHERE relname LIKE 'staged%'"
            )
            #expect(left.int(0, 0) == 0)
        }
    }

    @Test("a rebuild that was begun under other definitions of the rollups is begun anew")
    func beginsAnew() async throws {
        try await World.with { world in
            var scenario = Scenario(seed: 22)
            for _ in 0..<2 { try scenario.writeLog(world, records: 300) }
            try await world.fold([world.aggregator(world.configuration)])
            let before = try hashes(world, 1)
            await #expect(throws: ReplayError.self) {
                try await replay(world, flush: 100, failing: 300)
            }
            try world.connect().execute(
                "UPDATE sluice.generation SET definitions = definitions + 1 WHERE state = 'active'"
            )
            let report = try await replay(world, flush: 100)
            #expect(!report.isResumed && report.generation == 3)
            try await world.compact()
            #expect(try hashes(world, 3) == before)
        }
    }

    @Test("a replay that is killed while it merges runs is gone on with")
    func resumesMerging() async throws {
        try await World.with { world in
            var scenario = Scenario(seed: 21)
            for _ in 0..<3 { try scenario.writeLog(world, records: 500) }
            try await world.fold([world.aggregator(world.configuration)])
            let before = try hashes(world, 1)
            await #expect(throws: ReplayError.self) {
                try await replay(world, flush: 100, failing: 900)
            }
            // The smallest partition, which comes last, cannot be made.
            let year = CivilDate(daysSinceEpoch: Scenario.startOfDay(0) / 86_400_000_000).year
            let taken = "sluice_g2.total_1d_p\(year)"
            try world.connect().execute("CREATE TABLE \(taken) (bucket timestamptz)")
            func count(_ names: String) throws -> Int64 {
                try world.connect().query(
                    """
                    SELECT count(*) FROM pg_class
                    WHERE relnamespace = 'sluice_g2'::regnamespace AND relkind = 'r'
                        AND relname ~ $1
                    """,
                    [.text(names)]
                ).int(0, 0) ?? 0
            }
            let runs = try count("_run_x[0-9]+$")
            await #expect(throws: ReplayError.self) { try await replay(world, flush: 100) }
            let left = try count("_run_x[0-9]+$")
            let made = try count("_1m_p[0-9]+$")
            #expect(left > 0 && left < runs && made > 0)
            try world.connect().execute("DROP TABLE \(taken)")
            let report = try await replay(world, flush: 100)
            #expect(report.isResumed && report.generation == 2 && report.folded > 0)
            try await world.compact()
            #expect(try hashes(world, 2) == before)
            #expect(try count("(_run_x|staged)") == 0)
        }
    }

    @Test("a row that was changed is found by a comparison, and put right by a rebuild")
    func findsDifferences() async throws {
        try await World.with { world in
            var scenario = Scenario(seed: 13)
            try scenario.writeLog(world, records: 600)
            try await world.fold([world.aggregator(world.configuration)])
            try world.connect().execute(
                """
                UPDATE sluice_g1.api_1d SET requests = requests + 1
                WHERE bucket = (SELECT min(bucket) FROM sluice_g1.api_1d)
                """
            )
            let found = try await replay(world, verifies: true)
            #expect(found.differences.keys.sorted() == ["api_1d"])
            let first = try world.connect().query("SELECT min(bucket) FROM sluice_g1.api_1d")
            let after = try #require(first.timestamp(0, 0)) + 86_400_000_000
            _ = try await replay(world, from: after)
            #expect(try await replay(world, verifies: true).differences == found.differences)
            _ = try await replay(world)
            try await world.compact()
            try scenario.check(world)
        }
    }

    @Test("a comparison leaves out what has expired and was not dropped yet")
    func leavesOutExpired() async throws {
        try await World.with { world in
            var scenario = Scenario(seed: 26)
            for day in 0..<2 as Range<Int64> { try scenario.writeDay(world, day, records: 200) }
            try await world.fold([world.aggregator(world.configuration)])
            let every = try await replay(world, verifies: true)
            try world.connect().query(
                "UPDATE sluice.rollup_tier SET horizon = $1 WHERE tier = '1m'",
                [.timestamp(Scenario.startOfDay(1))]
            )
            try world.connect().execute("UPDATE sluice.generation SET horizons = horizons + 1")
            let rest = try await replay(world, verifies: true)
            #expect(rest.differences.isEmpty)
            #expect(rest.rowsCompared > 0 && rest.rowsCompared < every.rowsCompared)
        }
    }

    @Test(
        "whatever the size of its batches, a rebuild has the same rows",
        arguments: [40, 99, 300, 1_300]
    )
    func batches(flush: Int) async throws {
        try await World.with { world in
            var scenario = Scenario(seed: UInt64(flush))
            for _ in 0..<4 { try scenario.writeLog(world, records: 300) }
            var configuration = world.configuration
            configuration.keysPerBucketMax = 6
            try await world.fold([world.aggregator(configuration)], compacting: configuration)
            let report = try await replay(world, flush: flush, keysMax: 6)
            try await world.compact(configuration)
            try scenario.check(world, keysMax: 6)
            #expect(report.folded > 1_000 && report.heldMilliseconds < 60_000)
        }
    }

    @Test("only the days from --from up to --to are rebuilt; the others keep their rows")
    func keepsDays() async throws {
        try await World.with { world in
            var scenario = Scenario(seed: 14)
            for day in 0..<4 as Range<Int64> { try scenario.writeDay(world, day, records: 150) }
            try await world.fold([world.aggregator(world.configuration)])
            func falsify(_ generation: Int64) throws {
                try world.connect().execute(
                    """
                    UPDATE sluice_g\(generation).api_1d SET requests = requests + 1
                    WHERE ctid IN (
                        SELECT min(ctid) FROM sluice_g\(generation).api_1d GROUP BY bucket)
                    """
                )
            }
            try falsify(1)
            let live = world.aggregator(world.configuration)
            try await world.whileRunning([live]) {
                let from = Scenario.startOfDay(1)
                let report = try await replay(world, from: from, to: Scenario.startOfDay(3))
                #expect(report.from == from && report.to == Scenario.startOfDay(3))
                try scenario.writeDay(world, 3, records: 20)
                #expect(await world.isFolded(), "live folds go on")
            }
            try await world.compact()
            let found = try await replay(world, verifies: true)
            #expect(found.differences == ["api_1d": 2], "the rows of the first and the last day")
            _ = try await replay(world)
            try await world.compact()
            try scenario.check(world)
        }
    }

    @Test("days that lost records to retention keep their rows, and the boundary is told")
    func boundary() async throws {
        try await World.with { world in
            var scenario = Scenario(seed: 15)
            let first = try scenario.writeDay(world, 0, records: 200)
            for day in 1..<3 as Range<Int64> { try scenario.writeDay(world, day, records: 200) }
            try await world.fold([world.aggregator(world.configuration)])
            let size = try world.directory.logs().reduce(0) { $0 + $1.byteCount }
            let policy = RetentionPolicy(bytes: size - 1)
            let gone = try world.directory.deleteSegments(consumedBy: [], retain: policy)
            let log = try #require(gone.first?.log)
            let lost = gone.reduce(0) {
                $0 + $1.offsets.upperBound.rawValue - $1.offsets.lowerBound.rawValue
            }
            let last = try #require(gone.compactMap(\.eventTimeMax).max())
            try world.connect().execute(
                """
                UPDATE sluice_g1.api_1d SET requests = requests + 1
                WHERE ctid IN (SELECT min(ctid) FROM sluice_g1.api_1d GROUP BY bucket)
                """
            )
            #expect(gone.count == 1)
            let after = Tier.day.bucket(of: last) + 86_400_000_000
            let report = try await replay(world)
            #expect(report.tombstoned == lost && report.from == after && report.to == nil)
            // Earlier days still have the wrong rows; a comparison leaves them out.
            let compared = try await replay(world, verifies: true)
            #expect(compared.from == after && compared.differences.isEmpty)
            let wrong = try world.connect().query(
                """
                SELECT sum(d.requests) - (SELECT sum(requests) FROM sluice_g2.api_1m)
                FROM sluice_g2.api_1d d
                """
            )
            #expect(wrong.int(0, 0) == (after - Scenario.startOfDay(0)) / 86_400_000_000)
            #expect(log == first || after > Scenario.startOfDay(1))
        }
    }

    @Test("complete_since moves to what was rebuilt, unless the end was not")
    func completeSince() async throws {
        try await World.with { world in
            var scenario = Scenario(seed: 16)
            for day in 0..<3 as Range<Int64> { try scenario.writeDay(world, day, records: 60) }
            try await world.fold([world.aggregator(world.configuration)])
            let connection = try world.connect()
            func since() throws -> [Int64?] {
                let rows = try connection.query(
                    "SELECT complete_since FROM sluice.rollup ORDER BY name = 'api' DESC, name"
                )
                return (0..<rows.rowCount).map { rows.timestamp($0, 0) }
            }
            let added = Scenario.startOfDay(2) + 3_600_000_000
            try connection.query(
                "UPDATE sluice.rollup SET complete_since = $1 WHERE name = 'api'",
                [.timestamp(added)]
            )
            let days = (0..<3).map { Scenario.startOfDay(Int64($0)) }
            _ = try await replay(world, from: days[0], to: days[2])
            #expect(
                try since().first == added,
                "the time between --to and its beginning is missing"
            )
            _ = try await replay(world, from: days[1])
            #expect(try since().first == days[1])
            #expect(try since().dropFirst().allSatisfy { $0 == nil })
            _ = try await replay(world, from: days[2])
            #expect(try since().first == days[1], "it has not become less complete")
            _ = try await replay(world)
            #expect(try since().allSatisfy { $0 == nil })
            try await world.compact()
            try scenario.check(world)
        }
    }

    @Test("the rollups are rebuilt from the topic, with what is told twice and what is not there")
    func fromKafka() async throws {
        try await World.with { world in
            let cluster = try MockCluster(brokers: 1)
            try cluster.createTopic("sluice.records", partitions: 3)
            let source = KafkaSourceConfiguration(cluster.configuration)
            var scenario = Scenario(seed: 17)
            for _ in 0..<3 { try scenario.writeLog(world, records: 300) }
            let pump = try MockPump(world, cluster.configuration, partitions: 3)
            // Twice, so that a position in the topic says nothing about a record.
            try pump.ship()
            try pump.ship()
            try await world.fold([world.aggregator(world.configuration)])
            // In the topic, and not counted yet.
            let late = try #require(try scenario.writeLog(world, records: 40, closes: false))
            try pump.ship([late.logID])
            let first = try await replay(world, flush: 100, input: .kafka(source))
            #expect(first.generation == 2 && first.from == nil)
            let before = late.nextOffset.rawValue
            try late.close()
            scenario.offsets += late.nextOffset.rawValue - before
            try await world.fold([world.aggregator(world.configuration)])
            try scenario.check(world)
            // A log that was never shipped: its days keep their rows.
            try pump.ship([late.logID])
            try scenario.writeLog(world, records: 50)
            try await world.fold([world.aggregator(world.configuration)])
            let second = try await replay(world, flush: 200, input: .kafka(source))
            #expect(second.tombstoned > 50)
            #expect(try #require(second.from) > world.time.wallMicroseconds())
            try await world.compact()
            try scenario.check(world)
        }
    }
}

extension Scenario {
    /// Midnight of a day, counted from one of 2015.
    static func startOfDay(_ day: Int64) -> Int64 {
        Tier.day.bucket(of: start) + day * 86_400_000_000
    }

    /// Writes a closed log of one day.
    @discardableResult
    mutating func writeDay(_ world: World, _ day: Int64, records: Int) throws -> LogID {
        let noon = Self.startOfDay(day) + 43_200_000_000
        let requests = (0..<records).map { _ in
            SampleRequest.random(&random, around: noon, span: 36_000_000_000)
        }
        let id = LogID(random: &random)
        _ = try world.directory.writeSealedLog(id: id, LogConfiguration()) {
            writer throws(EventLogError) in
            for request in requests {
                try writer.append(eventTime: request.completedAt) { request.encode(into: &$0) }
            }
        }
        for request in requests { add(request) }
        offsets += UInt64(records)
        return id
    }
}

/// Ends sessions by the name of their application.
private func endSessions(_ pattern: String, _ uri: String) {
    let connection = try? PostgresConnection(uri, applicationName: "tests")
    _ = try? connection?.query(
        """
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name LIKE $1
        """,
        [.text(pattern)]
    )
}
