import Aggregator
import EventLog
import Postgres
import Records
import Synchronization
import Testing
import Threads

@Suite("Kafka transport", .timeLimit(.minutes(10)), .serialized)
struct KafkaTransportTests {
    @Test("logs that come through a topic fold to what a naive program computes")
    func folds() async throws {
        try await World.with { world in
            let broker = ScriptedBroker(partitions: 3)
            var scenario = Scenario(seed: 9_000)
            for _ in 0..<4 { try scenario.writeLog(world, records: 80) }
            var pump = ScriptedPump(world, broker)
            try pump.ship(&scenario.random)
            try await world.fold([world.aggregator(world.configuration, source: broker.source)])
            try scenario.check(world)
            #expect(try world.storedPositions() == broker.ends)
        }
    }

    @Test("positions are not stored with a batch that met another connection in the middle")
    func lostInTheMiddle() async throws {
        try await World.with { world in
            let broker = ScriptedBroker(partitions: 1)
            var scenario = Scenario(seed: 9_010)
            try scenario.writeLog(world, records: 60)
            var pump = ScriptedPump(world, broker)
            try pump.ship(&scenario.random)
            let kill = Countdown(1)
            let commit = Countdown(1)
            let stored = Mutex<Int64?>(nil)
            let uri = world.uri
            var hooks = AggregatorHooks()
            hooks.fold = { step, backend in
                // A restored database may lack what was left out of the batch as folded.
                if step == .updateSources, kill.hits() { terminate(backend, uri) }
                guard step == .committed, commit.hits() else { return nil }
                let connection = try? PostgresConnection(uri, applicationName: "tests")
                let found = try? connection?.query("SELECT count(*) FROM sluice.transport_offset")
                stored.withLock { $0 = found?.int(0, 0) }
                return nil
            }
            let aggregator = world.aggregator(
                world.configuration,
                hooks: hooks,
                source: broker.source
            )
            try await world.fold([aggregator])
            #expect(kill.isOver)
            #expect(stored.withLock { $0 } == 0)
            try scenario.check(world)
        }
    }

    @Test("the same logs through both transports at once count once")
    func both() async throws {
        try await World.with { world in
            let broker = ScriptedBroker(partitions: 2)
            var scenario = Scenario(seed: 9_001)
            for _ in 0..<4 { try scenario.writeLog(world, records: 60) }
            var pump = ScriptedPump(world, broker)
            try pump.ship(&scenario.random)
            var configuration = world.configuration
            configuration.flushRecordsMax = 20
            try await world.fold([
                world.aggregator(configuration, source: broker.source),
                world.aggregator(configuration),
            ])
            try scenario.check(world)
        }
    }

    @Test("a partition goes on where the database says, and the last message is not counted again")
    func resumes() async throws {
        try await World.with { world in
            let broker = ScriptedBroker(partitions: 1)
            var scenario = Scenario(seed: 9_002)
            try scenario.writeLog(world, records: 30)
            var pump = ScriptedPump(world, broker)
            try pump.ship(&scenario.random)
            try await world.fold([world.aggregator(world.configuration, source: broker.source)])
            let end = try #require(broker.ends[0])
            broker.change { $0.assigns = [] }
            try scenario.writeLog(world, records: 30)
            try pump.ship(&scenario.random)
            try await world.fold([world.aggregator(world.configuration, source: broker.source)])
            // What it began with is looked at, then the last message.
            #expect(broker.assigns(of: 0) == [0])
            #expect(broker.state.withLock { $0.moves.map(\.offset) } == [end - 1])
            try scenario.check(world)
        }
    }

    @Test(
        "a topic that was deleted and made again is read from its beginning once",
        arguments: [(before: 60, after: 5), (before: 10, after: 90)]
    )
    func recreated(before: Int, after: Int) async throws {
        try await World.with { world in
            let broker = ScriptedBroker(partitions: 1)
            var scenario = Scenario(seed: 9_003)
            try scenario.writeLog(world, records: before)
            var pump = ScriptedPump(world, broker)
            try pump.ship(&scenario.random)
            try await world.fold([world.aggregator(world.configuration, source: broker.source)])
            broker.recreate()
            broker.change { $0.moves = [] }
            try scenario.writeLog(world, records: after)
            try pump.ship(&scenario.random)
            try await world.fold([world.aggregator(world.configuration, source: broker.source)])
            try scenario.check(world)
            #expect(try world.storedPositions() == broker.ends)
            let rewinds = broker.state.withLock { $0.moves.count }
            #expect(rewinds == 1)
        }
    }

