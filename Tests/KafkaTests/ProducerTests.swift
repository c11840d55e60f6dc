import Kafka
import KafkaTesting
import Synchronization
import Testing
import Threads

/// The producer, when brokers and the network do not do as they should.
@Suite("Kafka producer", .timeLimit(.minutes(3)))
struct ProducerTests {
    /// A cluster with the topic `records` of one partition.
    private func makeCluster(brokers: Int = 1) throws -> MockCluster {
        let cluster = try MockCluster(brokers: brokers)
        try cluster.createTopic("records", partitions: 1, replication: brokers)
        return cluster
    }

    /// All offsets that reached the only partition, in order of the tokens.
    private func deliver(_ producer: KafkaProducer, _ count: Int) throws -> [Int64] {
        var offsets = [Int64](repeating: -1, count: count)
        try producer.flush(timeout: .seconds(30)) { delivery in
            #expect(delivery.error == nil)
            offsets[Int(delivery.token)] = delivery.offset
        }
        return offsets
    }

    @Test("errors that pass are retried, in order and without repeating a message")
    func retried() throws {
        let cluster = try makeCluster()
        var configuration = cluster.configuration
        configuration.client["retry.backoff.ms"] = "10"
        let producer = try KafkaProducer(configuration)
        cluster.fail(.metadata, with: [5, 7])
        cluster.fail(.initProducerID, with: [14, 15])
        // Not leader, timed out, too few replicas, and the connection closed.
        cluster.fail(.produce, with: [6, 7, 19, -195, 6])
        try produce(producer, partitions: 1, count: 100)
        let offsets = try deliver(producer, 100)
        #expect(offsets.filter { $0 >= 0 } == Array(offsets.filter { $0 >= 0 }.sorted()))
        let high = try KafkaAdmin(cluster.configuration).watermarks(
            KafkaPartition("records", 0),
            timeout: .seconds(10)
        )
        #expect(high.high == 100)
    }

    @Test("a broker that is down delays messages, and gets them when it is up again")
    func down() throws {
        let cluster = try makeCluster()
        var configuration = cluster.configuration
        configuration.client["reconnect.backoff.max.ms"] = "100"
        let producer = try KafkaProducer(configuration)
        try produce(producer, partitions: 1, count: 1)
        #expect(try deliver(producer, 1) == [0])
        try cluster.takeDown(broker: 1)
        try produce(producer, partitions: 1, count: 3)
        var errors: [KafkaError] = []
        while errors.isEmpty {
            producer.poll(
                timeout: .seconds(20),
                event: { event in
                    if case .error(let error) = event { errors.append(error) }
                },
                { delivery in #expect(delivery.error != nil) }
            )
        }
        #expect(errors.allSatisfy { $0.isRetriable && !$0.isFatal })
        #expect(producer.queueLength >= 3)
        try cluster.bringUp(broker: 1)
        #expect(try deliver(producer, 3) == [1, 2, 3])
    }

    @Test("the leader may move while messages are under way")
    func leader() throws {
        let cluster = try makeCluster(brokers: 3)
        var configuration = cluster.configuration
        configuration.client["retry.backoff.ms"] = "10"
        let producer = try KafkaProducer(configuration)
        var offsets: [Int64] = []
        for round in 0..<6 {
            try cluster.setLeader(KafkaPartition("records", 0), broker: Int32(round % 3 + 1))
            try produce(producer, partitions: 1, count: 10)
            offsets += try deliver(producer, 10)
        }
        #expect(offsets.filter { $0 >= 0 } == offsets.filter { $0 >= 0 }.sorted())
        let marks = try KafkaAdmin(cluster.configuration).watermarks(
            KafkaPartition("records", 0),
            timeout: .seconds(10)
        )
        #expect(marks == KafkaWatermarks(low: 0, high: 60))
    }

    @Test("a full queue refuses, and takes messages again once some are delivered")
    func full() throws {
        let cluster = try makeCluster()
        try cluster.setRoundTripTime(100, broker: 1)
        var configuration = cluster.configuration
        configuration.client["queue.buffering.max.messages"] = "10"
        let producer = try KafkaProducer(configuration)
        var refusal: KafkaError?
        do throws(KafkaError) {
            try produce(producer, partitions: 1, count: 11)
        } catch {
            refusal = error
        }
        #expect(refusal?.name == "_QUEUE_FULL" && refusal?.code == -184)
        #expect(refusal?.isRetriable == true && refusal?.isQueueFull == true)
        #expect(refusal?.call == "rd_kafka_produceva")
        #expect(try deliver(producer, 10) == Array(0..<10))
        try produce(producer, partitions: 1, count: 10)
        #expect(try deliver(producer, 10) == Array(10..<20))
    }

    @Test("a message that is too large is rejected at once; one that the broker refuses later")
    func rejected() throws {
        let cluster = try makeCluster()
        let producer = try KafkaProducer(cluster.configuration)
        let topic = try producer.topic("records")
        let large = [UInt8](repeating: 0, count: 2_000_000)
        let error = #expect(throws: KafkaError.self) {
            try producer.produce(topic, key: nil, value: large.span, headers: KafkaHeaders())
        }
        #expect(error?.name == "MSG_SIZE_TOO_LARGE" && error?.isRejection == true)
        #expect(error?.isRetriable == false && error?.isFatal == false)
        cluster.fail(.produce, with: [87])
        try produce(producer, partitions: 1, count: 1)
        var reported: KafkaError?
        try producer.flush(timeout: .seconds(20)) { reported = $0.error }
        #expect(reported?.name == "INVALID_RECORD" && reported?.isRejection == true)
        // Others are not held up.
        #expect(producer.fatalError == nil)
        try produce(producer, partitions: 1, count: 1)
        try producer.flush(timeout: .seconds(20)) { #expect($0.error == nil) }
    }

    @Test("an unknown partition is reported, purged messages are too")
    func purged() throws {
        let cluster = try makeCluster()
        let producer = try KafkaProducer(cluster.configuration)
        let topic = try producer.topic("records")
        #expect(try producer.partitionCount(topic, timeout: .seconds(10)) == 1)
        let error = #expect(throws: KafkaError.self) {
            try producer.produce(
                topic,
                partition: 5,
                key: nil,
                value: nil,
                headers: KafkaHeaders()
            )
        }
        #expect(error?.name == "_UNKNOWN_PARTITION" && error?.isUnknownTopic == true)
        try cluster.takeDown(broker: 1)
        try produce(producer, partitions: 1, count: 3)
        producer.purge()
        var names: [String] = []
        try producer.flush(timeout: .seconds(20)) { names.append($0.error?.name ?? "none") }
        #expect(names == ["_PURGE_QUEUE", "_PURGE_QUEUE", "_PURGE_QUEUE"])
    }

