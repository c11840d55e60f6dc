import EventLog
import FileIO
import FileIOTesting
import Kafka
import KafkaTesting
import Records
import Sinks
import Telemetry
import Testing
import Threads

@Suite("Kafka sink", .timeLimit(.minutes(2)))
struct KafkaSinkTests {
    private let logs: SampleLogs
    private let cluster: MockCluster

    init() throws {
        logs = try SampleLogs()
        cluster = try MockCluster(brokers: 1)
        try cluster.createTopic("records", partitions: 4, replication: 1)
    }

    private func makeSink(
        _ adjust: (inout KafkaSinkConfiguration) -> Void = { _ in }
    ) -> KafkaSink {
        var configuration = KafkaSinkConfiguration(cluster.configuration)
        configuration.topic = "records"
        configuration.kafka.client["retry.backoff.ms"] = "10"
        configuration.kafka.client["reconnect.backoff.ms"] = "10"
        configuration.kafka.client["reconnect.backoff.max.ms"] = "100"
        adjust(&configuration)
        return KafkaSink(
            configuration,
            time: SystemTimeSource(),
            metrics: MetricsRegistry(),
            logger: silent
        )
    }

    private func read() async throws -> [Message] {
        let configuration = cluster.configuration
        return try await ThreadOwned(name: "reader", ()).run { _ throws in
            try readTopic(configuration, "records", partitions: 4)
        }
    }

