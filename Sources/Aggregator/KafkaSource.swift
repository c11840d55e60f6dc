package import Kafka
import Records

/// A topic of a Kafka cluster, and the consumer group in which an aggregator reads it.
package struct KafkaSourceConfiguration: Sendable {
    /// The cluster, and what else is set of the client.
    package var kafka: KafkaConfiguration
    /// The topic; need not be there yet.
    package var topic = "sluice.records"
    /// The consumer group: its members share the partitions.
    package var group = "sluice-aggregator"
    /// A name that stays the same when this aggregator is restarted, so that its partitions wait
    /// for it; nil gives them to others at once.
    package var instanceID: String?
    /// How partitions are given out; all members must agree on one protocol.
    package var assignor = KafkaAssignor.cooperativeSticky

    /// Properties that differ from librdkafka's defaults unless they are configured.
    ///
    /// A topic that is not there yet, and more partitions, are noticed within five seconds instead
    /// of five minutes; the partitions of an aggregator that died are given to others after ten
    /// seconds instead of 45 (chosen: heartbeats come every three, from a thread that never waits).
    static let defaults = [
        "topic.metadata.refresh.interval.ms": "5000",
        "session.timeout.ms": "10000",
    ]

    /// The defaults, for a cluster.
    package init(_ kafka: KafkaConfiguration) { self.kafka = kafka }
}

/// A member of a Kafka consumer group, as the transport sees it.
///
/// Owner: the transport's thread.
final class GroupConsumer: TransportConsumer {
    private let consumer: KafkaConsumer
    private let topic: String

    /// Makes a client and subscribes; no broker has to be there.
    init(_ source: KafkaSourceConfiguration) throws(TransportError) {
        var kafka = source.kafka
        kafka.client.merge(KafkaSourceConfiguration.defaults) { configured, _ in configured }
        topic = source.topic
        consumer = try Self.translating { () throws(KafkaError) in
            let consumer = try KafkaConsumer(
                kafka,
                group: source.group,
                instanceID: source.instanceID,
                assignor: source.assignor
            )
            try consumer.subscribe([source.topic])
            return consumer
        }
    }

    private static func translating<T>(
        _ body: () throws(KafkaError) -> T
    ) throws(TransportError) -> T {
        do throws(KafkaError) { return try body() } catch { throw TransportError(error) }
    }

    var waker: @Sendable () -> Void {
        let waker = consumer.waker
        return { waker.wake() }
    }

    func poll(
        timeout: Duration,
        countMax: Int,
        take: (ConsumedMessage, Span<UInt8>, Span<UInt8>) -> Void,
        handle: (ConsumerEvent) -> Void
    ) {
        _ = consumer.poll(timeout: timeout, countMax: countMax) { event in
            switch event {
            case .message(let message): Self.take(message, take)
            case .assigned(let partitions): handle(.assigned(partitions.map(\.partition)))
            case .revoked(let partitions): handle(.revoked(partitions.map(\.partition)))
            case .lost(let partitions): handle(.lost(partitions.map(\.partition)))
            case .error(let error, let partition):
                if let partition, Self.goneNames.contains(error.name) {
                    handle(.gone(partition.partition))
                }
                handle(.failed(TransportError(error)))
            // What "FAIL" says of a connection is also the text of an error.
            case .log(let line) where line.level <= 3 && line.facility != "FAIL":
                let error = TransportError(
                    name: line.facility,
                    call: "librdkafka",
                    message: line.message
                )
                handle(.failed(error))
            case .endOfPartition: break
            case .statistics: break
            case .log: break
            }
        }
    }

    /// What librdkafka says when a partition is not there.
    private static let goneNames: Set<String> = [
        "_UNKNOWN_PARTITION", "_UNKNOWN_TOPIC", "UNKNOWN_TOPIC_OR_PART",
    ]

    /// Hands a message over with its headers read; nothing is allocated.
    static func take(
        _ message: borrowing KafkaMessage,
        _ take: (ConsumedMessage, Span<UInt8>, Span<UInt8>) -> Void
    ) {
        var headers = MessageHeaders()
        if let value = message.header("sluice-log") { headers.put(.log, value) }
        if let value = message.header("sluice-offset") { headers.put(.offset, value) }
        if let value = message.header("sluice-delivery") { headers.put(.delivery, value) }
        if let value = message.header("sluice-marker") {
            headers.put(.marker, value)
            if let value = message.header("sluice-until") { headers.put(.until, value) }
            if let value = message.header("sluice-reason") { headers.put(.reason, value) }
        }
        var described = ConsumedMessage(
            partition: message.partition,
            offset: message.offset,
            timestamp: message.timestamp,
            hasValue: false,
            headers: headers
        )
        guard let key = message.key else {
            // Whoever ships records gives them keys; without one it is not trusted.
            if let value = message.value {
                described.hasValue = true
                take(described, Span(), value)
            } else {
                take(described, Span(), Span())
            }
            return
        }
        if let value = message.value {
            described.hasValue = true
            take(described, key, value)
        } else {
            take(described, key, Span())
        }
    }

    func assign(_ partitions: [Int32: Int64]) throws(TransportError) {
        let offsets = named(partitions)
        try Self.translating { () throws(KafkaError) in try consumer.assign(offsets) }
    }

    func unassign(_ partitions: [Int32]) throws(TransportError) {
        let named = partitions.map { KafkaPartition(topic, $0) }
        try Self.translating { () throws(KafkaError) in try consumer.unassign(named) }
    }

    func move(_ partitions: [Int32: Int64]) throws(TransportError) {
        let offsets = named(partitions)
        try Self.translating { () throws(KafkaError) in try consumer.move(offsets) }
    }

    // A consumer that cannot be paused fetches on, into a queue that is bounded.

    func pause() { try? consumer.pause(consumer.assignment) }

    func resume() { try? consumer.resume(consumer.assignment) }

    func watermarks(_ partition: Int32) -> (low: Int64, high: Int64)? {
        guard let found = consumer.cachedWatermarks(KafkaPartition(topic, partition)),
            found.low >= 0, found.high >= 0
        else { return nil }
        return (found.low, found.high)
    }

    /// How long to wait for a broker's answer; chosen: nobody polls meanwhile.
    private static let answerTimeout: Duration = .seconds(1)

    func askWatermarks(_ partition: Int32) -> (low: Int64, high: Int64)? {
        let named = KafkaPartition(topic, partition)
        guard let found = try? consumer.watermarks(named, timeout: Self.answerTimeout) else {
            return nil
        }
        return (found.low, found.high)
    }

    /// How long to wait for the cluster's id; chosen: it comes with the first metadata.
    private static let clusterTimeout: Duration = .milliseconds(200)

    func clusterID() -> String? { try? consumer.clusterID(timeout: Self.clusterTimeout) }

    // The group's own record of positions is for monitoring only; an error comes as an event.
    func commit(_ positions: [Int32: Int64]) { try? consumer.commit(named(positions)) }

    func close() { consumer.close() }

    private func named(_ partitions: [Int32: Int64]) -> [KafkaPartition: Int64] {
        var result: [KafkaPartition: Int64] = [:]
        for (partition, offset) in partitions { result[KafkaPartition(topic, partition)] = offset }
        return result
    }
}

extension TransportError {
    /// The same error without the module that it comes from.
    init(_ error: KafkaError) {
        self.init(
            name: error.name,
            call: error.call,
            message: error.message,
            isFatal: error.isFatal
        )
    }
}
