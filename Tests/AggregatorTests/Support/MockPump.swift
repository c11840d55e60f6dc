import Aggregator
import EventLog
import Kafka
import KafkaTesting
import Records
import Testing

/// Ships the logs of a world to brokers through librdkafka, each call from the beginning.
final class MockPump {
    private let world: World
    private let producer: KafkaProducer
    private let topic: KafkaTopicID
    private let partitions: Int

    init(_ world: World, _ kafka: KafkaConfiguration, partitions: Int) throws {
        self.world = world
        self.partitions = partitions
        producer = try KafkaProducer(kafka)
        topic = try producer.topic("sluice.records")
    }

    /// Ships logs and waits until the brokers have them.
    ///
    /// - Parameter logs: Which logs; nil for all.
    func ship(_ logs: [LogID]? = nil) throws {
        for log in try logs ?? world.directory.logs().map(\.id) {
            var reader = try world.directory.reader(log, from: .zero)
            while let item = try reader.next() {
                switch item {
                case .records(let batch):
                    try batch.forEach { offset, bytes in
                        var message = ScriptedMessage.record(log, offset.rawValue, [])
                        message.value = bytes.octets.copied()
                        message.timestamp = batch.appendTime / 1_000
                        try send(message, log)
                    }
                case .skip(let range, let reason):
                    let numbers = range.lowerBound.rawValue..<range.upperBound.rawValue
                    try send(.skip(log, numbers, reason), log)
                case .end(let offset): try send(.end(log, offset.rawValue), log)
                }
            }
        }
        try producer.flush(timeout: .seconds(60)) { delivery in
            #expect(delivery.error == nil)
        }
    }

    private func send(_ message: ScriptedMessage, _ log: LogID) throws {
        var headers = KafkaHeaders()
        for (name, value) in message.headers {
            switch name {
            case .log: headers.append("sluice-log", text: value)
            case .offset: headers.append("sluice-offset", text: value)
            case .marker: headers.append("sluice-marker", text: value)
            case .until: headers.append("sluice-until", text: value)
            case .reason: headers.append("sluice-reason", text: value)
            case .delivery: headers.append("sluice-delivery", text: value)
            }
        }
        let partition = Int32(log.low % UInt64(partitions))
        if let value = message.value {
            try producer.produce(
                topic,
                partition: partition,
                key: message.key.span,
                value: value.span,
                headers: headers,
                timestamp: message.timestamp
            )
        } else {
            try producer.produce(
                topic,
                partition: partition,
                key: message.key.span,
                value: nil,
                headers: headers,
                timestamp: message.timestamp
            )
        }
    }
}
