import Kafka
import KafkaTesting

/// A member of a group that answers rebalances and keeps what it saw.
final class Member {
    let consumer: KafkaConsumer
    private(set) var assigned: Set<KafkaPartition> = []
    private(set) var revocations: [[KafkaPartition]] = []
    private(set) var assignments: [[KafkaPartition]] = []
    private(set) var lost: [[KafkaPartition]] = []
    private(set) var offsets: [KafkaPartition: [Int64]] = [:]
    private(set) var ends: [KafkaPartition: Int64] = [:]
    private(set) var errors: [KafkaError] = []
    private(set) var statistics: [KafkaStatistics] = []

    /// Joins a group for the topic `records`.
    init(
        _ cluster: MockCluster,
        instanceID: String? = nil,
        assignor: KafkaAssignor = .cooperativeSticky,
        adjust: (inout KafkaConfiguration) -> Void = { _ in }
    ) throws {
        var configuration = cluster.configuration
        configuration.client["heartbeat.interval.ms"] = "100"
        // The mock cluster knows no static members, and forgets others only by their sessions.
        configuration.client["session.timeout.ms"] = "6000"
        configuration.client["fetch.wait.max.ms"] = "50"
        configuration.client["topic.metadata.refresh.interval.ms"] = "1000"
        adjust(&configuration)
        consumer = try KafkaConsumer(
            configuration,
            group: "group",
            instanceID: instanceID,
            assignor: assignor
        )
        try consumer.subscribe(["records"])
    }

    /// Takes what is there, waiting up to `milliseconds` for the first of it.
    func step(_ milliseconds: Int = 10) {
        consumer.poll(timeout: .milliseconds(milliseconds), countMax: 1_000) { event in
            switch event {
            case .message(let message):
                let partition = KafkaPartition(message.topic, message.partition)
                offsets[partition, default: []].append(message.offset)
            case .assigned(let partitions):
                assignments.append(partitions)
                assigned.formUnion(partitions)
                let start = partitions.map { ($0, KafkaOffset.beginning) }
                attempt {
                    () throws(KafkaError) in
                    try consumer.assign(Dictionary(uniqueKeysWithValues: start))
                }
            case .revoked(let partitions):
                revocations.append(partitions)
                assigned.subtract(partitions)
                attempt { () throws(KafkaError) in try consumer.unassign(partitions) }
            case .lost(let partitions):
                lost.append(partitions)
                assigned.subtract(partitions)
                attempt { () throws(KafkaError) in try consumer.unassign(partitions) }
            case .endOfPartition(let partition, let offset): ends[partition] = offset
            case .error(let error, _): errors.append(error)
            case .statistics(let text):
                if let parsed = KafkaStatistics(text) { statistics.append(parsed) }
            case .log: break
            }
        }
    }

    /// Keeps what a call throws.
    private func attempt(_ body: () throws(KafkaError) -> Void) {
        do throws(KafkaError) { try body() } catch { errors.append(error) }
    }
}

/// Lets members take turns until a condition holds; false after a minute.
func turns(_ members: [Member], until condition: () -> Bool) -> Bool {
    let deadline = ContinuousClock.now.advanced(by: .seconds(60))
    while ContinuousClock.now < deadline {
        if condition() { return true }
        for member in members { member.step() }
    }
    return condition()
}

/// The partitions of the topic `records`.
func partitions(_ count: Int) -> Set<KafkaPartition> {
    Set((0..<count).map { KafkaPartition("records", Int32($0)) })
}

/// Produces `count` messages to partitions in turn and waits for their delivery.
func fill(_ cluster: MockCluster, partitions: Int, count: Int) throws {
    let producer = try KafkaProducer(cluster.configuration)
    try produce(producer, partitions: partitions, count: count)
    try producer.flush(timeout: .seconds(30)) { _ in }
}

/// Produces `count` messages of one byte to the partitions of `records` in turn.
func produce(_ producer: KafkaProducer, partitions: Int, count: Int) throws(KafkaError) {
    let topic = try producer.topic("records")
    let headers = KafkaHeaders()
    let value: [UInt8] = [7]
    for number in 0..<count {
        try producer.produce(
            topic,
            partition: Int32(number % partitions),
            key: value.span,
            value: value.span,
            headers: headers,
            token: UInt64(number)
        )
    }
}
