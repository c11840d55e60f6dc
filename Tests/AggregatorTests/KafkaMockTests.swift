import Aggregator
import EventLog
import Kafka
import KafkaTesting
import Postgres
import Records
import Telemetry
import Testing
import Threads

@Suite("Kafka transport over librdkafka", .timeLimit(.minutes(5)), .serialized)
struct KafkaMockTests {
    /// A cluster with the topic, and a source for its records.
    private static func cluster(
        _ body: (inout KafkaSourceConfiguration) -> Void = { _ in }
    ) throws -> (MockCluster, KafkaSourceConfiguration) {
        let cluster = try MockCluster(brokers: 2)
        try cluster.createTopic("sluice.records", partitions: 3)
        var source = KafkaSourceConfiguration(cluster.configuration)
        // What makes a test wait.
        source.kafka.client = [
            "fetch.wait.max.ms": "20", "fetch.error.backoff.ms": "20", "reconnect.backoff.ms": "20",
            "reconnect.backoff.max.ms": "100", "retry.backoff.ms": "20",
            "heartbeat.interval.ms": "100", "session.timeout.ms": "6000",
        ]
        body(&source)
        return (cluster, source)
    }

    @Test(
        "aggregators of one group fold what is shipped, again and again, while others come and go",
        arguments: [KafkaAssignor.cooperativeSticky, .range]
    )
    func folds(assignor: KafkaAssignor) async throws {
        try await World.with { world in
            let (cluster, source) = try Self.cluster { $0.assignor = assignor }
            var scenario = Scenario(seed: 9_500)
            for _ in 0..<3 { try scenario.writeLog(world, records: 60) }
            let pump = try MockPump(world, cluster.configuration, partitions: 3)
            try pump.ship()
            var configuration = world.configuration
            configuration.flushRecordsMax = 50
            let first = world.aggregator(configuration, source: .kafka(source))
            try await world.whileRunning([first]) {
                #expect(await world.isFolded(within: .seconds(60)))
                try scenario.writeLog(world, records: 60)
                try pump.ship()
                let second = world.aggregator(configuration, source: .kafka(source))
                try await world.whileRunning([second]) {
                    #expect(await world.isFolded(within: .seconds(60)))
                    try scenario.writeLog(world, records: 60)
                    try pump.ship()
                    #expect(await world.isFolded(within: .seconds(60)))
                }
                try scenario.writeLog(world, records: 60)
                try pump.ship()
                #expect(await world.isFolded(within: .seconds(60)))
            }
            try await world.compact()
            try scenario.check(world)
        }
    }

    @Test("what is fetched before a pause is not lost when the database comes back")
    func paused() async throws {
        try await World.with { world in
            let (cluster, source) = try Self.cluster()
            var scenario = Scenario(seed: 9_501)
            for _ in 0..<3 { try scenario.writeLog(world, records: 300) }
            let pump = try MockPump(world, cluster.configuration, partitions: 3)
            try pump.ship()
            let gate = Gate()
            var hooks = AggregatorHooks()
            hooks.fold = { step, _ in
                if step == .begin { gate.enter() }
                return nil
            }
            var configuration = world.configuration
            configuration.flushRecordsMax = 20
            configuration.messagesPerPollMax = 7
            let source2 = AggregatorSource.kafka(source)
            let aggregator = world.aggregator(configuration, hooks: hooks, source: source2)
            try await world.whileRunning([aggregator]) {
                #expect(await gate.waitUntilOccupied())
                // Longer than the patience of the transport, so that it pauses.
                _ = await world.isFolded(within: .seconds(4))
                gate.open()
                #expect(await world.isFolded(within: .seconds(60)))
            }
            try await world.compact()
            try scenario.check(world)
            let missing = world.metrics.counter("aggregator_kafka_messages_missing_total", help: "")
            #expect(missing.value == 0)
        }
    }

    @Test("brokers that fail, answer late, change leaders and go away delay, and lose nothing")
    func faults() async throws {
        try await World.with { world in
            let (cluster, source) = try Self.cluster()
            var scenario = Scenario(seed: 9_502)
            let pump = try MockPump(world, cluster.configuration, partitions: 3)
            let aggregator = world.aggregator(world.configuration, source: .kafka(source))
            try await world.whileRunning([aggregator]) {
                for round in 0..<5 {
                    try scenario.writeLog(world, records: 50)
                    switch round {
                    case 0: cluster.fail(.fetch, with: [-195, 6, -195, 6, 5])
                    case 1:
                        for broker in [1, 2] as [Int32] {
                            try cluster.setRoundTripTime(50, broker: broker)
                        }
                    case 2:
                        for broker in [1, 2] as [Int32] {
                            try cluster.setRoundTripTime(0, broker: broker)
                        }
                        for partition in 0..<3 as Range<Int32> {
                            let moved = KafkaPartition("sluice.records", partition)
                            try cluster.setLeader(moved, broker: 1 + partition % 2)
                        }
                    case 3:
                        cluster.fail(.heartbeat, with: [27, 25])
                        cluster.fail(.metadata, with: [-195])
                    default:
                        try cluster.takeDown(broker: 1)
                        _ = await world.isFolded(within: .milliseconds(500))
                        try cluster.bringUp(broker: 1)
                    }
                    try pump.ship()
                    #expect(await world.isFolded(within: .seconds(60)), "round \(round)")
                }
            }
            try await world.compact()
            try scenario.check(world)
        }
    }

    @Test("an aggregator that starts goes on where the database says, whatever the group says")
    func resumes() async throws {
        try await World.with { world in
            let (cluster, source) = try Self.cluster()
            var scenario = Scenario(seed: 9_503)
            for _ in 0..<3 { try scenario.writeLog(world, records: 100) }
            let pump = try MockPump(world, cluster.configuration, partitions: 3)
            try pump.ship()
            try await world.fold([world.aggregator(world.configuration, source: .kafka(source))])
            try scenario.check(world)
            let received = world.metrics.counter("aggregator_kafka_messages_total", help: "")
            let before = received.value
            let log = try #require(try scenario.writeLog(world, records: 5, closes: false))
            try log.close()
            try pump.ship([log.logID])
            try await world.fold([world.aggregator(world.configuration, source: .kafka(source))])
            try scenario.check(world)
            // The first one that it looked for and what was fetched with it, all there is at most;
            // then the last one of each partition and the new log.
            let added = log.nextOffset.rawValue + 1
            #expect(received.value - before <= before + added + 3 + added)
            #expect(world.metrics.counter("aggregator_kafka_rewinds_total", help: "").value == 0)
            // The positions of the database are gone: everything is read, nothing is counted.
            let positions = try world.storedPositions()
            try world.connect().query("DELETE FROM sluice.transport_offset")
            let aggregator = world.aggregator(world.configuration, source: .kafka(source))
            try await world.whileRunning([aggregator]) {
                let count = "SELECT count(*) = \(positions.count) FROM sluice.transport_offset"
                #expect(await world.waits(count))
            }
            try await world.compact()
            try scenario.check(world)
        }
    }
}
