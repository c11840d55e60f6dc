import Foundation
import Kafka
import KafkaTesting
import Testing

/// What handles and messages leave behind: nothing.
@Suite("Kafka leaks", .timeLimit(.minutes(5)))
struct LeakTests {
    /// Resident memory of this process in kibibytes, its descriptors and its threads.
    static func resources() throws -> (memory: Int, descriptors: Int, threads: Int) {
        let status = try String(contentsOfFile: "/proc/self/status", encoding: .utf8)
        func field(_ name: String) -> Int {
            let line = status.split(separator: "\n").first { $0.hasPrefix(name + ":") } ?? ""
            return Int(line.split(whereSeparator: { !$0.isNumber }).first ?? "") ?? 0
        }
        let descriptors = try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count
        return (field("VmRSS"), descriptors, field("Threads"))
    }

    /// One life of each handle, with messages, errors, abandoned queues and open assignments.
    static func lives(_ cluster: MockCluster, group: Int) throws {
        let producer = try KafkaProducer(cluster.configuration)
        let topic = try producer.topic("records")
        var headers = KafkaHeaders()
        let value = [UInt8](repeating: 7, count: 2_000)
        for number in 0..<100 {
            headers.removeAll()
            headers.append("sluice-log", value.span.extracting(0..<36))
            headers.append("sluice-offset", decimal: UInt64(number))
            try producer.produce(topic, key: value.span, value: value.span, headers: headers)
        }
        #expect(try producer.partitionCount(topic, timeout: .seconds(20)) == 1)
        // Some are left behind in the queue.
        producer.poll(timeout: .milliseconds(20)) { _ in }
        let failure = #expect(throws: KafkaError.self) {
            try producer.produce(topic, partition: 99, key: nil, value: nil, headers: headers)
        }
        #expect(failure?.isUnknownTopic == true)

        let consumer = try KafkaConsumer(cluster.configuration, group: "group-\(group)")
        try consumer.assign([KafkaPartition("records", 0): KafkaOffset.beginning])
        consumer.poll(timeout: .milliseconds(100), countMax: 50) { event in
            switch event {
            case .message(let message):
                switch message.header("sluice-log") {
                case .some(let bytes): #expect(bytes.count == 36)
                case .none: Issue.record("no header")
                }
            default: break
            }
        }
        if group.isMultiple(of: 2) { consumer.close() }
        let admin = try KafkaAdmin(cluster.configuration)
        _ = try admin.topic("records", timeout: .seconds(10))
        #expect(throws: KafkaError.self) {
            try admin.createTopic("new", partitions: 1, timeout: .milliseconds(10))
        }
        #expect(throws: KafkaError.self) {
            try KafkaConsumer(KafkaConfiguration(brokers: []), group: "")
        }
    }

    @Test("memory, descriptors and threads stay flat over many lives of every handle")
    func flat() async {
        await #expect(processExitsWith: .success) {
            let cluster = try MockCluster()
            try cluster.createTopic("records", partitions: 1)
            // The cluster keeps 5 MiB per partition, and the allocator takes its time to settle.
            for life in 0..<40 { try LeakTests.lives(cluster, group: life) }
            let before = try LeakTests.resources()
            for life in 0..<80 { try LeakTests.lives(cluster, group: life) }
            let after = try LeakTests.resources()
            print("KiB, descriptors, threads: \(before), then \(after)")
            // 80 lives of 100 messages of 4 KB: if all stayed they would cost 32 MB, a handle that
            // stays about 200 KB each.
            #expect(after.memory < before.memory + 8_192)
            #expect(after.descriptors <= before.descriptors + 2)
            #expect(after.threads <= before.threads + 2)
        }
    }

    @Test("ten thousand handles that reach no broker leave nothing behind")
    func handles() async {
        await #expect(processExitsWith: .success) {
            let began = ContinuousClock.now
            let configuration = KafkaConfiguration(brokers: ["127.0.0.1:1"])
            func make(_ count: Int) throws {
                for number in 0..<count {
                    switch number % 3 {
                    case 0: _ = try KafkaProducer(configuration)
                    case 1: _ = try KafkaConsumer(configuration, group: "group")
                    default: _ = try KafkaAdmin(configuration)
                    }
                }
            }
            try make(200)
            let before = try LeakTests.resources()
            try make(10_000)
            let after = try LeakTests.resources()
            print("KiB, descriptors, threads: \(before), then \(after)")
            print("took \(ContinuousClock.now - began)")
            // What one handle takes while it lives is about 200 KiB.
            #expect(after.memory < before.memory + 4_096)
            #expect(after.descriptors <= before.descriptors)
            #expect(after.threads <= before.threads)
        }
    }
}
