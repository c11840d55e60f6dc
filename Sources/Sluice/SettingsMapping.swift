import Aggregator
import EventLog
import Gateway
import Kafka
import Query
import SluiceConfiguration

/// Settings become the configurations of the modules; nothing is decided here.
extension Settings {
    /// How lanes and imported logs are written.
    func logConfiguration() -> LogConfiguration {
        var configuration = LogConfiguration()
        configuration.sync =
            switch log.sync {
            case .strict: .strict
            case .interval: .interval
            case .os: .os
            }
        configuration.syncInterval = log.syncInterval
        configuration.segmentBytes = log.segmentBytes
        configuration.retention = retentionPolicy()
        configuration.onFull =
            switch log.onFull {
            case .block: .block
            case .dropOldestShipped: .dropOldestShipped
            case .dropNew: .dropNew
            }
        configuration.consumers = consumers
        configuration.node = node
        configuration.region = region ?? ""
        configuration.orgs = Array(Set(gateway.apis.map(\.org))).sorted()
        return configuration
    }

    /// What is kept of consumed segments.
    func retentionPolicy() -> RetentionPolicy {
        RetentionPolicy(age: log.retain.age, bytes: UInt64(log.retain.bytes))
    }

    /// The proxy's configuration.
    func gatewayConfiguration(
        credentialKey: [UInt8],
        demoUpstream: UpstreamAddress?
    ) -> GatewayConfiguration {
        var configuration = GatewayConfiguration()
        configuration.host = gateway.listen.host
        configuration.port = gateway.listen.port
        configuration.eventLoops = gateway.threads
        configuration.node = node
        configuration.region = region ?? ""
        configuration.credentialKey = credentialKey
        configuration.trustedProxies = gateway.trustedProxies.compactMap {
            AddressRange(address: $0.address, bits: $0.bits)
        }
        configuration.clientAddressPolicy =
            switch gateway.clientIP {
            case .full: .full
            case .truncated: .truncated
            case .off: .off
            }
        configuration.recordsQuery = gateway.recordsQuery
        configuration.limits.headBytesMax = gateway.limits.headerBytes
        configuration.limits.bodyBytesMax = gateway.limits.bodyBytes
        configuration.limits.clientConnectionsMax = gateway.limits.connections
        configuration.timeouts.connect = gateway.timeouts.connect
        configuration.timeouts.firstByte = gateway.timeouts.upstream
        configuration.timeouts.betweenBytes = gateway.timeouts.upstream
        configuration.timeouts.request = gateway.timeouts.request
        configuration.timeouts.idle = gateway.timeouts.idle
        configuration.timeouts.drain = gateway.timeouts.drain
        configuration.apis = gateway.apis.map { $0.configuration(demoUpstream) }
        configuration.keys = gateway.keys.map(\.configuration)
        return configuration
    }

    /// Whether some API uses the built-in upstream.
    var needsDemoUpstream: Bool {
        gateway.apis.contains { $0.upstreams.contains(.builtInDemo) }
    }

    /// The fold's configuration.
    func aggregatorConfiguration(postgres: String, data: String) -> AggregatorConfiguration {
        var configuration = AggregatorConfiguration(postgres: postgres, data: data)
        configuration.flushInterval = aggregator.flushInterval
        configuration.flushRecordsMax = aggregator.flushRecords
        configuration.compactionInterval = aggregator.compactInterval
        configuration.keysPerBucketMax = aggregator.keysMax
        configuration.recordsRetain = recordsRetain
        return configuration
    }

    /// Where the fold gets its records.
    func aggregatorSource(_ logs: LogDirectory) -> AggregatorSource {
        transport == .kafka ? .kafka(kafkaSource) : .local(logs)
    }

    /// The topic that the pumps fill.
    var kafkaSource: KafkaSourceConfiguration {
        var source = KafkaSourceConfiguration(kafkaConfiguration())
        source.topic = kafka.topic
        source.group = kafka.group
        source.instanceID = kafka.instance
        source.assignor =
            switch kafka.assignor {
            case .cooperativeSticky: .cooperativeSticky
            case .range: .range
            }
        return source
    }

    /// The connection to Kafka; the only place where the values of its properties are revealed.
    func kafkaConfiguration() -> KafkaConfiguration {
        var configuration = KafkaConfiguration(brokers: kafka.brokers)
        configuration.client = kafka.client.mapValues { $0.reveal() }
        if let name = configuration.client.removeValue(forKey: "client.id") {
            configuration.clientID = name
        }
        return configuration
    }

    /// The query API's configuration.
    func queryConfiguration(postgres: String) -> QueryConfiguration {
        var configuration = QueryConfiguration(postgresURI: postgres)
        configuration.host = serve.listen.host
        configuration.port = serve.listen.port
        configuration.requestsPerSecondMax = serve.requestsMax
        configuration.attemptsPerSecondMax = serve.attemptsMax
        configuration.auditRetention = serve.auditRetain
        configuration.corsOrigins = serve.corsOrigins
        configuration.replicaURIs = serve.replicas.map { $0.reveal() }
        configuration.replicaLagMax = serve.replicaLagMax
        configuration.meters = meters.compactMap(\.meter)
        configuration.quotas = meterQuotas
        return configuration
    }
}

extension APISettings {
    /// The same for the gateway; `demo` stands in for the built-in upstream.
    fileprivate func configuration(_ demo: UpstreamAddress?) -> GatewayAPI {
        let addresses = upstreams.compactMap { upstream -> UpstreamAddress? in
            switch upstream {
            case .http(let host, let port): UpstreamAddress(host: host, port: port)
            case .builtInDemo: demo
            }
        }
        var api = GatewayAPI(id: id, org: org, listenPath: listenPath, upstreams: addresses)
        api.version = version ?? ""
        api.stripsListenPath = stripListenPath
        if case .key(let header) = auth { api.authentication = .key(header: header) }
        api.routes = routes.map { RouteTemplate(method: $0.method, path: $0.template) }
        api.tags = tags.compactMap(\.configuration)
        return api
    }
}

extension TagSettings {
    /// The same for the gateway; nil without a source, which `check` has refused.
    fileprivate var configuration: GatewayTag? {
        if let value { return GatewayTag(name: name, source: .fixed(value)) }
        return header.map { GatewayTag(name: name, source: .header($0, bytesMax: bytesMax)) }
    }
}

extension KeySettings {
    /// The same for the gateway.
    fileprivate var configuration: GatewayKey {
        var key = GatewayKey(id: id, credential: .secret(secret.reveal()))
        key.org = org
        key.application = application ?? ""
        key.developer = developer ?? ""
        key.plan = plan ?? ""
        return key
    }
}
