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
            ("SLUICE_TRANSPORT", "kafka", "not supported by this version"),
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
