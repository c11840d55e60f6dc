import EventLog
import FileIO
import FileIOTesting
import Kafka
import Logging
import Records
import Sinks
import Telemetry

/// A seeded generator (SplitMix64), so that a failing run can be repeated.
struct Seeded: RandomNumberGenerator {
    private var state: UInt64

    init(_ seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}

/// A logger that says nothing.
let silent = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

/// Logs in memory whose records have paths of our choice.
struct SampleLogs {
    let directory: LogDirectory

    init(_ time: any TimeSource = ManualTimeSource()) throws {
        directory = try LogDirectory(path: "/data", fileSystem: MemoryFileSystem(), time: time)
    }

    /// Writes a closed log with a record for each text, offsets from 0.
    func write(_ number: UInt64, _ texts: [String]) throws -> LogID {
        let id = LogID(high: 0x0123_4567_89AB_4000, low: 0x8000_0000_0000_0000 | number)
        _ = try directory.writeSealedLog(id: id, LogConfiguration()) {
            writer throws(EventLogError) in
            for text in texts {
                try writer.append(eventTime: 1) { encoder in
                    encoder.put(.kind, UInt64(RecordKind.request.rawValue))
                    encoder.put(.path, text)
                }
            }
        }
        return id
    }

    /// Everything there is from an offset on, as one batch; without the end for other sinks.
    func batch(_ id: LogID, from: UInt64 = 0, hasMarkers: Bool = true) throws -> SinkBatch {
        var reader = try directory.reader(id, from: Offset(from))
        var items: [SinkItem] = []
        var time: Int64 = 0
        while let item = try reader.next() {
            switch item {
            case .records(let batch):
                time = batch.appendTime
                items.append(.records(batch))
            case .skip(let range, let reason):
                items.append(.skip(range, reason, appendTime: time))
            case .end(let offset):
                if hasMarkers { items.append(.end(offset, appendTime: time)) }
            }
        }
        return SinkBatch(log: id, items: items)
    }
}

/// A message of the topic, copied.
struct Message: Equatable {
    var key: String?
    var value: [UInt8]?
    var timestamp: Int64
    var headers: [String: String] = [:]

    var offset: UInt64? { headers["sluice-offset"].flatMap { UInt64($0) } }
    var isMarker: Bool { headers["sluice-marker"] != nil }
}

/// Reads a topic from its beginning to its present end.
func readTopic(
    _ configuration: KafkaConfiguration,
    _ topic: String,
    partitions: Int
) throws -> [Message] {
    let consumer = try KafkaConsumer(configuration, group: "reader")
    var left: Set<KafkaPartition> = []
    var start: [KafkaPartition: Int64] = [:]
    for partition in 0..<partitions {
        left.insert(KafkaPartition(topic, Int32(partition)))
        start[KafkaPartition(topic, Int32(partition))] = KafkaOffset.beginning
    }
    try consumer.assign(start)
    var messages: [Message] = []
    var rounds = 0
    while !left.isEmpty, rounds < 300 {
        rounds += 1
        consumer.poll(timeout: .milliseconds(200), countMax: 10_000) { event in
            switch event {
            case .message(let message):
                var copy = Message(
                    key: copied(message.key).map { String(decoding: $0, as: UTF8.self) },
                    value: copied(message.value),
                    timestamp: message.timestamp
                )
                message.forEachHeader { name, value in
                    copy.headers[name] = String(decoding: copied(value) ?? [], as: UTF8.self)
                }
                messages.append(copy)
            case .endOfPartition(let partition, _): left.remove(partition)
            default: break
            }
        }
    }
    consumer.close(timeout: .seconds(5))
    return messages
}

/// The bytes of a span that may be absent.
private func copied(_ bytes: Span<UInt8>?) -> [UInt8]? {
    switch bytes {
    case .some(let bytes): bytes.indices.map { bytes[$0] }
    case .none: nil
    }
}
