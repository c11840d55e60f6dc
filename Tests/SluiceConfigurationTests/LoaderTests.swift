import Rollups
import SluiceConfiguration
import Testing

/// Loads `text` in surroundings of its own.
func load(
    _ text: String?,
    environment: [String: String] = [:],
    files: [String: String] = [:],
    kafkaRefusal: @escaping (String, String) -> String? = { _, _ in nil }
) -> LoadedConfiguration {
    struct NoSuchFile: Error, CustomStringConvertible {
        let description = "no such file"
    }
    return ConfigurationLoader(
        environment: environment,
        hostName: "host-1",
        kafkaRefusal: kafkaRefusal,
        readFile: { path in
            guard let content = files[path] else { throw NoSuchFile() }
            return content
        }
    ).load(text, name: "sluice.yaml")
}

/// An API that is right in every way, to stand in texts about something else.
let goodAPI = "{id: a, org: o, listen_path: /a/, upstreams: [\"http://h:1\"]}"

@Suite("Loader")
struct LoaderTests {
    @Test("no file gives the defaults and the demo")
    func noFile() {
        let loaded = load(nil)
        #expect(loaded.problems.isEmpty)
        #expect(loaded.settings.node == "host-1")
        #expect(loaded.settings.gateway.apis.map(\.id) == ["orders", "catalog", "payments"])
        #expect(loaded.settings.gateway.apis[0].upstreams == [.builtInDemo])
        var plain = loaded.settings
        plain.node = Settings().node
        plain.gateway.apis = []
        plain.gateway.keys = []
        #expect(plain == Settings())
    }

    @Test("an empty file and a file of comments give the defaults without the demo")
    func emptyFile() {
        for text in ["", "\n\n", "# nothing\n", "---\n", "~", "gateway:\n"] {
            let loaded = load(text)
            #expect(loaded.problems.isEmpty, "\(loaded.problems)")
            #expect(loaded.settings.gateway.apis.isEmpty)
            #expect(loaded.notes.map(\.path) == ["gateway.apis"])
        }
    }

