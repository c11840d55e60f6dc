import Aggregator
import EventLog
import Postgres
import Records
import Rollups
import Testing

@Suite("Dead letters", .timeLimit(.minutes(10)), .serialized)
struct DeadLetterTests {
    /// A time that is in the future for the aggregator.
    private static let future: Int64 = 4_102_444_800_000_000

    /// Folds a log with `count` requests that are parked, and that the model counts already:
    /// completed in the future, or written by a newer version.
    private func park(
        _ world: World,
        _ scenario: inout Scenario,
        count: Int,
        _ see: (SampleRequest) -> Void = { _ in }
    ) async throws -> LogID {
        let lane = try #require(
            try scenario.writeLog(world, records: 30, bad: false, closes: false)
        )
        for index in 0..<count {
            var request = SampleRequest.random(&scenario.random, around: Self.future, span: 1_000)
            let isNewer = index % 2 == 1
            if isNewer { request.completedAt = Scenario.start }
            scenario.add(request)
            see(request)
            try lane.append(eventTime: request.completedAt) { encoder in
                request.encode(into: &encoder)
                if isNewer { encoder.put(.schemaVersion, 99) }
            }
            scenario.offsets += 1
        }
        try lane.close()
        try await world.fold([world.aggregator(world.configuration)])
        return lane.logID
    }

    /// What an upgrade does: the version of the letters is known from now on.
    private func upgrade(_ world: World) throws {
        try world.connect().execute(
            """
            UPDATE sluice.dead_letter SET record = substr(record, 1, octet_length(record) - 2)
            WHERE reason = 'schema_newer'
            """
        )
    }

    /// What changes with every commit that changes answers.
    private func version(_ world: World) throws -> String? {
        try world.connect().query("SELECT string_agg(xmin::text, ',') FROM sluice.log").text(0, 0)
    }

    private func ledger(_ world: World, _ column: String) throws -> Int64? {
        try world.connect().query("SELECT sum(\(column)) FROM sluice.ledger").int(0, 0)
    }

    @Test("redriven records count, those of a newer schema after the upgrade only")
    func redrive() async throws {
        try await World.with { world in
            var scenario = Scenario(seed: 6_000)
            let log = try await park(world, &scenario, count: 10)
            let store = try DeadLetterStore(world.uri)
            var filter = DeadLetterFilter()
            filter.reason = "schema_newer"
            #expect(try store.count(filter) == 5)
            let early = try store.redrive(filter, latest: .max)
            #expect(early.folded == 0 && early.kept == ["schema_newer": 5])
            try upgrade(world)
            let before = try version(world)
            #expect(try store.redrive(filter, latest: .max).folded == 5)
            #expect(try version(world) != before, "answers kept somewhere are known to be old")
            filter.reason = nil
            filter.log = log
            let letters = try store.list(filter, limit: 100)
            #expect(letters.map(\.reason) == Array(repeating: "future", count: 5))
            #expect(letters.allSatisfy { $0.appendedAt != nil })
            #expect(try store.redrive(filter, latest: 0).kept == ["future": 5])
            #expect(try store.redrive(filter, latest: .max).folded == 5)
            #expect(try store.redrive(filter, latest: .max) == RedriveResult())
            try await world.compact()
            try scenario.check(world)
            #expect(try ledger(world, "dead_lettered") == 0)
        }
    }

    @Test("redriven records count in rollups of users, also in one that is younger than they are")
    func userRollups() async throws {
        let early = RollupDefinition(
            user: "early",
            dimensions: [.org, .tag(SampleRequest.tag), .status]
        )
        let late = RollupDefinition(user: "late", dimensions: [.org, .plan], tiers: [.hour, .day])
        try await World.with { world in
            let registry = try RollupRegistry(world.connect())
            #expect(try registry.add(early))
            var scenario = Scenario(seed: 6_300)
            scenario.models.append(RollupModel(early))
            // What the younger one counts: the letters alone.
            var letters = Scenario(seed: 6_300)
            letters.models = [RollupModel(late)]
            _ = try await park(world, &scenario, count: 8) { letters.add($0) }
            #expect(try registry.add(late))
            scenario.models += letters.models
            try upgrade(world)
            #expect(
                try DeadLetterStore(world.uri).redrive(DeadLetterFilter(), latest: .max).folded == 8
            )
            try await world.compact()
            try scenario.check(world)
        }
    }

    @Test(
        "a redrive that is killed before any step counts each record once",
        arguments: [
            FoldStep.dimensions, .begin, .checkGeneration, .deadLetters, .copyDeltas, .loadRecords,
            .ledger, .registry, .commit, .committed,
        ],
        [PostgresError?.none, .deadlock, .lost]
    )
    func killed(step: FoldStep, error: PostgresError?) async throws {
        try await World.with { world in
            var scenario = Scenario(seed: 6_100)
            _ = try await park(world, &scenario, count: 6)
            try upgrade(world)
            let countdown = Countdown(1)
            let uri = world.uri
            let store = try DeadLetterStore(uri) { reached, backend in
                guard reached == step, countdown.hits() else { return nil }
                if error == nil { terminate(backend, uri) }
                return error
            }
            #expect(try store.redrive(DeadLetterFilter(), latest: .max).folded == 6)
            #expect(countdown.isOver)
            try await world.compact()
            try scenario.check(world)
            #expect(try ledger(world, "dead_lettered") == 0)
        }
    }

    @Test("two redrives and a drop at once: each letter is taken by one of them")
    func concurrent() async throws {
        try await World.with { world in
            var scenario = Scenario(seed: 6_200)
            _ = try await park(world, &scenario, count: 40)
            try upgrade(world)
            let before = try ledger(world, "folded") ?? 0
            let uri = world.uri
            let taken = try await withThrowingTaskGroup(of: Int.self) { group in
                for _ in 0..<2 {
                    group.addTask {
                        try DeadLetterStore(uri).redrive(DeadLetterFilter(), latest: .max).folded
                    }
                }
                group.addTask {
                    var filter = DeadLetterFilter()
                    filter.reason = "future"
                    _ = try DeadLetterStore(uri).drop(filter)
                    return 0
                }
                return try await group.reduce(0, +)
            }
            let dropped = try ledger(world, "dropped") ?? 0
            #expect(try ledger(world, "dead_lettered") == 0)
            #expect(try ledger(world, "folded") == before + Int64(taken))
            #expect(Int64(taken) + dropped == 40)
        }
    }

    @Test("dropped letters are gone, and the ledger says how many")
    func drop() async throws {
        try await World.with { world in
            var scenario = Scenario(seed: 6_300)
            _ = try await park(world, &scenario, count: 8)
            // As parked by a version that did not keep the time.
            try world.connect().execute("UPDATE sluice.dead_letter SET appended_at = NULL")
            let store = try DeadLetterStore(world.uri)
            var filter = DeadLetterFilter()
            filter.consumer = "sink-archive"
            #expect(try store.drop(filter) == 0)
            filter.consumer = DeadLetterStore.aggregator
            #expect(try store.drop(filter) == 8)
            #expect(try store.list(DeadLetterFilter(), limit: 10).isEmpty)
            #expect(try ledger(world, "dropped") == 8)
            #expect(try ledger(world, "dead_lettered") == 0)
        }
    }
}
