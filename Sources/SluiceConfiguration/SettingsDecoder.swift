/// Turns a tree into settings; what does not fit keeps its default, the checker has reported it.
struct SettingsDecoder {
    /// Environment variables, for secrets as `env:NAME`.
    let environment: [String: String]

    /// Reads a file, for secrets as `file:PATH`; throws what the operating system says.
    let readFile: (String) throws -> String

    /// Why librdkafka would not take a property with this value; nil if it would.
    let kafkaRefusal: (_ name: String, _ value: String) -> String?

    /// Secrets that could not be found, and properties that are none.
    var problems: [ConfigurationProblem] = []

    /// A decoder that finds secrets in the given places.
    init(
        environment: [String: String],
        readFile: @escaping (String) throws -> String,
        kafkaRefusal: @escaping (_ name: String, _ value: String) -> String?
    ) {
        self.environment = environment
        self.readFile = readFile
        self.kafkaRefusal = kafkaRefusal
    }

    /// The settings that `tree` describes.
    mutating func decode(_ tree: ConfigurationNode, hostName: String) -> Settings {
        var settings = Settings()
        settings.node = tree["node"]?.text ?? hostName
        settings.region = tree["region"]?.text
        settings.data = tree["data"]?.text ?? settings.data
        if let node = tree["postgres"], let secret = secret(node, path: "postgres") {
            settings.postgres = postgres(secret, node)
        }
        settings.transport = choice(tree["transport"]) ?? settings.transport
        if let kafka = tree["kafka"] { settings.kafka = decodeKafka(kafka) }
        settings.pump.sinks = (tree["pump"]?["sinks"]?.elements ?? []).compactMap(decodeSink)
        settings.addImpliedSink()
        if let log = tree["log"] { settings.log = decodeLog(log) }
        if let gateway = tree["gateway"] { settings.gateway = decodeGateway(gateway) }
        settings.rollups = (tree["rollups"]?.elements ?? []).compactMap(decodeRollup)
        if let node = tree["aggregator"] { settings.aggregator = decodeAggregator(node) }
        if let serve = tree["serve"] { settings.serve = decodeServe(serve) }
        settings.meters = (tree["meters"]?.elements ?? []).compactMap(decodeMeter)
        for (index, node) in (tree["webhooks"]?.elements ?? []).enumerated() {
            if let webhook = decodeWebhook(node, index: index) { settings.webhooks.append(webhook) }
        }
        settings.alerts = (tree["alerts"]?.elements ?? []).compactMap(decodeAlert)
        settings.recordsRetain = duration(tree["records"]?["retain"])
        settings.metricsListen = listenAddress(tree["metrics"]?["listen"])
        return settings
    }

    private mutating func decodeServe(_ node: ConfigurationNode) -> ServeSettings {
        var serve = ServeSettings()
        serve.listen = listenAddress(node["listen"]) ?? serve.listen
        serve.requestsMax = integer(node["requests_max"]) ?? serve.requestsMax
        serve.attemptsMax = integer(node["attempts_max"]) ?? serve.attemptsMax
        serve.auditRetain = duration(node["audit_retain"]) ?? serve.auditRetain
        serve.replicas = (node["replicas"]?.elements ?? []).enumerated().compactMap {
            secret($1, path: "serve.replicas[\($0)]")
        }
        serve.replicaLagMax = duration(node["replica_lag_max"]) ?? serve.replicaLagMax
        serve.checkInterval = duration(node["check_interval"]) ?? serve.checkInterval
        serve.corsOrigins = (node["cors_origins"]?.elements ?? []).compactMap(\.text)
        return serve
    }

