import Kafka
import KafkaTesting
import Testing

/// What goes in comes out, through brokers inside the process.
@Suite("Kafka round trip", .timeLimit(.minutes(2)))
struct RoundTripTests {
    /// How many bytes there are, or that there are none at all.
    private func count(_ bytes: Span<UInt8>?) -> String {
        switch bytes {
        case .some(let bytes): "\(bytes.count)"
        case .none: "none"
        }
    }

    @Test("key, value, headers, time and offset arrive as they were sent; null differs from empty")
    func content() throws {
        let cluster = try MockCluster()
        try cluster.createTopic("records", partitions: 1)
        let producer = try KafkaProducer(cluster.configuration)
        let topic = try producer.topic("records")
        var headers = KafkaHeaders()
        headers.append("sluice-offset", decimal: 0)
        headers.append("sluice-reason", text: "")
        headers.append("sluice-offset", decimal: UInt64.max)
        let key: [UInt8] = [1, 2, 3]
        let value: [UInt8] = Array("the value".utf8)
        let time: Int64 = 1_700_000_000_123
        try producer.produce(
            topic,
            key: key.span,
            value: value.span,
            headers: headers,
            timestamp: time,
            token: 7
        )
        headers.removeAll()
        let empty: [UInt8] = []
        try producer.produce(
            topic,
            key: empty.span,
            value: empty.span,
            headers: headers,
            timestamp: time
        )
        try producer.produce(topic, key: nil, value: nil, headers: headers, timestamp: time)
        var deliveries: [KafkaDelivery] = []
        try producer.flush(timeout: .seconds(20)) { deliveries.append($0) }
        #expect(deliveries.map(\.token) == [7, 0, 0])
        #expect(deliveries.map(\.offset) == [0, 1, 2])
        #expect(deliveries.allSatisfy { $0.error == nil && $0.partition == 0 })

        let consumer = try KafkaConsumer(cluster.configuration, group: "group")
        try consumer.assign([KafkaPartition("records", 0): KafkaOffset.beginning])
        var seen: [String] = []
        var isAtEnd = false
        while !isAtEnd {
            consumer.poll(timeout: .seconds(20), countMax: 100) { event in
                switch event {
                case .message(let message):
                    let key = count(message.key)
                    let value = count(message.value)
                    #expect(message.topic == "records" && message.timestamp == time)
                    var line = "\(message.partition)/\(message.offset) key \(key) value \(value)"
                    message.forEachHeader { name, bytes in line += " \(name):\(bytes.count)" }
                    if let last = message.header("sluice-offset") { line += " \(last.count)" }
                    #expect(count(message.header("sluice-log")) == "none")
                    seen.append(line)
                case .endOfPartition(let partition, let offset):
                    #expect(partition == KafkaPartition("records", 0) && offset == 3)
                    isAtEnd = true
                default: break
                }
            }
        }
        #expect(
            seen == [
                "0/0 key 3 value 9 sluice-offset:1 sluice-reason:0 sluice-offset:20 20",
                "0/1 key 0 value 0",
                "0/2 key none value none",
            ]
        )
    }
}
