import SluiceConfiguration
import Testing

@Suite("Environment")
struct EnvironmentTests {
    @Test("variables override the file at every depth")
    func overrides() {
        let text = """
            node: file
            log: {sync: os}
            gateway:
              apis: [\(goodAPI)]
            """
        let loaded = load(
            text,
            environment: [
                "SLUICE_NODE": "variable",
                "SLUICE_LOG_SYNC_INTERVAL": "30ms",
                "SLUICE_LOG_RETAIN_AGE": "1d",
                "SLUICE_GATEWAY_LISTEN": "127.0.0.1:0",
                "SLUICE_GATEWAY_TRUSTED_PROXIES": "10.0.0.0/8, ::1",
                "SLUICE_GATEWAY_APIS_0_UPSTREAMS": "http://other:2",
                "SLUICE_GATEWAY_APIS_0_AUTH_MODE": "key",
                "SLUICE_GATEWAY_APIS_1": "{id: b, org: o, listen_path: /b, upstreams: [http://x]}",
                "SLUICE_GATEWAY_KEYS": "[{id: k, secret: 'env:K'}]",
                "SLUICE_REGION": "",
                "K": "s",
            ]
        )
        #expect(loaded.problems.isEmpty, "\(loaded.problems)")
        let settings = loaded.settings
        #expect(settings.node == "variable")
        #expect(settings.region == nil)
        #expect(settings.log.sync == .os)
        #expect(settings.log.syncInterval == .milliseconds(30))
        #expect(settings.log.retain.age == .seconds(86_400))
        #expect(settings.gateway.listen == ListenAddress(host: "127.0.0.1", port: 0))
        #expect(settings.gateway.trustedProxies.count == 2)
        #expect(settings.gateway.apis.map(\.id) == ["a", "b"])
        #expect(settings.gateway.apis[0].upstreams == [.http(host: "other", port: 2)])
        #expect(settings.gateway.apis[0].auth == .key(header: "X-Api-Key"))
        #expect(settings.gateway.keys.map(\.id) == ["k"])
    }

    @Test("Kafka and sinks can be given by variables alone, properties with underscores for dots")
    func kafka() {
        let loaded = load(
            nil,
            environment: [
                "SLUICE_TRANSPORT": "kafka",
                "SLUICE_KAFKA_BROKERS": "a:1, b",
                "SLUICE_KAFKA_CLIENT_SASL_PASSWORD": "env:P",
                "SLUICE_KAFKA_CLIENT_LINGER_MS": "7",
                "SLUICE_PUMP_SINKS_0": "{name: files, type: file, path: /x}",
                "SLUICE_PUMP_SINKS_0_COMPRESS": "gzip",
                "SLUICE_METRICS_LISTEN": ":9102",
                "P": "hunter2",
            ]
        )
        #expect(loaded.problems.isEmpty, "\(loaded.problems)")
        let kafka = loaded.settings.kafka
        #expect(kafka.brokers == ["a:1", "b:9092"])
        #expect(kafka.client["sasl.password"]?.reveal() == "hunter2")
        #expect(kafka.client["linger.ms"]?.reveal() == "7")
        var files = FileSinkSettings(path: "/x")
        files.compress = .gzip
        #expect(loaded.settings.pump.sinks.map(\.name) == ["central", "files"])
        #expect(loaded.settings.pump.sinks.last?.kind == .file(files))
        #expect(loaded.settings.metricsListen == ListenAddress(host: "0.0.0.0", port: 9102))
    }

    @Test(
        "wrong variables are problems that name them",
        arguments: [
            ("SLUICE_GATEWAY_LISTN", "x", "did you mean SLUICE_GATEWAY_LISTEN?"),
            ("SLUICE_GATEWAY_LISTEN", "x", "gateway.listen: \"x\" has no port"),
            ("SLUICE_GATEWAY_KEYS", "[", "is not valid YAML"),
            ("SLUICE_GATEWAY_APIS_3_ID", "x", "there are only 0 elements"),
            ("SLUICE_WHATEVER", "x", "there is no such setting"),
            ("SLUICE_LOG", "os", "stands where a map of keys is expected"),
            ("SLUICE_CONFIGG", "x", "did you mean SLUICE_CONFIG?"),
            ("SLUICE_TRANSPORT", "kafka", "kafka.brokers: is missing"),
            ("SLUICE_KAFKA_CLIENT_ACKS", "1", "\"acks\" is set by Sluice itself to all"),
            ("SLUICE_KAFKA_BROKERS", "a:1,b:x", "kafka.brokers[1]: \"b:x\" has no port"),
        ]
    )
    func mistakes(name: String, value: String, expected: String) {
        let problems = load(nil, environment: [name: value]).problems
        #expect(problems.count == 1)
        #expect(problems.first?.description.hasPrefix("\(name): ") == true)
        #expect(problems.first?.description.contains(expected) == true, "\(problems)")
    }

    @Test("the documented variables that are no keys are left alone")
    func reserved() {
        let names = ["SLUICE_CONFIG", "SLUICE_LOG_LEVEL", "SLUICE_URL", "SLUICE_TOKEN"]
        let environment = Dictionary(uniqueKeysWithValues: names.map { ($0, "x") })
        #expect(load(nil, environment: environment).problems.isEmpty)
    }
}
