import EventLog
import FileIO
import FileIOTesting
import Kafka
import KafkaTesting
import Logging
import Pump
import Records
import ServiceLifecycleTestKit
import Sinks
import Synchronization
import Telemetry
import Testing
import Threads

/// A sink that takes everything, once it may.
private final class RecordingSink: Sink {
    let traits = SinkTraits(isTransport: true, ordersLogs: false)
    private let state = Mutex(Arrivals())
    private let doorbell = Doorbell()
    private let isHeld: Atomic<Bool>
    private let released = Doorbell()

    init(isHeld: Bool = false) { self.isHeld = Atomic(isHeld) }

    func open() async throws(SinkError) {}

    func deliver(_ batch: SinkBatch) async -> DeliveryResult {
        if isHeld.load(ordering: .acquiring) {
            await ThreadOwned(name: "held", ()).run { _ in
                while self.isHeld.load(ordering: .acquiring) {
                    self.released.wait(since: 0, timeoutNanoseconds: 50_000_000)
                }
            }
        }
        state.withLock { $0.take(batch) }
        doorbell.ring()
        return .accepted
    }

    func flush() async throws(SinkError) {}

    func close() async { release() }

    func release() {
        isHeld.store(false, ordering: .releasing)
        released.ring()
    }

    var count: Int { state.withLock { $0.records.values.reduce(0) { $0 + $1.count } } }

    /// Waits until so many records have arrived; false after a minute.
    func waits(for wanted: Int) async -> Bool {
        await ThreadOwned(name: "wait", ()).run { _ in
            for _ in 0..<3_000 {
                let rung = self.doorbell.count
                if self.count >= wanted { return true }
                self.doorbell.wait(since: rung, timeoutNanoseconds: 100_000_000)
            }
            return false
        }
    }
}

/// Runs a pump while something else is done.
private func withPump(
    _ pump: Pump,
    _ body: @escaping @Sendable () async throws -> Void
) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { try await pump.run() }
        group.addTask { try await body() }
        // The body ends first; the pump must not.
        try await group.next()
        group.cancelAll()
        try await group.waitForAll()
    }
}

@Suite("Pump", .timeLimit(.minutes(2)))
struct ServiceTests {
    private let fileSystem = MemoryFileSystem()
    private let directory: LogDirectory

    init() throws {
        directory = try LogDirectory(
            path: "/data",
            fileSystem: fileSystem,
            time: SystemTimeSource()
        )
    }

    private func makePump(_ sinks: [PumpedSink]) -> Pump {
        Pump(
            PumpConfiguration(),
            logs: directory,
            sinks: sinks,
            time: SystemTimeSource(),
            metrics: MetricsRegistry(),
            logger: silent
        )
    }

    @Test("a sink that hangs does not delay another, and the pump stops in time")
    func hanging() async throws {
        let fast = RecordingSink()
        let hung = RecordingSink(isHeld: true)
        var configuration = PumpConfiguration()
        configuration.drainLimit = .milliseconds(200)
        let pump = Pump(
            configuration,
            logs: directory,
            sinks: [PumpedSink(name: "hung", sink: hung), PumpedSink(name: "fast", sink: fast)],
            time: SystemTimeSource(),
            metrics: MetricsRegistry(),
            logger: silent
        )
        let directory = self.directory
        try await withPump(pump) {
            let lane = try directory.openLane(0, smallConfiguration())
            for round in 1...20 {
                try lane.append(count: 10)
                #expect(await fast.waits(for: 10 * round + 1), "round \(round)")
            }
            #expect(hung.count == 0)
        }
    }

    @Test("records appended while the pump waits leave soon, without another sign")
    func wakes() async throws {
        let sink = RecordingSink()
        let directory = self.directory
        try await withPump(makePump([PumpedSink(name: "one", sink: sink)])) {
            let lanes = try (0..<3).map { try directory.openLane($0, smallConfiguration()) }
            var expected = 3
            for round in 0..<30 {
                try lanes[round % 3].append(count: 1)
                expected += 1
                // What is not durable yet, such as the start of an unused lane, stays out.
                let sure = expected - (round < 2 ? 2 - round : 0)
                #expect(await sink.waits(for: sure), "round \(round)")
            }
        }
    }