    @Test("every key arrives in the settings")
    func everyKey() {
        let text = """
            node: gw-eu-1
            region: eu-west
            data: /var/lib/sluice
            postgres: postgres://me:pw@db/sluice
            transport: kafka
            kafka:
              brokers: [10.0.0.1:9092, kafka-2, "[::1]:9093"]
              topic: api.records
              partitions: 24
              replication: 3
              group: counters
              instance: counter-1
              assignor: range
              client: { security.protocol: SASL_SSL, sasl.password: "env:KP", linger.ms: 5,
                        ssl.key.password: "file:/run/ssl" }
            pump:
              sinks:
                - { name: trunk, type: kafka, in_flight: 3,
                    batch: { records: 10, bytes: 2KiB, wait: 5ms } }
                - { name: archive, type: file, path: ./archive, format: ndjson, compress: gzip,
                    rotate: { bytes: 1MiB, age: 2h }, retry: { delay_min: 1s, delay_max: 1m } }
            metrics: { listen: 127.0.0.1:9102 }
            log: { sync: strict, sync_interval: 20ms, segment_bytes: 64MiB,
                   retain: { age: 3d, bytes: 10GiB }, on_full: drop_new }
            gateway:
              listen: "[::1]:9999"
              threads: 3
              trusted_proxies: [10.0.0.0/8, "::1"]
              credential_key: file:/run/key
              client_ip: truncated
              query: true
              limits: { header_bytes: 16KiB, body_bytes: 1MiB, connections: 7 }
              timeouts: { connect: 1s, upstream: 2s, request: 3s, idle: 4s, drain: 5s }
              apis:
                - id: orders
                  org: acme
                  version: v1
                  listen_path: /orders
                  strip_listen_path: true
                  upstreams: [http://127.0.0.1:9000, "http://[::1]:81/", http://plain]
                  auth: { mode: key, header: X-Key }
                  routes: ["GET /orders/{id}", "/orders/*"]
              keys:
                - { id: k1, secret: "env:K1", org: acme, application: shop,
                    developer: d, plan: gold }
            aggregator: { flush_interval: 1s, flush_records: 5, compact_interval: 9s, keys_max: 11,
                          retain: { 1m: 7d, 15m: 90d, 1d: 1095d } }
            rollups:
              - { name: by-tag, dimensions: [api, org, tag.tenant], retain: { 1d: 2000d } }
              - { name: days, dimensions: [org, key], tiers: [1d, 1h] }
            serve: { listen: ":8" }
            """
        let loaded = load(
            text,
            environment: ["K1": "hunter2", "KP": "hunter3"],
            files: ["/run/key": "0123456789abcdef\n", "/run/ssl": "hunter4\n"]
        )
        #expect(loaded.problems.isEmpty, "\(loaded.problems)")
        var expected = Settings()
        expected.node = "gw-eu-1"
        expected.region = "eu-west"
        expected.data = "/var/lib/sluice"
        expected.postgres = .uri(Secret("postgres://me:pw@db/sluice"))
        expected.transport = .kafka
        expected.kafka.brokers = ["10.0.0.1:9092", "kafka-2:9092", "[::1]:9093"]
        expected.kafka.topic = "api.records"
        expected.kafka.partitions = 24
        expected.kafka.replication = 3
        expected.kafka.group = "counters"
        expected.kafka.instance = "counter-1"
        expected.kafka.assignor = .range
        expected.kafka.client = [
            "security.protocol": Secret("SASL_SSL"), "sasl.password": Secret("hunter3"),
            "linger.ms": Secret("5"), "ssl.key.password": Secret("hunter4"),
        ]
        var trunk = SinkSettings(name: "trunk", kind: .kafka)
        trunk.inFlight = 3
        trunk.batch.records = 10
        trunk.batch.bytes = 2_048
        trunk.batch.wait = .milliseconds(5)
        var files = FileSinkSettings(path: "./archive")
        files.compress = .gzip
        files.rotateBytes = 1 << 20
        files.rotateAge = .seconds(7_200)
        var archive = SinkSettings(name: "archive", kind: .file(files))
        archive.retryDelayMin = .seconds(1)
        archive.retryDelayMax = .seconds(60)
        expected.pump.sinks = [trunk, archive]
        expected.metricsListen = ListenAddress(host: "127.0.0.1", port: 9102)
        expected.log.sync = .strict
        expected.log.syncInterval = .milliseconds(20)
        expected.log.segmentBytes = 64 << 20
        expected.log.retain.age = .seconds(3 * 86_400)
        expected.log.retain.bytes = 10 << 30
        expected.log.onFull = .dropNew
        expected.gateway.listen = ListenAddress(host: "::1", port: 9999)
        expected.gateway.threads = 3
        expected.gateway.trustedProxies = [
            Network(address: [10, 0, 0, 0], bits: 8, description: "10.0.0.0/8"),
            Network(
                address: [UInt8](repeating: 0, count: 15) + [1],
                bits: 128,
                description: "::1"
            ),
        ]
        expected.gateway.credentialKey = Secret("0123456789abcdef")
        expected.gateway.clientIP = .truncated
        expected.gateway.recordsQuery = true
        expected.gateway.limits.headerBytes = 16 << 10
        expected.gateway.limits.bodyBytes = 1 << 20
        expected.gateway.limits.connections = 7
        expected.gateway.timeouts.connect = .seconds(1)
        expected.gateway.timeouts.upstream = .seconds(2)
        expected.gateway.timeouts.request = .seconds(3)
        expected.gateway.timeouts.idle = .seconds(4)
        expected.gateway.timeouts.drain = .seconds(5)
        var api = APISettings(
            id: "orders",
            org: "acme",
            listenPath: "/orders/",
            upstreams: [
                .http(host: "127.0.0.1", port: 9000), .http(host: "::1", port: 81),
                .http(host: "plain", port: 80),
            ]
        )
        api.version = "v1"
        api.stripListenPath = true
        api.auth = .key(header: "X-Key")
        api.routes = [
            RouteSettings(method: "GET", template: "/orders/{id}"),
            RouteSettings(method: nil, template: "/orders/*"),
        ]
        expected.gateway.apis = [api]
        var key = KeySettings(id: "k1", secret: Secret("hunter2"))
        key.org = "acme"
        key.application = "shop"
        key.developer = "d"
        key.plan = "gold"
        expected.gateway.keys = [key]
        expected.aggregator.flushInterval = .seconds(1)
        expected.aggregator.flushRecords = 5
        expected.aggregator.compactInterval = .seconds(9)
        expected.aggregator.keysMax = 11
        expected.aggregator.retain = [
            .minute: .seconds(7 * 86_400), .quarterHour: .seconds(90 * 86_400),
            .day: .seconds(1_095 * 86_400),
        ]
        var tagged = RollupSettings(
            RollupDefinition(user: "by-tag", dimensions: [.org, .api, .tag("tenant")])
        )
        tagged.retain = [.day: .seconds(2_000 * 86_400)]
        let days = RollupDefinition(user: "days", dimensions: [.org, .key], tiers: [.hour, .day])
        expected.rollups = [tagged, RollupSettings(days)]
        #expect(days.tiers == [.hour, .day] && !days.countsKeys)
        expected.serve.listen = ListenAddress(host: "0.0.0.0", port: 8)
        #expect(loaded.settings == expected)
    }

