import EventLog
import Kafka
import Records

/// Puts the messages of one log together; `docs/formats/kafka.md` describes them.
///
/// | part | content |
/// |---|---|
/// | key | the log id as lower-case UUID text |
/// | value | the record as it is in the log; none for a marker |
/// | timestamp | append time, ms |
/// | `sluice-log` | the log id again |
/// | `sluice-offset` | decimal: the record's offset; a skip's first; a log's end |
/// | `sluice-schema` | `1` |
/// | `sluice-delivery` | decimal: drawn for the messages that were handed over together |
/// | `sluice-marker` | markers only: `skip` or `end` |
/// | `sluice-until` | skips only: the end, exclusive |
/// | `sluice-reason` | skips only: why there are no records |
struct KafkaMessageEncoder: ~Copyable {
    /// The version of the messages' format.
    private static let schema: UInt64 = 1

    private var headers = KafkaHeaders()
    private var key: [UInt8] = []

    /// How many headers every message has.
    private static let commonCount = 4

    /// Starts with a log.
    ///
    /// - Parameters:
    ///   - log: The log.
    ///   - delivery: A number that nothing else was delivered with: a reader who remembers it knows
    ///     a message again, although the same record may have been delivered more than once.
    mutating func begin(_ log: LogID, delivery: UInt64) {
        let key = Array(log.description.utf8)
        headers.removeAll()
        headers.append("sluice-log", key.span)
        headers.append("sluice-offset", replaceable: 0)
        headers.append("sluice-schema", decimal: Self.schema)
        headers.append("sluice-delivery", decimal: delivery)
        self.key = key
    }

    /// Sets the headers of a record: only the number differs from the one before.
    @inline(__always)
    mutating func setRecord(_ offset: Offset) {
        headers.keepFirst(Self.commonCount)
        headers.replace(at: 1, with: offset.rawValue)
    }

    /// Sets the headers of a skip marker.
    mutating func setSkip(_ range: Range<Offset>, _ reason: SkipReason) {
        setRecord(range.lowerBound)
        headers.append("sluice-marker", text: "skip")
        headers.append("sluice-until", decimal: range.upperBound.rawValue)
        headers.append("sluice-reason", text: reason.rawValue)
    }

    /// Sets the headers of an end marker.
    mutating func setEnd(_ offset: Offset) {
        setRecord(offset)
        headers.append("sluice-marker", text: "end")
    }

    /// Hands the message over.
    borrowing func produce(
        to producer: KafkaProducer,
        _ topic: KafkaTopicID,
        value: Span<UInt8>?,
        timestamp: Int64,
        token: UInt64
    ) throws(KafkaError) {
        try producer.produce(
            topic,
            key: key.span,
            value: value,
            headers: headers,
            timestamp: timestamp,
            token: token
        )
    }
}