    @Test("a graceful shutdown delivers what is in the logs, ends included")
    func graceful() async throws {
        let sink = RecordingSink()
        let directory = self.directory
        let lane = try directory.openLane(0, smallConfiguration())
        var configuration = PumpConfiguration()
        configuration.drainLimit = .seconds(60)
        let pump = Pump(
            configuration,
            logs: directory,
            sinks: [PumpedSink(name: "one", sink: sink)],
            time: SystemTimeSource(),
            metrics: MetricsRegistry(),
            logger: silent
        )
        let end = try await testGracefulShutdown { trigger in
            async let run: Void = pump.run()
            try lane.append(count: 10)
            #expect(await sink.waits(for: 11))
            try lane.append(count: 500)
            try lane.close()
            trigger.triggerGracefulShutdown()
            try await run
            return lane.nextOffset.rawValue
        }
        #expect(sink.count == Int(end))
        let checkpoint = try directory.checkpoints(consumer: "sink-one").load(lane.logID)
        #expect(checkpoint.rawValue == end + 1)
    }

    @Test("through failing brokers and restarts of the pump every record arrives in the topic")
    func kafka() async throws {
        let cluster = try MockCluster(brokers: 3)
        try cluster.createTopic("records", partitions: 4, replication: 3)
        var configuration = KafkaSinkConfiguration(cluster.configuration)
        configuration.topic = "records"
        configuration.stallLimit = .seconds(2)
        configuration.kafka.client["retry.backoff.ms"] = "10"
        configuration.kafka.client["reconnect.backoff.max.ms"] = "100"
        let lane = try directory.openLane(0, smallConfiguration())
        let log = lane.logID
        for round in 0..<4 {
            for _ in 0..<20 { try lane.append(count: 25) }
            let end = lane.nextOffset
            switch round {
            case 1: cluster.fail(.produce, with: [6, 7, 19, 6, 7, 19, 6, 7])
            case 2: cluster.fail(.produce, with: [10, 10])
            case 3: try cluster.takeDown(broker: 2)
            default: break
            }
            let sink = KafkaSink(
                configuration,
                time: SystemTimeSource(),
                metrics: MetricsRegistry(),
                logger: silent
            )
            let isDown = round == 3
            try await withPump(makePump([PumpedSink(name: "central", sink: sink)])) {
                let isDone = await wait(log, end, tries: isDown ? 20 : 600)
                #expect(isDown || isDone, "round \(round)")
            }
            if isDown { try cluster.bringUp(broker: 2) }
        }
        try lane.close()
        let sink = KafkaSink(
            configuration,
            time: SystemTimeSource(),
            metrics: MetricsRegistry(),
            logger: silent
        )
        let end = Offset(lane.nextOffset.rawValue + 1)
        try await withPump(makePump([PumpedSink(name: "central", sink: sink)])) {
            #expect(await wait(log, end, tries: 600))
        }
        let brokers = cluster.configuration
        let found = try await ThreadOwned(name: "reader", ()).run { _ throws in
            try offsets(brokers, partitions: 4)
        }
        #expect(found.records == Set(0..<lane.nextOffset.rawValue))
        #expect(found.ends == [lane.nextOffset.rawValue])
    }

    /// Waits until a checkpoint has come so far; false after so many tenths of a second.
    private func wait(_ log: LogID, _ end: Offset, tries: Int) async -> Bool {
        await ThreadOwned(name: "wait", ()).run { _ in
            guard let store = try? directory.checkpoints(consumer: "sink-central") else {
                return false
            }
            for _ in 0..<tries {
                let change = directory.changeCount
                if store.load(log) >= end { return true }
                directory.waitForChange(since: change, timeout: .milliseconds(100))
            }
            return false
        }
    }

    /// The offsets that are in the topic.
    private func offsets(
        _ configuration: KafkaConfiguration,
        partitions: Int32
    ) throws -> (records: Set<UInt64>, ends: Set<UInt64>) {
        let consumer = try KafkaConsumer(configuration, group: "reader")
        var left: Set<Int32> = []
        var start: [KafkaPartition: Int64] = [:]
        for partition in 0..<partitions {
            left.insert(partition)
            start[KafkaPartition("records", partition)] = KafkaOffset.beginning
        }
        try consumer.assign(start)
        var records: Set<UInt64> = []
        var ends: Set<UInt64> = []
        for _ in 0..<200 where !left.isEmpty {
            consumer.poll(timeout: .milliseconds(200), countMax: 10_000) { event in
                switch event {
                case .message(let message):
                    var text = ""
                    var isMarker = false
                    message.forEachHeader { name, value in
                        if name == "sluice-marker" { isMarker = true }
                        guard name == "sluice-offset" else { return }
                        for index in value.indices {
                            text.unicodeScalars.append(Unicode.Scalar(value[index]))
                        }
                    }
                    guard let offset = UInt64(text) else { return }
                    if isMarker { ends.insert(offset) } else { records.insert(offset) }
                case .endOfPartition(let partition, _): left.remove(partition.partition)
                default: break
                }
            }
        }
        consumer.close(timeout: .seconds(5))
        return (records, ends)
    }
}
