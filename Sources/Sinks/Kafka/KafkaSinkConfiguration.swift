package import Kafka

/// Which topic a Kafka sink writes to, and how.
package struct KafkaSinkConfiguration: Sendable {
    /// The brokers, and other properties of librdkafka.
    package var kafka: KafkaConfiguration
    /// The topic; created when it is not there.
    package var topic = "sluice.records"
    /// Partitions of the topic if it has to be created.
    package var partitions = 12
    /// Copies of each partition if the topic has to be created; -1 lets the broker decide.
    package var replication = -1
    /// After so long without any delivery report the producer is given up and made anew, and what
    /// it had is sent again later. Chosen: longer than a change of leaders takes.
    package var stallLimit: Duration = .seconds(30)
    /// The longest wait for brokers when the topic is looked for.
    package var openTimeout: Duration = .seconds(10)

    /// The defaults, for some brokers.
    package init(_ kafka: KafkaConfiguration) {
        self.kafka = kafka
    }

    /// Bytes of one request's messages, unless configured; librdkafka's own default.
    private static let batchBytes = 1_000_000
    /// The largest message, unless configured: a record has at most 1 MiB, and brokers know better
    /// than the client what they take.
    private static let messageBytesMax = "2097152"

    /// How many bytes are sent together at most, to begin with.
    var batchBytesMax: Int {
        kafka.client["batch.size"].flatMap { Int($0) } ?? Self.batchBytes
    }

    /// The producer's configuration.
    ///
    /// - Parameter batchBytesMax: How many bytes are sent together at most.
    func producer(batchBytesMax: Int) -> KafkaConfiguration {
        var result = kafka
        result.client["batch.size"] = String(batchBytesMax)
        if result.client["message.max.bytes"] == nil {
            result.client["message.max.bytes"] = Self.messageBytesMax
        }
        if result.statisticsInterval == .zero { result.statisticsInterval = .seconds(5) }
        return result
    }
}