    @Test("a broken file lists every problem with its place, in the order of the text")
    func everyProblem() {
        let text = """
            nod: x
            transport: kafka
            log: { sync: strickt, sync_interval: 10, segment_bytes: 5, retian: {age: 1y} }
            gateway:
              listen: 8080
              listen: 127.0.0.1:80
              trusted_proxies: [10.0.0.0/33]
              apis:
                - id: a
                  listen_path: a
                  upstreams: [https://x, ftp://y, http://z/p]
                  auth: { mode: keyy }
                  routes: ["get /a", "/a/{x}/{x}", "/a/x*"]
                - {id: b, org: o, listen_path: /a/, upstreams: []}
                - {id: b, org: o, listen_path: /a/, upstreams: ["http://h:1"], rate_limit: {}}
              keys:
                - id: k
                - {id: k, secret: "env:NOPE"}
            serve: []
            """
        let found = load(text).problems.map(\.description)
        let expected = [
            "1:1: unknown key \"nod\"; did you mean \"node\"?",
            "2:12: kafka.brokers: is missing: give at least one broker, as in",
            "3:14: log.sync: \"strickt\" is not one of strict, interval, os; d",
            "3:38: log.sync_interval: \"10\" has no unit; write a whole number",
            "3:57: log.segment_bytes: \"5\" is out of range; 1048576 to 429496",
            "3:60: log: unknown key \"retian\"; did you mean \"retain\"?",
            "5:3: \"listen\" is given twice in one map; keep one of them",
            "7:21: gateway.trusted_proxies[0]: \"10.0.0.0/33\": the number aft",
            "9:7: gateway.apis[0]: the key \"org\" is missing: organisation th",
            "10:20: gateway.apis[0].listen_path: \"a\" does not begin with a s",
            "11:19: gateway.apis[0].upstreams[0]: \"https://x\": https upstrea",
            "11:30: gateway.apis[0].upstreams[1]: \"ftp://y\" is not an http U",
            "11:39: gateway.apis[0].upstreams[2]: \"http://z/p\" has a path, q",
            "12:21: gateway.apis[0].auth.mode: \"keyy\" is not one of none, ke",
            "13:16: gateway.apis[0].routes[0]: \"get\" is not a method in capi",
            "13:26: gateway.apis[0].routes[1]: \"/a/{x}/{x}\" has {x} twice; g",
            "13:40: gateway.apis[0].routes[2]: \"/a/x*\": \"x*\" mixes text with",
            "14:52: gateway.apis[1].upstreams: is empty; give at least one ht",
            "15:12: gateway.apis[2].id: \"b\" is also the id of gateway.apis[1",
            "15:36: gateway.apis[2].listen_path: \"/a/\" is also the listen pa",
            "15:68: gateway.apis[2].rate_limit: is not supported by this vers",
            "17:7: gateway.keys[0]: the key \"secret\" is missing: what the ca",
            "18:12: gateway.keys[1].id: \"k\" is also the id of gateway.keys[0",
            "18:23: gateway.keys[1].secret: the environment variable NOPE is ",
            "19:8: serve: a list stands where a map of keys is expected",
        ]
        #expect(found.count == expected.count)
        for (problem, start) in zip(found, expected) {
            #expect(problem.hasPrefix("sluice.yaml:" + start), "\(problem)")
        }
    }

