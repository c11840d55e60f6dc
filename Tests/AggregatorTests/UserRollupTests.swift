import Aggregator
import EventLog
import Postgres
import Rollups
import Testing
import Threads

@Suite("User-defined rollups", .timeLimit(.minutes(10)), .serialized)
struct UserRollupTests {
    private static let byTag = RollupDefinition(
        user: "by-tag",
        dimensions: [.api, .tag(SampleRequest.tag), .org, .status]
    )
    /// Without an organisation, so that the bound is one for everybody.
    private static let everybody = RollupDefinition(
        user: "everybody",
        dimensions: [.tag(SampleRequest.tag), .key],
        tiers: [.hour, .day]
    )

    private func replay(_ world: World, verifies: Bool = false) async throws -> ReplayReport {
        let configuration = world.configuration
        return try await ThreadOwned(name: "replay", ()).run { _ in
            try Replay(configuration, directory: world.directory, time: world.time)
                .run(verifies: verifies)
        }
    }

    private func registered(_ world: World, _ name: String) throws -> RegisteredRollup? {
        try RollupRegistry(world.connect()).list().first { $0.definition.name == name }
    }

    @Test("their rows are those of an independent computation, whoever folds", arguments: [71, 72])
    func rows(seed: Int) async throws {
        try await World.with { world in
            let registry = try RollupRegistry(world.connect())
            let wishes = [RollupWish(Self.byTag), RollupWish(Self.everybody)]
            #expect(try registry.register(wishes, retain: [:]) == ["by-tag", "everybody"])
            #expect(try registry.register(wishes, retain: [:]) == [])
            #expect(try registered(world, "by-tag")?.completeSince == nil)
            var scenario = Scenario(seed: UInt64(seed))
            scenario.models += [RollupModel(Self.byTag), RollupModel(Self.everybody)]
            for _ in 0..<3 { try scenario.writeLog(world, records: 500) }
            try await world.fold([
                world.aggregator(world.configuration), world.aggregator(world.configuration),
            ])
            try scenario.check(world)
        }
    }

    @Test("a bucket keeps the same keys, per organisation or, without that dimension, of all")
    func bounded() async throws {
        try await World.with { world in
            let registry = try RollupRegistry(world.connect())
            try registry.register(
                [RollupWish(Self.byTag), RollupWish(Self.everybody)],
                retain: [:]
            )
            var scenario = Scenario(seed: 73)
            scenario.models += [RollupModel(Self.byTag), RollupModel(Self.everybody)]
            for _ in 0..<3 {
                try scenario.writeLog(world, records: 60, span: 3_600_000_000, bad: false)
            }
            var configuration = world.configuration
            configuration.keysPerBucketMax = 4
            configuration.compactionRowsMax = 30
            configuration.flushRecordsMax = 25
            try await world.fold(
                [world.aggregator(configuration), world.aggregator(configuration)],
                compacting: configuration
            )
            try scenario.check(world, keysMax: 4)
        }
    }

    @Test("one added while counting goes on has what comes later; a replay gives it its history")
    func history() async throws {
        try await World.with { world in
            var scenario = Scenario(seed: 74)
            let live = [
                world.aggregator(world.configuration), world.aggregator(world.configuration),
            ]
            var later = RollupModel(Self.byTag)
            try await world.whileRunning(live) {
                try scenario.writeLog(world, records: 400)
                #expect(await world.isFolded())
                #expect(try RollupRegistry(world.connect()).add(Self.byTag))
                #expect(try !RollupRegistry(world.connect()).add(Self.byTag))
                scenario.models.append(later)
                try scenario.writeLog(world, records: 400)
                #expect(await world.isFolded(), "folding goes on with the new rollup")
            }
            try await world.compact()
            try scenario.check(world)
            later = scenario.models.removeLast()
            // The end of the last minute that was counted without it.
            let since = try #require(try registered(world, "by-tag")?.completeSince)
            let last = try world.connect().query("SELECT max(bucket) FROM sluice_g1.summary_1m")
            #expect(since <= (try #require(last.timestamp(0, 0))) + 60_000_000)
            #expect(since > Scenario.start)
            let viewed = "SELECT sum(requests)::bigint FROM sluice.\"by-tag_usage\""
            let part = try #require(try world.connect().query(viewed).int(0, 0))
            #expect(0 < part && part < Int64(scenario.requests))
            let report = try await replay(world)
            #expect(report.generation == 2)
            let all = try world.connect().query(viewed).int(0, 0)
            #expect(all == Int64(scenario.requests), "the view shows the active generation")
            try await world.compact()
            #expect(try registered(world, "by-tag")?.completeSince == nil)
            // The model of everything: as if it had been there from the beginning.
            var whole = Scenario(seed: 74)
            let copy = try World(world.uri)
            whole.models = [RollupModel(Self.byTag)]
            try whole.writeLog(copy, records: 400)
            try whole.writeLog(copy, records: 400)
            let connection = try world.connect()
            for tier in Self.byTag.tiers {
                let found = try readTable(Self.byTag, tier, connection)
                #expect(differences(found, whole.models[0].table(tier)).isEmpty, "\(tier)")
                #expect(!differences(found, later.table(tier)).isEmpty, "there is a history")
            }
            try scenario.check(world)
            #expect(try await replay(world, verifies: true).differences.isEmpty)
        }
    }

