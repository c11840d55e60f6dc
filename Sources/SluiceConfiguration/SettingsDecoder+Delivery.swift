extension SettingsDecoder {
    /// The connection to Kafka that `node` describes.
    mutating func decodeKafka(_ node: ConfigurationNode) -> KafkaSettings {
        var kafka = KafkaSettings()
        kafka.brokers = values(node["brokers"], ValueParser.broker)
        kafka.topic = node["topic"]?.text ?? kafka.topic
        kafka.partitions = integer(node["partitions"]) ?? kafka.partitions
        kafka.replication = integer(node["replication"])
        kafka.group = node["group"]?.text ?? kafka.group
        kafka.instance = node["instance"]?.text
        kafka.assignor = choice(node["assignor"]) ?? kafka.assignor
        guard case .mapping(let entries)? = node["client"]?.content else { return kafka }
        for entry in entries where KafkaProperties.refusal(of: entry.key) == nil {
            let path = "kafka.client.\(entry.key.prefix(60))"
            guard let secret = secret(entry.value, path: path) else { continue }
            kafka.client[entry.key] = secret
            guard var reason = kafkaRefusal(entry.key, secret.reveal()) else { continue }
            let isPlain = entry.value.text == secret.reveal()
            if !isPlain || KafkaProperties.isSensitive(entry.key) {
                reason = reason.replacing(secret.reveal(), with: secret.description)
            }
            problems.append(
                ConfigurationProblem(
                    origin: entry.origin,
                    path: "kafka.client",
                    message: "\"\(entry.key.prefix(60))\" is not taken by librdkafka: \(reason)"
                )
            )
        }
        return kafka
    }

    /// The sink that `node` describes; nil if it lacks what every sink has.
    func decodeSink(_ node: ConfigurationNode) -> SinkSettings? {
        guard let name = node["name"]?.text, let type = node["type"]?.text else { return nil }
        let kind: SinkKind
        switch type {
        case "kafka": kind = .kafka
        case "file":
            guard let path = node["path"]?.text else { return nil }
            var file = FileSinkSettings(path: path)
            file.compress = choice(node["compress"]) ?? file.compress
            file.rotateBytes = bytes(node["rotate"]?["bytes"]) ?? file.rotateBytes
            file.rotateAge = duration(node["rotate"]?["age"]) ?? file.rotateAge
            kind = .file(file)
        default: return nil
        }
        var sink = SinkSettings(name: name, kind: kind)
        sink.batch.records = integer(node["batch"]?["records"]) ?? sink.batch.records
        sink.batch.bytes = bytes(node["batch"]?["bytes"]) ?? sink.batch.bytes
        sink.batch.wait = duration(node["batch"]?["wait"])
        sink.inFlight = integer(node["in_flight"]) ?? sink.inFlight
        sink.retryDelayMin = duration(node["retry"]?["delay_min"]) ?? sink.retryDelayMin
        sink.retryDelayMax = duration(node["retry"]?["delay_max"]) ?? sink.retryDelayMax
        return sink
    }
}

extension Settings {
    /// Adds the Kafka sink that `transport: kafka` needs, unless it is there under a name of its
    /// own.
    mutating func addImpliedSink() {
        guard transport == .kafka, !pump.sinks.contains(where: { $0.kind == .kafka }) else {
            return
        }
        let implied = SinkSettings(name: PumpSettings.impliedSinkName, kind: .kafka)
        pump.sinks.insert(implied, at: 0)
    }
}
