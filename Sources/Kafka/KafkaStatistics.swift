/// A few figures of librdkafka's statistics (`STATISTICS.md` of its sources).
package struct KafkaStatistics: Sendable, Equatable {
    /// Messages in the producer's queues, those under way included.
    package var queuedMessages = 0
    /// Their bytes.
    package var queuedBytes = 0
    /// Bytes sent to brokers since the client was made.
    package var transmittedBytes = 0
    /// Bytes received from brokers since the client was made.
    package var receivedBytes = 0
    /// Messages produced since the client was made.
    package var messagesTransmitted = 0
    /// Messages consumed since the client was made.
    package var messagesReceived = 0
    /// Messages fetched and not yet handed over.
    package var fetchedMessages = 0
    /// Brokers with a connection.
    package var brokersUp = 0
    /// The worst broker's 99th percentile of a request's time in the last interval.
    package var roundTripP99: Duration = .zero
    /// Per partition the messages between what this member has committed and the end; of those
    /// partitions only that it has committed for.
    package var lag: [KafkaPartition: Int] = [:]

    /// Reads the text of a `.statistics` event; nil when it is not what librdkafka writes.
    package init?(_ json: String) {
        guard case .object(let root)? = KafkaJSON.parse(json) else { return nil }
        queuedMessages = root["msg_cnt"]?.int ?? 0
        queuedBytes = root["msg_size"]?.int ?? 0
        transmittedBytes = root["tx_bytes"]?.int ?? 0
        receivedBytes = root["rx_bytes"]?.int ?? 0
        messagesTransmitted = root["txmsgs"]?.int ?? 0
        messagesReceived = root["rxmsgs"]?.int ?? 0
        for broker in (root["brokers"]?.members ?? [:]).values {
            if broker["state"]?.text == "UP", (broker["nodeid"]?.int ?? -1) >= 0 { brokersUp += 1 }
            let p99 = Duration.microseconds(broker["rtt"]?["p99"]?.int ?? 0)
            roundTripP99 = max(roundTripP99, p99)
        }
        for (name, topic) in root["topics"]?.members ?? [:] {
            for (number, partition) in topic["partitions"]?.members ?? [:] {
                guard let number = Int32(number), number >= 0 else { continue }
                fetchedMessages += partition["fetchq_cnt"]?.int ?? 0
                if let behind = partition["consumer_lag"]?.int, behind >= 0 {
                    lag[KafkaPartition(name, number)] = behind
                }
            }
        }
    }
}

/// Just enough JSON for statistics: cold, bounded in depth, and without Foundation.
enum KafkaJSON: Equatable {
    case object([String: KafkaJSON])
    case array([KafkaJSON])
    case text(String)
    case number(Double)
    case bool(Bool)
    case null

    /// Deepest nesting; librdkafka's own is 6.
    private static let depthMax = 32

    /// The value that a text holds; nil unless it is one whole value.
    static func parse(_ text: String) -> KafkaJSON? {
        var reader = Reader(bytes: Array(text.utf8))
        guard let value = reader.value(depth: 0) else { return nil }
        reader.skipSpace()
        return reader.position == reader.bytes.count ? value : nil
    }

    /// A member of an object.
    subscript(_ name: String) -> KafkaJSON? { members[name] }

    /// The members of an object; none of anything else.
    var members: [String: KafkaJSON] {
        if case .object(let members) = self { return members }
        return [:]
    }

    /// A number without its fraction.
    var int: Int? {
        if case .number(let number) = self { return Int(exactly: number.rounded(.towardZero)) }
        return nil
    }

    /// A text.
    var text: String? {
        if case .text(let text) = self { return text }
        return nil
    }

    /// Reads one value after the other.
    private struct Reader {
        let bytes: [UInt8]
        var position = 0

        mutating func skipSpace() {
            while position < bytes.count, [0x20, 0x09, 0x0A, 0x0D].contains(bytes[position]) {
                position += 1
            }
        }

        /// Takes a byte if it is the next one after white space.
        mutating func take(_ byte: Character) -> Bool {
            skipSpace()
            guard position < bytes.count, bytes[position] == byte.asciiValue else { return false }
            position += 1
            return true
        }

        mutating func value(depth: Int) -> KafkaJSON? {
            guard depth < KafkaJSON.depthMax else { return nil }
            if take("{") { return object(depth) }
            if take("[") { return array(depth) }
            if take("\"") { return string().map(KafkaJSON.text) }
            return word()
        }

        mutating func object(_ depth: Int) -> KafkaJSON? {
            var members: [String: KafkaJSON] = [:]
            if take("}") { return .object(members) }
            repeat {
                guard
                    take("\""), let name = string(), take(":"),
                    let value = value(depth: depth + 1)
                else { return nil }
                members[name] = value
            } while take(",")
            return take("}") ? .object(members) : nil
        }

        mutating func array(_ depth: Int) -> KafkaJSON? {
            var elements: [KafkaJSON] = []
            if take("]") { return .array(elements) }
            repeat {
                guard let element = value(depth: depth + 1) else { return nil }
                elements.append(element)
            } while take(",")
            return take("]") ? .array(elements) : nil
        }

        /// A text after its quote; escapes other than of one character are kept as they stand.
        mutating func string() -> String? {
            var content: [UInt8] = []
            while position < bytes.count {
                let byte = bytes[position]
                position += 1
                switch byte {
                case UInt8(ascii: "\""): return String(decoding: content, as: UTF8.self)
                case UInt8(ascii: "\\"):
                    guard position < bytes.count else { return nil }
                    let escaped = bytes[position]
                    position += 1
                    switch escaped {
                    case UInt8(ascii: "n"): content.append(0x0A)
                    case UInt8(ascii: "t"): content.append(0x09)
                    case UInt8(ascii: "r"): content.append(0x0D)
                    case UInt8(ascii: "u"): content.append(contentsOf: [0x5C, escaped])
                    default: content.append(escaped)
                    }
                default: content.append(byte)
                }
            }
            return nil
        }

        /// A number, `true`, `false` or `null`.
        mutating func word() -> KafkaJSON? {
            let start = position
            while position < bytes.count, !", ]}\n\r\t".utf8.contains(bytes[position]) {
                position += 1
            }
            let text = String(decoding: bytes[start..<position], as: UTF8.self)
            switch text {
            case "true": return .bool(true)
            case "false": return .bool(false)
            case "null": return .null
            default: return Double(text).map(KafkaJSON.number)
            }
        }
    }
}