    @Test("what the database has decides: other definitions of a name are refused, until dropped")
    func registry() async throws {
        try await World.with { world in
            let registry = try RollupRegistry(world.connect())
            #expect(try registry.add(Self.byTag))
            let other = RollupDefinition(user: "by-tag", dimensions: [.org, .api])
            #expect(throws: RollupRegistryError.self) { try registry.add(other) }
            #expect(throws: RollupRegistryError.self) {
                try registry.register(
                    [RollupWish(Self.everybody), RollupWish(other)],
                    retain: [:]
                )
            }
            #expect(try registered(world, "everybody") == nil, "all or nothing")
            #expect(throws: RollupRegistryError.builtIn("api")) { try registry.drop("api") }
            #expect(throws: RollupRegistryError.unknown("nothing")) {
                try registry.drop("nothing")
            }
            var scenario = Scenario(seed: 75)
            try await world.whileRunning([world.aggregator(world.configuration)]) {
                try scenario.writeLog(world, records: 200)
                #expect(await world.isFolded())
                try registry.drop("by-tag")
                #expect(try registry.add(other))
                scenario.models.append(RollupModel(other))
                try scenario.writeLog(world, records: 200)
                #expect(await world.isFolded(), "folding goes on without the rollup")
                try registry.drop("by-tag")
                scenario.models.removeLast()
                try scenario.writeLog(world, records: 200)
                #expect(await world.isFolded(), "folding goes on without the rollup")
            }
            try await world.compact()
            try scenario.check(world)
            let left = try world.connect().query(
                "SELECT count(*) FROM pg_class WHERE relname LIKE 'by-tag%'"
            )
            #expect(left.int(0, 0) == 0)
        }
    }

    @Test("tiers past their retention are dropped, coarser ones still take what comes late")
    func retention() async throws {
        try await World.with { world in
            let century = Duration.seconds(100 * 366 * 86_400)
            let registry = try RollupRegistry(world.connect())
            try registry.register([RollupWish(Self.byTag)], retain: [:])
            var scenario = Scenario(seed: 76)
            scenario.models.append(RollupModel(Self.byTag))
            try scenario.writeLog(world, records: 500)
            try await world.fold([world.aggregator(world.configuration)])
            try scenario.check(world)
            // Minutes are kept for a day, those of one rollup for ever.
            try registry.register(
                [RollupWish(Self.byTag, retain: [.minute: century])],
                retain: [.minute: .seconds(86_400)]
            )
            let live = world.aggregator(world.configuration)
            try await world.whileRunning([live]) {
                try scenario.writeLog(world, records: 500)
                #expect(await world.isFolded(), "folding goes on")
            }
            try await world.compact()
            try await expire(world, "^(api|upstream|summary|total|route|status)_1m_p")
            let connection = try world.connect()
            for model in scenario.models {
                for tier in model.definition.tiers {
                    let found = try readTable(model.definition, tier, connection)
                    let isDropped = tier == .minute && model.definition != Self.byTag
                    let expected = isDropped ? [:] : model.table(tier)
                    #expect(
                        differences(found, expected).isEmpty,
                        "\(model.definition.name) \(tier)"
                    )
                }
            }
            #expect(try expired(connection) == 0)
            // Nothing is kept any more: what comes is accounted for, and counted nowhere.
            let day = Duration.seconds(86_400)
            try registry.register(
                [RollupWish(Self.byTag)],
                retain: [.minute: day, .quarterHour: day, .hour: day, .day: day]
            )
            try await expire(world, "_p[0-9]+$")
            let before = scenario.requests
            try scenario.writeLog(world, records: 300)
            try await world.fold([world.aggregator(world.configuration)])
            for model in scenario.models {
                for tier in model.definition.tiers {
                    #expect(try readTable(model.definition, tier, connection).isEmpty)
                }
            }
            #expect(try expired(connection) == Int64(scenario.requests - before))
            let sum = try connection.query(
                "SELECT sum(folded + dead_lettered + expired) FROM sluice.ledger"
            )
            #expect(sum.int(0, 0) == Int64(scenario.offsets), "the ledger balances")
        }
    }

    /// Lets compactors work until partitions with certain names are gone; one whose predecessor's
    /// session is just going does nothing.
    private func expire(_ world: World, _ names: String) async throws {
        for _ in 0..<1_000 {
            let left = try world.connect().query(
                """
                SELECT count(*) FROM pg_class
                WHERE relnamespace = 'sluice_g1'::regnamespace AND relkind = 'r'
                    AND relispartition AND relname ~ $1
                """,
                [.text(names)]
            )
            if left.int(0, 0) == 0 { return }
            try await world.aggregator(world.configuration).compactAll()
        }
        Issue.record("partitions are left")
    }

    private func expired(_ connection: PostgresConnection) throws -> Int64? {
        try connection.query("SELECT sum(expired) FROM sluice.ledger").int(0, 0)
    }
}
