import Aggregator
import Postgres
import Testing

@Suite("Raw records", .timeLimit(.minutes(5)))
struct RecordsTests {
    @Test("what is folded once more, as for another generation, is not loaded twice")
    func foldedAgain() async throws {
        try await World.with { world in
            var scenario = Scenario(seed: 11)
            try scenario.writeLog(world, records: 200)
            try await world.fold([world.aggregator(world.configuration)])
            try scenario.check(world)
            try world.connect().execute("UPDATE sluice.source SET folded = '{[3,90)}'")
            try await world.fold([world.aggregator(world.configuration)])
            let count = try world.connect().query(
                "SELECT count(*), count(DISTINCT \"offset\") FROM sluice.records"
            )
            #expect(count.int(0, 0) == Int64(scenario.requests))
            #expect(count.int(0, 1) == Int64(scenario.requests))
        }
    }

    @Test("days past the retention are dropped, and late records of them are not loaded")
    func retention() async throws {
        try await World.with { world in
            var scenario = Scenario(seed: 12)
            try scenario.writeLog(world, records: 200, bad: false)
            try await world.fold([world.aggregator(world.configuration)])
            let before = try world.connect().query(
                """
                SELECT (SELECT count(*) FROM pg_inherits
                        WHERE inhparent = 'sluice.records'::regclass),
                    sluice.records_complete_since()
                        < (SELECT min(completed_at) FROM sluice.records)
                """
            )
            #expect((before.int(0, 0) ?? 0) >= 3)
            #expect(before.bool(0, 1) == true, "complete from the beginning")
            try scenario.writeLog(world, records: 50, bad: false)
            var configuration = world.configuration
            configuration.recordsRetain = .seconds(3 * 86_400)
            try await world.fold([world.aggregator(configuration)], compacting: configuration)
            let after = try world.connect().query(
                """
                SELECT (SELECT count(*) FROM pg_inherits
                        WHERE inhparent = 'sluice.records'::regclass),
                    (SELECT count(*) FROM sluice.records),
                    sluice.records_complete_since()
                        = date_trunc('day', now() - interval '3 days', 'UTC'),
                    (SELECT sum(requests)::int8 FROM sluice_g1.summary_1d)
                """
            )
            #expect(after.int(0, 0) == 0)
            #expect(after.int(0, 1) == 0)
            #expect(after.bool(0, 2) == true, "the horizon is the first day that is kept")
            #expect(after.int(0, 3) == Int64(scenario.requests), "rollups have every request")
        }
    }

    @Test("records are complete from when loading was turned on; turned off, none are promised")
    func turnedOnLater() async throws {
        try await World.with { world in
            var scenario = Scenario(seed: 13)
            var configuration = world.configuration
            configuration.recordsRetain = nil
            try scenario.writeLog(world, records: 50, bad: false)
            try await world.fold([world.aggregator(configuration)])
            let state = """
                SELECT sluice.records_complete_since() <= now()
                        AND isfinite(sluice.records_complete_since()),
                    (SELECT count(*) FROM sluice.records)
                """
            let off = try world.connect().query(state)
            #expect(off.bool(0, 0) == nil)
            #expect(off.int(0, 1) == 0)
            let first = scenario.requests
            try scenario.writeLog(world, records: 70, bad: false)
            try await world.fold([world.aggregator(world.configuration)])
            let on = try world.connect().query(state)
            #expect(on.bool(0, 0) == true)
            #expect(on.int(0, 1) == Int64(scenario.requests - first))
            try scenario.writeLog(world, records: 10, bad: false)
            try await world.fold([world.aggregator(configuration)])
            let again = try world.connect().query(state)
            #expect(again.bool(0, 0) == nil)
            #expect(again.int(0, 1) == Int64(scenario.requests - first - 10))
        }
    }
}
