import Aggregator
import EventLog
import Records
import Synchronization
import Testing

/// A topic that is deleted, made again under its name and filled again, without its position or
/// the record before it telling so.
@Suite("Kafka topic made again", .timeLimit(.minutes(10)), .serialized)
struct RecreatedTopicTests {
    /// When it happens.
    enum Moment: CaseIterable {
        /// Nobody reads it.
        case away
        /// Somebody reads it, and goes on in the new one without noticing.
        case meanwhile
        /// The same, and he is gone before he has looked again.
        case justBefore
    }

    /// The new topic begins with as many messages of another log, then has the same.
    @Test(
        "a topic made again is read from its beginning although the same record lies at the end",
        arguments: Moment.allCases
    )
    func sameRecord(moment: Moment) async throws {
        try await World.with { world in
            var scenario = Scenario(seed: 9_020)
            for _ in 0..<3 { try scenario.writeLog(world, records: 20, bad: false) }
            let first = try Self.shipped(world, &scenario)
            let again = try Self.shipped(world, &scenario)
            let size = try #require(first.map(\.count).max())
            let old = Self.repeated(first[0], size) + first[1]
            var new = Self.repeated(again[2], size) + again[1]
            // Whoever is to read on without noticing must find something.
            if moment != .away { new += again[0] }
            let broker = ScriptedBroker(partitions: 1)
            for message in old { broker.append(message, to: 0) }
            var configuration = world.configuration
            if moment == .meanwhile { configuration.probeInterval = .milliseconds(200) }
            let reader = world.aggregator(configuration, source: broker.source)
            try await world.whileRunning([reader]) {
                #expect(await world.waits(Self.positionIs(old.count)))
                guard moment != .away else { return }
                broker.change { $0.logs = [.init(messages: new)] }
                switch moment {
                case .away: break
                case .meanwhile: #expect(await world.isFolded())
                case .justBefore: #expect(await world.waits(Self.positionIs(new.count)))
                }
            }
            broker.change { $0.logs = [.init(messages: new)] }
            try await world.fold([world.aggregator(configuration, source: broker.source)])
            try scenario.check(world)
        }
    }

    /// What it read first is still there, the same record is where it stopped, but not the message.
    @Test("a partition that lost its end and has grown again is read from its beginning")
    func lostEnd() async throws {
        try await World.with { world in
            var scenario = Scenario(seed: 9_021)
            for _ in 0..<3 { try scenario.writeLog(world, records: 20, bad: false) }
            let first = try Self.shipped(world, &scenario)
            let again = try Self.shipped(world, &scenario)
            let size = try #require(first.map(\.count).max())
            let old = Self.repeated(first[0], 5 + size) + first[1]
            let new = old[..<5] + Self.repeated(again[2], size) + again[1] + again[0]
            let broker = ScriptedBroker(partitions: 1)
            for message in old { broker.append(message, to: 0) }
            let reader = world.aggregator(world.configuration, source: broker.source)
            try await world.whileRunning([reader]) {
                #expect(await world.waits(Self.positionIs(old.count)))
            }
            broker.change { state in
                state.logs = [.init(messages: Array(new))]
                state.moves = []
            }
            try await world.fold([world.aggregator(world.configuration, source: broker.source)])
            // To the last message, which is another one, and to the beginning.
            #expect(broker.state.withLock { $0.moves.map(\.offset) } == [Int64(old.count) - 1, -2])
            try scenario.check(world)
        }
    }

    /// The messages of each log of a world, as a pump ships them.
    private static func shipped(
        _ world: World,
        _ scenario: inout Scenario
    ) throws -> [[ScriptedMessage]] {
        let broker = ScriptedBroker(partitions: 1)
        var pump = ScriptedPump(world, broker)
        try pump.ship(&scenario.random)
        var logs: [[ScriptedMessage]] = []
        for message in broker.state.withLock({ $0.logs[0].messages }) {
            if let index = logs.firstIndex(where: { $0[0].key == message.key }) {
                logs[index].append(message)
            } else {
                logs.append([message])
            }
        }
        return logs
    }

    /// So many messages: those given, some of them again.
    private static func repeated(_ messages: [ScriptedMessage], _ count: Int) -> [ScriptedMessage] {
        (0..<count).map { messages[$0 % messages.count] }
    }

    /// Whether the one partition is stored to go on at an offset.
    private static func positionIs(_ offset: Int) -> String {
        "SELECT coalesce(max(next_offset) = \(offset), false) FROM sluice.transport_offset"
    }
}