    @Test("after a fatal error everything is refused with the error behind it")
    func fatal() throws {
        let cluster = try makeCluster()
        let producer = try KafkaProducer(cluster.configuration)
        try produce(producer, partitions: 1, count: 1)
        _ = try deliver(producer, 1)
        #expect(producer.fatalError == nil)
        try producer.provokeFatalError(code: 45)
        var events: [KafkaError] = []
        while events.isEmpty {
            producer.poll(
                timeout: .seconds(20),
                event: { event in
                    if case .error(let error) = event { events.append(error) }
                },
                { _ in }
            )
        }
        #expect(events.first?.name == "OUT_OF_ORDER_SEQUENCE_NUMBER")
        #expect(events.first?.isFatal == true && events.first?.isRetriable == false)
        let error = #expect(throws: KafkaError.self) {
            try produce(producer, partitions: 1, count: 1)
        }
        #expect(error?.isFatal == true && error?.isRetriable == false)
        #expect(error?.name == "OUT_OF_ORDER_SEQUENCE_NUMBER")
        #expect(producer.fatalError?.isFatal == true)
    }

    @Test("a waker ends a wait from another thread, before or during it, and outlives the producer")
    func waker() throws {
        let cluster = try makeCluster()
        let producer = try KafkaProducer(cluster.configuration)
        let waker = producer.waker
        let clock = ContinuousClock()
        waker.wake()
        let before = clock.measure { producer.poll(timeout: .seconds(60)) { _ in } }
        #expect(before < .seconds(30))
        let flag = Flag()
        try withThread(named: "waker") {
            // The wake that comes after the end of the wait hurts nobody.
            while !flag.isSet.load(ordering: .acquiring) { waker.wake() }
        } during: {
            for _ in 0..<100 {
                let time = clock.measure { producer.poll(timeout: .seconds(60)) { _ in } }
                #expect(time < .seconds(30))
            }
            flag.isSet.store(true, ordering: .releasing)
        }
        producer.close()
        waker.wake()
        #expect(throws: KafkaError.self) { try produce(producer, partitions: 1, count: 1) }
        #expect(producer.poll(timeout: .seconds(60)) { _ in } == 0)
        #expect(producer.queueLength == 0)
    }

    /// Tells another thread to end.
    private final class Flag: Sendable {
        let isSet = Atomic<Bool>(false)
    }

    /// Runs `other` on a thread of its own while `body` runs here.
    private func withThread(
        named name: String,
        _ other: @escaping @Sendable () -> Void,
        during body: () throws -> Void
    ) throws {
        let thread = NamedThread(name: name, other)
        try body()
        thread.join()
    }

    @Test("statistics tell what was sent, what waits and how long brokers take")
    func statistics() throws {
        let cluster = try makeCluster()
        var configuration = cluster.configuration
        configuration.statisticsInterval = .milliseconds(50)
        let producer = try KafkaProducer(configuration)
        try produce(producer, partitions: 1, count: 100)
        var seen: [KafkaStatistics] = []
        while seen.last?.messagesTransmitted != 100 {
            producer.poll(
                timeout: .seconds(20),
                event: { event in
                    guard case .statistics(let text) = event else { return }
                    let parsed = KafkaStatistics(text)
                    #expect(parsed != nil)
                    if let parsed { seen.append(parsed) }
                },
                { _ in }
            )
        }
        let last = try #require(seen.last)
        #expect(last.brokersUp >= 1 && last.transmittedBytes > 100 && last.receivedBytes > 0)
        #expect(seen.contains { $0.roundTripP99 > .zero })
        #expect(KafkaStatistics("") == nil && KafkaStatistics("{\"a\":") == nil)
        #expect(KafkaStatistics(String(repeating: "[", count: 10_000)) == nil)
    }
}
