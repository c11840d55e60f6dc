import Console
import Kafka
import SluiceConfiguration

/// What the brokers say.
extension StatusReport {
    /// Longest wait for each answer of a broker; chosen: a person waits for the report.
    private static let timeout = Duration.seconds(3)

    /// How far the aggregators are behind in the topic: the ends of its partitions, less what the
    /// database has taken of them.
    static func kafka(_ settings: Settings, _ database: DatabaseAnswer) async -> Table {
        var table = Table(["topic", "group", "state", "partitions", "end", "lag"])
        let names: [Cell] = [.text(settings.kafka.topic), .text(settings.kafka.group)]
        do {
            let ends = try await blocking("status") { try TopicEnds(settings, timeout: timeout) }
            guard let ends else {
                table.rows = [names + [.text("no such topic"), .none, .none, .none]]
                return table
            }
            table.rows = [
                names + [
                    .text("up"), .integer(Int64(ends.partitions.count)), .integer(ends.end),
                    database.positions.map { .integer(ends.lag(behind: $0)) } ?? .none,
                ]
            ]
        } catch {
            let text = (error as? KafkaError)?.message ?? "\(error)"
            table.rows = [names + [.text("down: \(text)"), .none, .none, .none]]
        }
        return table
    }
}

/// Where the partitions of the topic begin and end.
private struct TopicEnds: Sendable {
    /// The cluster, as it calls itself.
    var clusterID: String
    /// First and next offset of each partition.
    var partitions: [KafkaWatermarks] = []

    /// Asks the brokers; nil if there is no such topic. Blocking.
    init?(_ settings: Settings, timeout: Duration) throws {
        let admin = try KafkaAdmin(settings.kafkaConfiguration())
        defer { admin.close() }
        let name = settings.kafka.topic
        guard let topic = try admin.topic(name, timeout: timeout) else { return nil }
        clusterID = try admin.clusterID(timeout: timeout) ?? ""
        for index in 0..<topic.partitionCount {
            let partition = KafkaPartition(name, Int32(clamping: index))
            partitions.append(try admin.watermarks(partition, timeout: timeout))
        }
    }

    /// Messages ever written.
    var end: Int64 { partitions.reduce(0) { $0 + $1.high } }

    /// Messages that are there and not yet taken.
    func lag(behind positions: [KafkaPosition]) -> Int64 {
        var next: [Int32: Int64] = [:]
        for position in positions where position.clusterID == clusterID {
            next[position.partition] = position.nextOffset
        }
        return partitions.enumerated().reduce(0) { sum, partition in
            let taken = next[Int32(clamping: partition.offset)] ?? 0
            return sum + max(0, partition.element.high - max(partition.element.low, taken))
        }
    }
}
