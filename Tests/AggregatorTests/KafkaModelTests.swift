import Aggregator
import EventLog
import Foundation
import Postgres
import Records
import Synchronization
import Testing
import Threads

@Suite("Kafka transport against the model", .timeLimit(.minutes(60)), .serialized)
struct KafkaModelTests {
    /// 300 with `SLUICE_SOAK=1`; one over and over with `SLUICE_SOAK_SEED`: threads run as they
    /// like, so a seed does not repeat a failure for sure.
    static let runs: [Run] = {
        let environment = ProcessInfo.processInfo.environment
        let count = environment["SLUICE_SOAK"] == "1" ? 300 : 4
        let seed = environment["SLUICE_SOAK_SEED"].flatMap { UInt64($0) }
        return (1...count).map { Run(seed: seed ?? UInt64($0), number: $0) }
    }()

    /// A seed, and which of the test's runs it is.
    struct Run: Sendable, CustomTestStringConvertible {
        let seed: UInt64
        let number: Int

        var testDescription: String { "\(seed), run \(number)" }
    }

    @Test(
        "whatever the group, the broker, the database and an intruder do, everything counts once",
        arguments: KafkaModelTests.runs
    )
    func chaos(run: Run) async throws {
        let seed = run.seed
        try await World.with { world in
            let broker = ScriptedBroker(partitions: 3, isEager: seed % 2 == 0)
            var scenario = Scenario(seed: 7_700 + seed)
            let hooks = Self.disturbing(world, seed: seed)
            let all = (0..<3).map { index in
                var configuration = world.configuration
                configuration.flushRecordsMax = [5, 40, 1_000][index]
                configuration.messagesPerPollMax = [3, 50, 2_000][index]
                configuration.logsRememberedMax = [3, 100, 100][index]
                configuration.compactionRowsMax = 50
                configuration.rewindInterval = .milliseconds(50)
                configuration.probeInterval = .milliseconds(200)
                return world.aggregator(configuration, hooks: hooks, source: broker.source)
            }
            var pump = ScriptedPump(world, broker)
            var lanes: [LaneWriter] = []
            try await world.whileRunning(all) {
                for _ in 0..<40 {
                    if let lane = try scenario.writeLog(
                        world,
                        records: scenario.random.below(40),
                        closes: scenario.random.below(2) == 0
                    ) {
                        lanes.append(lane)
                    }
                    try Self.disturb(&scenario, broker, &pump)
                    _ = await world.isFolded(within: .milliseconds(scenario.random.below(60)))
                }
                for lane in lanes { try lane.close() }
                try pump.ship(&scenario.random)
                let isDone = await world.isFolded(within: .seconds(90))
                #expect(isDone, "folded in time, seed \(seed)")
                if !isDone { try Self.explain(world, broker) }
            }
            try await world.compact()
            try scenario.check(world, "seed \(seed)")
        }
    }

    /// Says what is missing, and where everybody stands.
    private static func explain(_ world: World, _ broker: ScriptedBroker) throws {
        let connection = try world.connect()
        var lines: [String] = []
        for log in try world.directory.logs() {
            let found = try connection.query(
                """
                SELECT s.folded::text, l.end_offset
                FROM sluice.source s LEFT JOIN sluice.log l USING (log_id)
                WHERE s.log_id = $1::text::uuid
                """,
                [.text(log.id.description)]
            )
            let folded = found.rowCount > 0 ? found.text(0, 0) : nil
            let end = found.rowCount > 0 ? found.int(0, 1) : nil
            lines.append(
                "\(log.id): durable \(log.durableOffset);"
                    + " folded \(folded ?? "-"), end \(end ?? -1)"
            )
        }
        lines.append("positions \(try world.storedPositions())")
        broker.state.withLock { state in
            lines.append("ends \(state.logs.map(\.high)), targets \(state.target)")
            lines.append("members \(state.members)")
        }
        let blocked = try connection.query(
            "SELECT pid, state, wait_event, left(query, 80) FROM pg_stat_activity WHERE state <> ''"
        )
        for row in 0..<blocked.rowCount {
            lines.append((0..<4).map { blocked.text(row, $0) ?? "-" }.joined(separator: " | "))
        }
        Issue.record(Comment(rawValue: lines.joined(separator: "\n")))
    }

    /// Sessions killed, refused and slow at random steps.
    private static func disturbing(_ world: World, seed: UInt64) -> AggregatorHooks {
        let random = Mutex(SplitMix(seed: seed))
        let uri = world.uri
        @Sendable func disturb(_ backend: Int32) -> PostgresError? {
            switch random.withLock({ $0.below(200) }) {
            case 0: terminate(backend, uri)
            case 1: return .deadlock
            case 2: return .lost
            case 3...8:
                let bell = Doorbell()
                bell.wait(since: bell.count, timeoutNanoseconds: 20_000_000)
            default: break
            }
            return nil
        }
        var hooks = AggregatorHooks()
        hooks.fold = { _, backend in disturb(backend) }
        hooks.compaction = { _, backend in disturb(backend) }
        return hooks
    }

    /// Something that happens between pump, broker, group and intruder.
    private static func disturb(
        _ scenario: inout Scenario,
        _ broker: ScriptedBroker,
        _ pump: inout ScriptedPump
    ) throws {
        let choice = scenario.random.below(12)
        switch choice {
        case 0:
            // A pump that lost its checkpoints.
            pump.rewind()
        case 1:
            // Consumers lose a topic that goes, or do not notice; the operator ships everything
            // again.
            broker.recreate()
            let members = broker.state.withLock { $0.members.keys.sorted() }
            if scenario.random.below(2) == 0 { for member in members { broker.expel(member) } }
            pump.rewind()
        case 2:
            // A zombie: the group goes on without it.
            let members = broker.state.withLock { $0.members.keys.sorted() }
            if !members.isEmpty { broker.expel(scenario.random.pick(members)) }
        case 3:
            // More partitions: logs change theirs.
            broker.change { state in
                if state.logs.count < 6 { state.logs.append(ScriptedBroker.Log()) }
            }
            broker.rebalance { partition, members in members[Int(partition) % members.count] }
        case 4: broker.change { $0.moveFailures = 3 }
        case 5:
            for _ in 0..<scenario.random.below(5) { intrude(&scenario, broker) }
        default:
            let shift = scenario.random.below(5)
            broker.rebalance { partition, members in
                members[(Int(partition) + shift) % members.count]
            }
        }
        try pump.ship(
            itemsMax: 1 + scenario.random.below(6),
            repeating: { $0.below(8) == 0 },
            &scenario.random
        )
    }

    /// A message that must not count, and must not keep a genuine one from counting.
    private static func intrude(_ scenario: inout Scenario, _ broker: ScriptedBroker) {
        let partition = broker.state.withLock { $0.logs.indices.randomElement() } ?? 0
        let log = LogID(random: &scenario.random)
        var message = KafkaTrustTests.record(log, 5)
        switch scenario.random.below(4) {
        case 0: message.headers = []
        case 1: message.value = [1, 2, 3]
        case 2: message.headers[1].1 = "6"
        default: message.key = [0xFF]
        }
        // It may be read again, or be gone before it is read: parked at most once per place.
        scenario.intrusions += 1
        broker.append(message, to: partition)
    }
}
