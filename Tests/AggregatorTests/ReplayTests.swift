import Aggregator
import EventLog
import Postgres
import Rollups
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
        failing limit: UInt64 = .max
    ) async throws -> ReplayReport {
        var configuration = world.configuration
        configuration.flushRecordsMax = flush
        let fixed = configuration
        return try await ThreadOwned(name: "replay", ()).run { _ in
            for attempt in 0... {
                do {
                    return try Replay(fixed, directory: world.directory, time: world.time)
                        .run(from: from, to: to, verifies: verifies) { done, _ in
                            if done > limit { killReplay(world.uri) }
                        }
                } catch ReplayError.refused(let text) where text.contains("another replay") {
                    // The session of one that was killed is just going.
                    guard attempt < 1_000 else { throw ReplayError.refused(text) }
                }
            }
            return ReplayReport()
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
}

/// Ends the sessions of a replay, as a kill of its process does.
private func killReplay(_ uri: String) {
    let connection = try? PostgresConnection(uri, applicationName: "tests")
    _ = try? connection?.query(
        """
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name LIKE 'sluice-replay%'
        """
    )
}