    @Test("records and markers have the form that the format page describes")
    func format() async throws {
        let log = try logs.write(1, ["/a", "/b", "/c"])
        let whole = try logs.batch(log)
        let skip = SinkItem.skip(Offset(900)..<Offset(905), .damaged, appendTime: 5_000)
        let sink = makeSink()
        try await sink.open()
        let batch = SinkBatch(log: log, items: [skip] + whole.items)
        #expect(await sink.deliver(batch) == .accepted)
        await sink.close()

        let messages = try await read()
        #expect(messages.count == 5)
        #expect(messages.allSatisfy { $0.key == log.description })
        #expect(messages.allSatisfy { $0.headers["sluice-log"] == log.description })
        #expect(messages.allSatisfy { $0.headers["sluice-schema"] == "1" })
        let records = messages.filter { !$0.isMarker }
        #expect(records.map(\.offset) == [0, 1, 2])
        #expect(records.allSatisfy { $0.timestamp == whole.appendTime / 1_000 })
        for (record, path) in zip(records, ["/a", "/b", "/c"]) {
            let bytes = try #require(record.value)
            let decoded = try RequestRecord(decoding: bytes.span.raw)
            #expect(decoded.path == path)
            #expect(decoded.offset.rawValue == record.offset)
            #expect(decoded.logID == log)
        }
        let markers = messages.filter(\.isMarker)
        #expect(markers.allSatisfy { $0.value == nil })
        #expect(
            markers.map { $0.headers.filter { $0.key != "sluice-delivery" } } == [
                [
                    "sluice-log": log.description, "sluice-schema": "1", "sluice-marker": "skip",
                    "sluice-offset": "900", "sluice-until": "905", "sluice-reason": "damaged",
                ],
                [
                    "sluice-log": log.description, "sluice-schema": "1", "sluice-marker": "end",
                    "sluice-offset": "3",
                ],
            ]
        )
        #expect(markers.map(\.timestamp) == [5, whole.appendTime / 1_000])
    }

    @Test("messages handed over together have one number, and no others have it")
    func deliveries() async throws {
        let log = try logs.write(11, ["/a", "/b"])
        let sink = makeSink()
        try await sink.open()
        for _ in 0..<3 { #expect(await sink.deliver(try logs.batch(log)) == .accepted) }
        await sink.close()
        let numbers = try await read().compactMap { UInt64($0.headers["sluice-delivery"] ?? "") }
        #expect(numbers.count == 9)
        #expect(numbers.allSatisfy { $0 > 0 })
        #expect(Dictionary(grouping: numbers) { $0 }.values.map(\.count) == [3, 3, 3])
    }

    @Test("only the records that are wanted are sent")
    func wanted() async throws {
        let log = try logs.write(2, (0..<10).map { "/\($0)" })
        let whole = try logs.batch(log, hasMarkers: false)
        let wanted = [Offset(2)..<Offset(4), Offset(9)..<Offset(10)]
        let sink = makeSink()
        try await sink.open()
        let batch = SinkBatch(log: log, items: whole.items, wanted: wanted)
        #expect(batch.recordCount == 3)
        #expect(await sink.deliver(batch) == .accepted)
        await sink.close()
        #expect(try await read().map(\.offset) == [2, 3, 9])
    }

    @Test("errors of the broker that pass do not show, and nothing is lost")
    func passingErrors() async throws {
        let log = try logs.write(3, (0..<500).map { "/\($0)" })
        let sink = makeSink()
        try await sink.open()
        // Not leader, not enough replicas, time-out: all three are repeated by the producer.
        cluster.fail(.produce, with: [6, 19, 7])
        #expect(await sink.deliver(try logs.batch(log)) == .accepted)
        await sink.close()
        let offsets = Set(try await read().filter { !$0.isMarker }.compactMap(\.offset))
        #expect(offsets == Set(0..<500))
    }

    @Test("a record that the client finds too large is refused alone")
    func tooLargeForClient() async throws {
        let large = String(repeating: "x", count: 5_000)
        let log = try logs.write(4, ["/a", large, "/b"])
        let sink = makeSink { $0.kafka.client["message.max.bytes"] = "3000" }
        try await sink.open()
        let result = await sink.deliver(try logs.batch(log))
        await sink.close()
        #expect(result.exceptions.map(\.offsets) == [Offset(1)..<Offset(2)])
        #expect(result.exceptions.map(\.verdict) == [.rejected(.tooLarge)])
        #expect(try await read().filter { !$0.isMarker }.compactMap(\.offset) == [0, 2])
    }

    @Test("when a broker refuses a request the records are sent again in smaller ones")
    func tooLargeTogether() async throws {
        let log = try logs.write(5, (0..<200).map { "/\($0)" })
        let sink = makeSink()
        try await sink.open()
        var batch: SinkBatch? = try logs.batch(log)
        cluster.fail(.produce, with: [10])
        var attempts = 0
        while let present = batch, attempts < 10 {
            attempts += 1
            let result = await sink.deliver(present)
            let outcome = present.outcome(result, marksRejected: true)
            #expect(outcome.rejected.isEmpty)
            batch = outcome.remainder
        }
        await sink.close()
        #expect(attempts > 1)
        #expect(batch == nil)
        let offsets = Set(try await read().filter { !$0.isMarker }.compactMap(\.offset))
        #expect(offsets == Set(0..<200))
    }

    @Test("a record that a broker refuses though it was sent alone is refused for good")
    func refusedAlone() async throws {
        let log = try logs.write(6, ["/a"])
        // Every request is sent with one message.
        let sink = makeSink { $0.kafka.client["batch.size"] = "1" }
        try await sink.open()
        cluster.fail(.produce, with: [87])
        let result = await sink.deliver(try logs.batch(log, hasMarkers: false))
        #expect(result.exceptions.map(\.verdict) == [.rejected(.rejected)])
        // The producer is still good for others.
        let next = try logs.write(7, ["/b"])
        #expect(await sink.deliver(try logs.batch(next)) == .accepted)
        await sink.close()
    }

    @Test("with all brokers gone a delivery comes back for a retry, and works once they are back")
    func brokersGone() async throws {
        let log = try logs.write(8, (0..<50).map { "/\($0)" })
        let sink = makeSink { $0.stallLimit = .milliseconds(500) }
        try await sink.open()
        try cluster.takeDown(broker: 1)
        let batch = try logs.batch(log)
        let result = await sink.deliver(batch)
        #expect(result.retriesAll || !result.exceptions.isEmpty)
        #expect(result.reason != nil)
        try cluster.bringUp(broker: 1)
        var left: SinkBatch? = batch
        for _ in 0..<60 {
            guard let present = left else { break }
            left = present.outcome(await sink.deliver(present), marksRejected: true).remainder
        }
        #expect(left == nil)
        await sink.close()
        let offsets = Set(try await read().filter { !$0.isMarker }.compactMap(\.offset))
        #expect(offsets == Set(0..<50))
    }

    @Test(
        "a fatal error of the producer costs a retry, and nothing is lost",
        arguments: [45, 47, 59] as [Int32]
    )
    func fatal(code: Int32) async throws {
        // Out of order sequence number, invalid producer epoch, unknown producer id.
        let log = try logs.write(10, (0..<300).map { "/\($0)" })
        let sink = makeSink()
        try await sink.open()
        cluster.fail(.produce, with: [code, code])
        var left: SinkBatch? = try logs.batch(log)
        var attempts = 0
        while let present = left, attempts < 50 {
            attempts += 1
            let outcome = present.outcome(await sink.deliver(present), marksRejected: true)
            #expect(outcome.rejected.isEmpty)
            left = outcome.remainder
        }
        #expect(left == nil, "\(attempts) attempts")
        await sink.close()
        let offsets = Set(try await read().filter { !$0.isMarker }.compactMap(\.offset))
        #expect(offsets == Set(0..<300))
    }

    @Test("deliveries under way come back when the sink is closed, later ones at once")
    func closing() async throws {
        let log = try logs.write(9, ["/a"])
        let batch = try logs.batch(log)
        let sink = makeSink()
        try await sink.open()
        try cluster.takeDown(broker: 1)
        async let result = sink.deliver(batch)
        await sink.close()
        let outcome = batch.outcome(await result, marksRejected: true)
        #expect(outcome.hasFailed)
        #expect(await sink.deliver(batch).retriesAll)
    }

    @Test("without brokers opening fails in time, with a reason")
    func noBrokers() async throws {
        try cluster.takeDown(broker: 1)
        let sink = makeSink { $0.openTimeout = .milliseconds(300) }
        await #expect(throws: SinkError.self) { try await sink.open() }
        await sink.close()
    }

    @Test(
        "many batches of many logs at once arrive complete, also compressed",
        arguments: [
            "none", "gzip", "lz4", "snappy", "zstd",
        ]
    )
    func many(codec: String) async throws {
        let sink = makeSink { $0.kafka.client["compression.codec"] = codec }
        try await sink.open()
        var ids: [LogID] = []
        for number in 0..<12 {
            ids.append(try logs.write(UInt64(20 + number), (0..<700).map { "/\(number)/\($0)" }))
        }
        await withTaskGroup(of: DeliveryResult.self) { group in
            for id in ids {
                if let batch = try? logs.batch(id) {
                    group.addTask { await sink.deliver(batch) }
                }
            }
            for await result in group { #expect(result == .accepted) }
        }
        await sink.close()
        let messages = try await read()
        for id in ids {
            let own = messages.filter { $0.key == id.description && !$0.isMarker }
            #expect(Set(own.compactMap(\.offset)) == Set(0..<700))
        }
    }
}
