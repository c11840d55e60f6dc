internal import CLibrdkafka

/// How clients reach a Kafka cluster, and librdkafka's properties.
///
/// TLS and SASL are properties of `client`, as `security.protocol`, `sasl.mechanism`,
/// `sasl.username`, `sasl.password` and `ssl.ca.location`.
package struct KafkaConfiguration: Sendable {
    /// Brokers to begin with, each `host:port`.
    package var brokers: [String]
    /// Further properties of librdkafka, by name; see `fixed` for those that are not taken.
    package var client: [String: String] = [:]
    /// What brokers show as the client's id.
    package var clientID = "sluice"
    /// How often a client reports statistics; zero for never.
    package var statisticsInterval: Duration = .zero

    /// Makes a configuration without further properties.
    package init(brokers: [String]) {
        self.brokers = brokers
    }

    /// Properties that Sluice's guarantees rest on; they win over `client`.
    package static let fixed = producerFixed.merging(consumerFixed) { first, _ in first }

    /// The fixed properties of producers: nothing is given up, repeated or reordered, and a log
    /// stays in one partition (the partitioner is that of Kafka's Java client).
    static let producerFixed = [
        "acks": "all",
        "enable.idempotence": "true",
        "message.timeout.ms": "0",
        "partitioner": "murmur2_random",
        "delivery.report.only.error": "false",
    ]

    /// The fixed properties of consumers: positions live elsewhere, and nothing is skipped.
    static let consumerFixed = [
        "auto.offset.reset": "earliest",
        "enable.auto.commit": "false",
        "enable.partition.eof": "true",
    ]

    /// Why librdkafka would not take a property with a value; nil if it would.
    ///
    /// The text never holds the value of a property that is secret.
    package static func refusal(of name: String, _ value: String) -> String? {
        guard let properties = unsafe rd_kafka_conf_new() else { return "out of memory" }
        defer { unsafe rd_kafka_conf_destroy(properties) }
        do throws(KafkaError) {
            try unsafe set(name, to: value, in: properties)
            return nil
        } catch {
            return error.message
        }
    }

    /// Whether the value of a property is nobody's business.
    package static func isSecret(_ name: String) -> Bool {
        ["password", "secret", "pem", "token", "oauthbearer.config", "credential", "ssl.key"]
            .contains { name.contains($0) }
    }

    /// librdkafka's form of the configuration, which the caller owns.
    ///
    /// - Parameters:
    ///   - fixed: Set last, so that they win.
    ///   - preset: Set first, so that `client` wins.
    func makeProperties(
        preset: [String: String],
        fixed: [String: String]
    ) throws(KafkaError) -> OpaquePointer {
        guard let properties = unsafe rd_kafka_conf_new() else {
            throw KafkaError(RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE, call: "rd_kafka_conf_new")
        }
        var all = preset.merging(client) { _, second in second }
        all["bootstrap.servers"] = brokers.joined(separator: ",")
        if client["client.id"] == nil { all["client.id"] = clientID }
        let milliseconds = statisticsInterval.wholeMilliseconds
        all["statistics.interval.ms"] = String(milliseconds)
        all.merge(fixed) { _, second in second }
        do throws(KafkaError) {
            for (name, value) in all.sorted(by: { $0.key < $1.key }) {
                try unsafe Self.set(name, to: value, in: properties)
            }
        } catch {
            unsafe rd_kafka_conf_destroy(properties)
            throw error
        }
        return unsafe properties
    }

    /// `text` without any secret value of this configuration.
    func withoutSecrets(_ text: String) -> String {
        var text = text
        for (name, value) in client where Self.isSecret(name) && !value.isEmpty {
            text = text.split(separator: value, omittingEmptySubsequences: false)
                .joined(separator: "[redacted]")
        }
        return text
    }

    /// Sets one property.
    private static func set(
        _ name: String,
        to value: String,
        in properties: OpaquePointer
    ) throws(KafkaError) {
        guard !name.utf8.contains(0), !value.utf8.contains(0) else {
            throw .invalid("rd_kafka_conf_set", "property \"\(name)\" holds U+0000")
        }
        var text = [CChar](repeating: 0, count: 512)
        let result = unsafe rd_kafka_conf_set(properties, name, value, &text, text.count)
        guard result != RD_KAFKA_CONF_OK else { return }
        var message = String(nulTerminated: text)
        if isSecret(name) { message = "property \"\(name)\" has a value that is not accepted" }
        throw .invalid("rd_kafka_conf_set", message)
    }
}

extension KafkaConfiguration: CustomStringConvertible, CustomDebugStringConvertible,
    CustomReflectable
{
    /// Brokers and properties, without secret values.
    package var description: String {
        let properties = client.keys.sorted().map { name in
            let value = Self.isSecret(name) ? "[redacted]" : client[name] ?? ""
            return "\(name)=\(value)"
        }
        return "brokers=\(brokers.joined(separator: ",")) client.id=\(clientID) "
            + properties.joined(separator: " ")
    }

    /// As `description`.
    package var debugDescription: String { description }

    /// No children, so that nothing that dumps values shows a secret.
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}

extension Duration {
    /// Milliseconds, rounded up, within what librdkafka takes; negative durations are 0.
    var wholeMilliseconds: Int32 {
        let (seconds, attoseconds) = components
        if seconds < 0 || attoseconds < 0 { return 0 }
        guard seconds < 2_000_000 else { return 2_000_000_000 }
        let part = (attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000
        return Int32(clamping: seconds * 1_000 + part)
    }
}

extension String {
    /// The text of a buffer that a C function has filled, up to its NUL.
    init(nulTerminated buffer: [CChar]) {
        let bytes = buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
        self = String(decoding: bytes, as: UTF8.self)
    }
}