    @Test(
        "single mistakes are named",
        arguments: [
            ("a: [", "is not valid YAML"),
            ("\t- x", "is not valid YAML"),
            ("just text", "stands where a map of keys is expected"),
            ("- a\n- b", "a list stands where a map of keys is expected"),
            ("a: 1\n---\nb: 2", "found another document"),
            ("? [x]\n: 1", "a key must be text"),
            ("node: ''", "is not a name"),
            ("node: [a]", "a list stands where a name is expected"),
            ("postgres: embeded", "did you mean \"embedded\"?"),
            ("postgres: hunter2", "is neither embedded nor a libpq URI"),
            ("rollups: [{name: X, dimensions: [org]}]", "\"X\" is no name of a rollup"),
            ("rollups: [{name: api, dimensions: [org]}]", "\"api\" is a built-in rollup"),
            ("rollups: [{name: records, dimensions: [org]}]", "means raw records"),
            ("rollups: [{name: x, dimensions: []}]", "give 1 to 16 dimensions"),
            ("rollups: [{name: x, dimensions: [org, or]}]", "\"or\" is no dimension"),
            ("rollups: [{name: x, dimensions: [\"tag.a b\"]}]", "is no dimension"),
            ("rollups: [{name: x, dimensions: [org, org]}]", "is named twice"),
            ("rollups: [{name: x, dimensions: [org], tiers: [1m, 5m]}]", "\"5m\" is not one of"),
            ("rollups: [{name: x, dimensions: [org], tiers: [1d, 1d]}]", "is named twice"),
            (
                "rollups: [{name: x, dimensions: [org]}, {name: x, dimensions: [api]}]",
                "is also the name of rollups[0]"
            ),
            (
                "rollups: [{name: \(String(repeating: "x", count: 41)), dimensions: [org]}]",
                "is longer than 40 bytes"
            ),
            (
                "rollups: [{name: x, dimensions: [org], tiers: [1d], retain: {1m: 7d}}]",
                "has no tier 1m"
            ),
            ("aggregator: {retain: {1m: 7d, 15m: 3d}}", "are kept longer than those of 15m"),
            ("aggregator: {retain: {1m: 7}}", "has no unit"),
            ("kafka: {client: {acks: 1}}", "\"acks\" is set by Sluice itself"),
            ("gateway: {apis: [{id: __x, org: o, listen_path: /, upstreams: []}]}", "underscores"),
            ("gateway: {credential_key: short}", "shorter than 16 bytes"),
            (
                "gateway: {credential_key: file:/nope}",
                "could not read the file /nope: no such file"
            ),
            ("gateway: {trusted_proxies: 10.0.0.0/8}", "put it in brackets"),
            ("gateway: {threads: -1}", "out of range"),
            ("gateway: {threads: many}", "is not a whole number"),
            ("gateway: {query: maybe}", "neither true nor false"),
            ("gateway: {listen: \"::1:80\"}", "in brackets"),
            ("gateway: {listen: \"h:70000\"}", "no port from 0 to 65535"),
            ("gateway: {listen: \"a b:80\"}", "is not a host name"),
            ("gateway: {timeouts: {idle: 9w}}", "\"w\" is not a unit of time"),
            ("gateway: {timeouts: {idle: 99999999999999999d}}", "longer than 292 years"),
            ("gateway: {limits: {body_bytes: 1PB}}", "\"PB\" is not a unit of size"),
            ("serve: {listen: \"127.0.0.1:8080\"}", "is also where the gateway listens"),
            ("gateway: {keys: [{id: a, secret: x}, {id: b, secret: x}]}", "give each key its own"),
            ("gateway: {keys: [{id: a, secret: }]}", "has no value"),
        ]
    )
    func singleMistakes(text: String, expected: String) {
        let problems = load(text).problems.map(\.description)
        #expect(problems.contains { $0.contains(expected) }, "\(problems)")
    }

    @Test("a duplicate route is a problem, an unreachable one a note")
    func routes() {
        let text = """
            gateway:
              apis:
                - id: a
                  org: o
                  listen_path: /a/
                  upstreams: ["http://h:1"]
                  routes: ["GET /a/{x}", "GET /a/{y}", "GET /b", "POST /a"]
            """
        let loaded = load(text)
        #expect(loaded.problems.map(\.path) == ["gateway.apis[0].routes[1]"])
        #expect(loaded.notes.map(\.path) == ["gateway.apis[0].routes[2]"])
    }

    @Test("overlapping listen paths and keys that open nothing are notes")
    func notes() {
        let text = """
            gateway:
              apis:
                - \(goodAPI)
                - {id: b, org: o, listen_path: /, upstreams: ["http://h:1"], auth: {mode: key}}
              keys: [{id: k, secret: s, org: nobody}]
            """
        let loaded = load(text)
        #expect(loaded.problems.isEmpty)
        let expected = ["overlaps", "has none for it", "opens nothing"]
        #expect(loaded.notes.count == expected.count)
        for (note, text) in zip(loaded.notes, expected) { #expect(note.message.contains(text)) }
    }

    @Test("no problem shows a secret")
    func masking() {
        let text = """
            postgres: hunter2
            gateway:
              credential_key: hunter2
              keys: [{id: a, secret: hunter2}, {id: b, secret: hunter2}]
            """
        let loaded = load(text, environment: ["SLUICE_POSTGRES": "hunter2"])
        #expect(loaded.problems.count == 3)
        #expect(!"\(loaded)".contains("hunter2"))
    }
}