    @Test(
        "a topic that is made again, and grows, while it is read is read from its beginning",
        arguments: [[0, 1], [1], []] as [[Int32]]
    )
    func recreatedAndGrown(missed: [Int32]) async throws {
        try await World.with { world in
            let broker = ScriptedBroker(partitions: 2)
            var scenario = Scenario(seed: 9_009)
            try scenario.writeLog(world, records: 30)
            var pump = ScriptedPump(world, broker)
            try pump.ship(&scenario.random)
            var configuration = world.configuration
            // A client that missed nothing is no proof: partitions are looked at now and then.
            if missed.isEmpty { configuration.probeInterval = .milliseconds(200) }
            let aggregator = world.aggregator(configuration, source: broker.source)
            try await world.whileRunning([aggregator]) {
                #expect(await world.isFolded())
                for _ in 0..<3 { try scenario.writeLog(world, records: 60) }
                var other = ScriptedBroker.State(logs: [.init(), .init()])
                let shipped = ScriptedBroker(partitions: 2)
                var all = ScriptedPump(world, shipped)
                try all.ship(&scenario.random)
                other.logs = shipped.state.withLock { $0.logs.reversed() }
                // At one stroke, so that the end is never below the position.
                broker.change { state in
                    state.logs = other.logs
                    state.gone = missed
                }
                #expect(await world.isFolded())
            }
            try await world.compact()
            try scenario.check(world)
        }
    }

    @Test("a topic that is made again while it is read is read from its beginning")
    func recreatedMeanwhile() async throws {
        try await World.with { world in
            let broker = ScriptedBroker(partitions: 2)
            var scenario = Scenario(seed: 9_004)
            for _ in 0..<3 { try scenario.writeLog(world, records: 60) }
            var pump = ScriptedPump(world, broker)
            try pump.ship(&scenario.random)
            let aggregator = world.aggregator(world.configuration, source: broker.source)
            try await world.whileRunning([aggregator]) {
                #expect(await world.isFolded())
                broker.recreate()
                try scenario.writeLog(world, records: 5)
                try pump.ship(&scenario.random)
                #expect(await world.isFolded())
            }
            try await world.compact()
            try scenario.check(world)
        }
    }

    /// What is stored fits the new topic by chance, and the offsets missing below are looked for.
    @Test(
        "a rewind that is cut short, by the database or by the group, is begun again",
        arguments: [false, true]
    )
    func rewoundTwice(byGroup: Bool) async throws {
        try await World.with { world in
            let broker = ScriptedBroker(partitions: 1)
            var scenario = Scenario(seed: 9_013)
            for _ in 0..<2 { try scenario.writeLog(world, records: 20, bad: false) }
            let shipped = ScriptedBroker(partitions: 1)
            var pump = ScriptedPump(world, shipped)
            try pump.ship(&scenario.random)
            let all = shipped.state.withLock { $0.logs[0].messages }
            let first = try #require(all.first?.key)
            let one = all.filter { $0.key == first }
            let other = all.filter { $0.key != first }
            // Each time another log's first record is at 4.
            for message in one[0..<4] + other[0..<1] { broker.append(message, to: 0) }
            var configuration = world.configuration
            configuration.flushRecordsMax = 1
            let begun = world.aggregator(configuration, source: broker.source)
            try await world.whileRunning([begun]) {
                #expect(await world.waits(Self.positionIs(5)))
            }
            broker.change { state in
                state.logs = [
                    .init(
                        messages: Array(
                            one[0..<1] + one[4..<7] + other[0..<1] + one[7...] + other[1...]
                        )
                    )
                ]
                state.moves = []
            }
            let isDisturbed = Atomic(false)
            var hooks = AggregatorHooks()
            hooks.fold = { _, _ in
                guard broker.state.withLock({ $0.moves.contains { $0.offset < 0 } }),
                    !isDisturbed.exchange(true, ordering: .relaxed)
                else { return nil }
                guard byGroup else { return .lost }
                for member in broker.state.withLock({ $0.members.keys.sorted() }) {
                    broker.expel(member)
                }
                return nil
            }
            let aggregator = world.aggregator(configuration, hooks: hooks, source: broker.source)
            try await world.fold([aggregator])
            let wasDisturbed = isDisturbed.load(ordering: .relaxed)
            #expect(wasDisturbed)
            try scenario.check(world)
        }
    }

    /// Whether the one partition is stored to go on at an offset.
    private static func positionIs(_ offset: Int) -> String {
        "SELECT coalesce(max(next_offset) = \(offset), false) FROM sluice.transport_offset"
    }

    @Test(
        "an emptied broker that says nothing beyond its end is found out",
        arguments: [false, true]
    )
    func silent(whileRunning: Bool) async throws {
        try await World.with { world in
            let broker = ScriptedBroker(partitions: 2)
            broker.change { $0.isSilentBeyondEnd = true }
            var scenario = Scenario(seed: 9_008)
            for _ in 0..<3 { try scenario.writeLog(world, records: 60) }
            var pump = ScriptedPump(world, broker)
            try pump.ship(&scenario.random)
            var configuration = world.configuration
            configuration.silenceMax = .milliseconds(50)
            configuration.probeInterval = .milliseconds(200)
            func empty() throws {
                broker.recreate()
                for _ in 0..<2 { try scenario.writeLog(world, records: 5) }
                try pump.ship(&scenario.random)
            }
            let first = world.aggregator(configuration, source: broker.source)
            try await world.whileRunning([first]) {
                #expect(await world.isFolded())
                if whileRunning {
                    try empty()
                    #expect(await world.isFolded())
                }
            }
            if !whileRunning {
                try empty()
                try await world.fold([world.aggregator(configuration, source: broker.source)])
            }
            try await world.compact()
            try scenario.check(world)
        }
    }