    private mutating func postgres(_ secret: Secret, _ node: ConfigurationNode) -> PostgresSettings
    {
        let text = secret.reveal()
        if text == "embedded" { return .embedded }
        let isURI = text.hasPrefix("postgres://") || text.hasPrefix("postgresql://")
        if !isURI, !text.contains("=") {
            let hint =
                Suggestion.nearest(to: text, among: ["embedded"])
                .map { "; did you mean \"\($0)\"?" } ?? ""
            // The value is not shown: it may hold a password.
            problems.append(
                ConfigurationProblem(
                    origin: node.origin,
                    path: "postgres",
                    message:
                        "is neither embedded nor a libpq URI such as postgres://user@host/db\(hint)"
                )
            )
        }
        return .uri(secret)
    }

    private func decodeLog(_ node: ConfigurationNode) -> LogSettings {
        var log = LogSettings()
        log.sync = choice(node["sync"]) ?? log.sync
        log.syncInterval = duration(node["sync_interval"]) ?? log.syncInterval
        log.segmentBytes = bytes(node["segment_bytes"]) ?? log.segmentBytes
        log.retain.age = duration(node["retain"]?["age"]) ?? log.retain.age
        log.retain.bytes = bytes(node["retain"]?["bytes"]) ?? log.retain.bytes
        log.onFull = choice(node["on_full"]) ?? log.onFull
        return log
    }

    private func decodeAggregator(_ node: ConfigurationNode) -> AggregatorSettings {
        var aggregator = AggregatorSettings()
        aggregator.flushInterval = duration(node["flush_interval"]) ?? aggregator.flushInterval
        aggregator.flushRecords = integer(node["flush_records"]) ?? aggregator.flushRecords
        aggregator.compactInterval =
            duration(node["compact_interval"]) ?? aggregator.compactInterval
        aggregator.keysMax = integer(node["keys_max"]) ?? aggregator.keysMax
        aggregator.retain = retain(node["retain"])
        return aggregator
    }

    private mutating func decodeGateway(_ node: ConfigurationNode) -> GatewaySettings {
        var gateway = GatewaySettings()
        gateway.listen = listenAddress(node["listen"]) ?? gateway.listen
        gateway.threads = integer(node["threads"]) ?? gateway.threads
        gateway.trustedProxies = values(node["trusted_proxies"], ValueParser.network)
        gateway.credentialKey = node["credential_key"].flatMap {
            secret($0, path: "gateway.credential_key")
        }
        gateway.clientIP = choice(node["client_ip"]) ?? gateway.clientIP
        gateway.recordsQuery = boolean(node["query"]) ?? gateway.recordsQuery
        if let limits = node["limits"] {
            gateway.limits.headerBytes = bytes(limits["header_bytes"]) ?? gateway.limits.headerBytes
            gateway.limits.bodyBytes = bytes(limits["body_bytes"]) ?? gateway.limits.bodyBytes
            gateway.limits.connections =
                integer(limits["connections"]) ?? gateway.limits.connections
        }
        if let timeouts = node["timeouts"] {
            gateway.timeouts.connect = duration(timeouts["connect"]) ?? gateway.timeouts.connect
            gateway.timeouts.upstream = duration(timeouts["upstream"]) ?? gateway.timeouts.upstream
            gateway.timeouts.request = duration(timeouts["request"]) ?? gateway.timeouts.request
            gateway.timeouts.idle = duration(timeouts["idle"]) ?? gateway.timeouts.idle
            gateway.timeouts.drain = duration(timeouts["drain"]) ?? gateway.timeouts.drain
        }
        gateway.apis = (node["apis"]?.elements ?? []).compactMap(decodeAPI)
        for (index, element) in (node["keys"]?.elements ?? []).enumerated() {
            if let key = decodeKey(element, index: index) { gateway.keys.append(key) }
        }
        return gateway
    }

