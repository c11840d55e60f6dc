internal import CLibrdkafka

/// One partition of a topic.
package struct KafkaPartition: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// The topic's name.
    package var topic: String
    /// The partition's number.
    package var partition: Int32

    /// Names a partition.
    package init(_ topic: String, _ partition: Int32) {
        self.topic = topic
        self.partition = partition
    }

    /// By topic, then by number.
    package static func < (left: KafkaPartition, right: KafkaPartition) -> Bool {
        (left.topic, left.partition) < (right.topic, right.partition)
    }

    /// As `topic[3]`.
    package var description: String { "\(topic)[\(partition)]" }
}

/// Offsets with a meaning of their own (librdkafka `RD_KAFKA_OFFSET_…`).
package enum KafkaOffset {
    /// The first offset there is.
    package static let beginning: Int64 = -2
    /// After the last one.
    package static let end: Int64 = -1
    /// What the group has committed.
    package static let stored: Int64 = -1000
    /// None.
    package static let none: Int64 = -1001
}

/// Where a partition begins and ends.
package struct KafkaWatermarks: Sendable, Equatable {
    /// The first offset that is there.
    package var low: Int64
    /// The offset after the last one.
    package var high: Int64

    /// Makes a pair.
    package init(low: Int64, high: Int64) {
        self.low = low
        self.high = high
    }
}

/// How a group shares partitions out.
package enum KafkaAssignor: String, Sendable, CaseIterable {
    /// Members keep what they have, and give away single partitions.
    case cooperativeSticky = "cooperative-sticky"
    /// Everybody gives up everything at each rebalance.
    case range
}

/// The one owner of a list of partitions; librdkafka `rd_kafka_topic_partition_list_t`.
@safe
struct PartitionList: ~Copyable {
    private let list: UnsafeMutablePointer<rd_kafka_topic_partition_list_t>

    /// A list of partitions and offsets.
    init(_ offsets: [KafkaPartition: Int64]) {
        unsafe list = Self.make(offsets.count)
        for (partition, offset) in offsets {
            unsafe Self.add(partition, to: list).pointee.offset = offset
        }
    }

    /// A list of partitions without offsets.
    init(_ partitions: [KafkaPartition]) {
        unsafe list = Self.make(partitions.count)
        for partition in partitions { unsafe _ = Self.add(partition, to: list) }
    }

    /// Takes ownership of `list`.
    init(owning list: UnsafeMutablePointer<rd_kafka_topic_partition_list_t>) {
        unsafe self.list = unsafe list
    }

    deinit { unsafe rd_kafka_topic_partition_list_destroy(list) }

    /// Lends the list; the pointer must not outlive `body`.
    borrowing func with<T>(
        _ body: (UnsafeMutablePointer<rd_kafka_topic_partition_list_t>) -> T
    ) -> T {
        unsafe body(list)
    }

    /// The partitions in the list.
    borrowing func partitions() -> [KafkaPartition] { unsafe Self.partitions(of: list) }

    /// The partitions in the list with their offsets.
    borrowing func offsets() -> [KafkaPartition: Int64] {
        var offsets: [KafkaPartition: Int64] = [:]
        for index in unsafe 0..<Int(list.pointee.cnt) {
            let element = unsafe list.pointee.elems[index]
            let topic = unsafe String(cString: element.topic)
            unsafe offsets[KafkaPartition(topic, element.partition)] = element.offset
        }
        return offsets
    }

    /// The first error of an element.
    borrowing func firstError(_ call: String) -> KafkaError? {
        for index in unsafe 0..<Int(list.pointee.cnt) {
            let element = unsafe list.pointee.elems[index]
            guard unsafe element.err != RD_KAFKA_RESP_ERR_NO_ERROR else { continue }
            var error = unsafe KafkaError(element.err, call: call)
            unsafe error.message += " (\(String(cString: element.topic))[\(element.partition)])"
            return error
        }
        return nil
    }

    /// The partitions of a list that somebody else owns.
    static func partitions(
        of list: UnsafeMutablePointer<rd_kafka_topic_partition_list_t>
    ) -> [KafkaPartition] {
        unsafe (0..<Int(list.pointee.cnt)).map { index in
            let element = unsafe list.pointee.elems[index]
            return unsafe KafkaPartition(String(cString: element.topic), element.partition)
        }
    }

    /// An empty list; librdkafka ends the process when there is no memory.
    private static func make(
        _ count: Int
    ) -> UnsafeMutablePointer<rd_kafka_topic_partition_list_t> {
        guard let list = unsafe rd_kafka_topic_partition_list_new(Int32(clamping: count)) else {
            preconditionFailure("rd_kafka_topic_partition_list_new returned NULL")
        }
        return unsafe list
    }

    private static func add(
        _ partition: KafkaPartition,
        to list: UnsafeMutablePointer<rd_kafka_topic_partition_list_t>
    ) -> UnsafeMutablePointer<rd_kafka_topic_partition_t> {
        let added = unsafe rd_kafka_topic_partition_list_add(
            list,
            partition.topic,
            partition.partition
        )
        guard let element = unsafe added else {
            preconditionFailure("rd_kafka_topic_partition_list_add returned NULL")
        }
        return unsafe element
    }
}