    @Test("offsets deleted by the broker below the stored position change nothing")
    func truncated() async throws {
        try await World.with { world in
            let broker = ScriptedBroker(partitions: 1)
            var scenario = Scenario(seed: 9_005)
            try scenario.writeLog(world, records: 30)
            var pump = ScriptedPump(world, broker)
            try pump.ship(&scenario.random)
            try await world.fold([world.aggregator(world.configuration, source: broker.source)])
            broker.change { state in
                state.logs[0].low = state.logs[0].high
                state.logs[0].messages = []
            }
            try scenario.writeLog(world, records: 30)
            try pump.ship(&scenario.random)
            try await world.fold([world.aggregator(world.configuration, source: broker.source)])
            try scenario.check(world)
        }
    }

    @Test(
        "a database that is away is waited for, with paused partitions, and the group is answered"
    )
    func databaseAway() async throws {
        try await World.with { world in
            let broker = ScriptedBroker(partitions: 2)
            var scenario = Scenario(seed: 9_006)
            for _ in 0..<3 { try scenario.writeLog(world, records: 40) }
            let gate = Gate()
            var hooks = AggregatorHooks()
            hooks.fold = { step, _ in
                if step == .commit { gate.enter() }
                return nil
            }
            var configuration = world.configuration
            configuration.flushRecordsMax = 20
            var pump = ScriptedPump(world, broker)
            try pump.ship(&scenario.random)
            let aggregator = world.aggregator(configuration, hooks: hooks, source: broker.source)
            try await world.whileRunning([aggregator]) {
                #expect(await gate.waitUntilOccupied())
                #expect(await broker.waits { $0.members.values.contains { $0.isPaused } })
                // A rebalance takes place although the writer waits.
                broker.rebalance { partition, members in partition == 0 ? members[0] : nil }
                #expect(await broker.waits { $0.members.values.allSatisfy { $0.owned == [0] } })
                broker.rebalance { _, members in members[0] }
                gate.open()
                #expect(await world.isFolded())
            }
            try await world.compact()
            try scenario.check(world)
        }
    }

    @Test("a consumer that has failed for good ends the aggregator")
    func fatal() async throws {
        try await World.with { world in
            let broker = ScriptedBroker(partitions: 1)
            let error = TransportError(
                name: "FENCED_INSTANCE_ID",
                call: "rd_kafka_consumer_poll",
                message: "fenced",
                isFatal: true
            )
            broker.change { $0.fatal = error }
            let aggregator = world.aggregator(world.configuration, source: broker.source)
            await #expect(throws: error) { try await aggregator.run() }
        }
    }

    @Test("a partition with gaps is read to its end although its logs are forgotten on the way")
    func forgottenGaps() async throws {
        try await World.with { world in
            let broker = ScriptedBroker(partitions: 1)
            var random = SplitMix(seed: 9_010)
            let (first, second) = (LogID(random: &random), LogID(random: &random))
            let messages: [ScriptedMessage] = [
                .skip(first, 0..<5, .rejected), .skip(second, 5..<10, .rejected),
                .skip(first, 5..<10, .rejected), .skip(first, 20..<25, .rejected),
                .skip(second, 20..<25, .rejected),
            ]
            for message in messages { broker.append(message, to: 0) }
            var configuration = world.configuration
            configuration.logsRememberedMax = 1
            configuration.rewindInterval = .zero
            let aggregator = world.aggregator(configuration, source: broker.source)
            try await world.whileRunning([aggregator]) {
                #expect(await world.waits("SELECT next_offset = 5 FROM sluice.transport_offset"))
            }
            let found = try world.connect().query(
                "SELECT folded::text FROM sluice.source ORDER BY folded"
            )
            #expect(found.text(0, 0) == "{[0,10),[20,25)}")
            #expect(found.text(1, 0) == "{[5,10),[20,25)}")
        }
    }

    @Test("skip markers account for their offsets, whatever comes twice")
    func markers() async throws {
        try await World.with { world in
            let broker = ScriptedBroker(partitions: 1)
            var random = SplitMix(seed: 9_007)
            let log = LogID(random: &random)
            for _ in 0..<2 {
                broker.append(.skip(log, 0..<10, .rejected), to: 0)
                broker.append(.skip(log, 5..<25, .tooLarge), to: 0)
                broker.append(.end(log, 25), to: 0)
            }
            let aggregator = world.aggregator(world.configuration, source: broker.source)
            try await world.whileRunning([aggregator]) {
                #expect(await world.waits("SELECT end_offset = 25 FROM sluice.log"))
            }
            let found = try world.connect().query(
                """
                SELECT folded = '{[0,25)}', (SELECT sum(rejected) FROM sluice.ledger),
                    (SELECT sum(too_large) FROM sluice.ledger)
                FROM sluice.source
                """
            )
            #expect(found.bool(0, 0) == true)
            #expect(found.int(0, 1) == 10 && found.int(0, 2) == 15)
        }
    }
}