    private func decodeAPI(_ node: ConfigurationNode) -> APISettings? {
        guard let id = node["id"]?.text, let org = node["org"]?.text,
            let path = values(node["listen_path"].map { [$0] } ?? [], ValueParser.listenPath).first
        else { return nil }
        var api = APISettings(
            id: id,
            org: org,
            listenPath: path,
            upstreams: values(node["upstreams"], ValueParser.upstream)
        )
        api.version = node["version"]?.text
        api.stripListenPath = boolean(node["strip_listen_path"]) ?? api.stripListenPath
        if node["auth"]?["mode"]?.text == "key" {
            api.auth = .key(header: node["auth"]?["header"]?.text ?? "X-Api-Key")
        }
        api.routes = values(node["routes"], ValueParser.route)
        api.tags = (node["tags"]?.elements ?? []).compactMap(decodeTag)
        return api
    }

    private func decodeTag(_ node: ConfigurationNode) -> TagSettings? {
        guard let name = node["name"]?.text else { return nil }
        var tag = TagSettings(name: name)
        tag.value = node["value"]?.text
        tag.header = node["header"]?.text
        tag.bytesMax = integer(node["bytes_max"]) ?? tag.bytesMax
        return tag
    }

    private mutating func decodeKey(_ node: ConfigurationNode, index: Int) -> KeySettings? {
        guard let id = node["id"]?.text, let secretNode = node["secret"],
            let secret = secret(secretNode, path: "gateway.keys[\(index)].secret")
        else { return nil }
        var key = KeySettings(id: id, secret: secret)
        key.org = node["org"]?.text
        key.application = node["application"]?.text
        key.developer = node["developer"]?.text
        key.plan = node["plan"]?.text
        return key
    }

    /// The clear text that `node` gives or points to.
    mutating func secret(_ node: ConfigurationNode, path: String) -> Secret? {
        guard let text = node.text, !text.isEmpty else { return nil }
        func problem(_ message: String) -> ConfigurationProblem {
            ConfigurationProblem(origin: node.origin, path: path, message: message)
        }
        if text.hasPrefix("env:") {
            let name = String(text.dropFirst(4))
            guard let value = environment[name], !value.isEmpty else {
                problems.append(problem("the environment variable \(name) is not set; set it"))
                return nil
            }
            return Secret(value)
        }
        if text.hasPrefix("file:") {
            let file = String(text.dropFirst(5))
            do {
                var value = try readFile(file)[...]
                while let last = value.last, last.isNewline { value = value.dropLast() }
                guard value.isEmpty else { return Secret(String(value)) }
                problems.append(problem("the file \(file) is empty; write the secret into it"))
            } catch {
                problems.append(problem("could not read the file \(file): \(error)"))
            }
            return nil
        }
        return Secret(text)
    }

    func choice<Choice: RawRepresentable<String>>(_ node: ConfigurationNode?) -> Choice? {
        node?.text.flatMap(Choice.init(rawValue:))
    }

    func duration(_ node: ConfigurationNode?) -> Duration? {
        node?.text.flatMap { try? ValueParser.duration($0) }
    }

    func bytes(_ node: ConfigurationNode?) -> Int? {
        node?.text.flatMap { try? ValueParser.bytes($0) }
    }

    func integer(_ node: ConfigurationNode?) -> Int? {
        node?.text.flatMap { try? ValueParser.integer($0, in: Int.min...Int.max) }
    }

    private func boolean(_ node: ConfigurationNode?) -> Bool? {
        node?.text.flatMap { try? ValueParser.boolean($0) }
    }

    private func listenAddress(_ node: ConfigurationNode?) -> ListenAddress? {
        node?.text.flatMap { try? ValueParser.listenAddress($0) }
    }

    func values<Value>(
        _ node: ConfigurationNode?,
        _ read: (String) throws(ValueError) -> Value
    ) -> [Value] {
        values(node?.elements ?? [], read)
    }

    private func values<Value>(
        _ nodes: [ConfigurationNode],
        _ read: (String) throws(ValueError) -> Value
    ) -> [Value] {
        nodes.compactMap { node in node.text.flatMap { try? read($0) } }
    }
}
