import SluiceConfiguration
import Testing

/// `transport`, `kafka` and `pump`: what leaves the machine.
@Suite("Delivery")
struct DeliveryTests {
    @Test("transport kafka implies the sink central, and who holds back retention")
    func implied() {
        let text = "transport: kafka\nkafka: {brokers: [b:1]}\n"
        let settings = load(text).settings
        #expect(settings.pump.sinks == [SinkSettings(name: "central", kind: .kafka)])
        #expect(settings.consumers == ["sink-central"])
        #expect(settings.usesKafka)

        let named = load(text + "pump: {sinks: [{name: trunk, type: kafka}]}").settings
        #expect(named.pump.sinks.map(\.name) == ["trunk"])
        #expect(named.consumers == ["sink-trunk"])

        let both = load("kafka: {brokers: [b]}\npump: {sinks: [{name: t, type: kafka}]}").settings
        #expect(both.transport == .local)
        #expect(both.consumers == ["aggregator", "sink-t"])

        let plain = load("node: n").settings
        #expect(plain.consumers == ["aggregator"])
        #expect(!plain.usesKafka)
    }

    @Test("a batch waits longer where each is compressed on its own")
    func waits() {
        var files = FileSinkSettings(path: "x")
        #expect(SinkSettings(name: "k", kind: .kafka).batchWait == .milliseconds(50))
        #expect(SinkSettings(name: "f", kind: .file(files)).batchWait == .milliseconds(50))
        files.compress = .gzip
        var gzip = SinkSettings(name: "g", kind: .file(files))
        #expect(gzip.batchWait == .seconds(1))
        gzip.batch.wait = .milliseconds(5)
        #expect(gzip.batchWait == .milliseconds(5))
    }

    @Test("every problem of both sections is listed with its line")
    func everyProblem() {
        let text = """
            transport: kafka
            kafka:
              brokers: ["http://a", "b:0", c:9092, "d,e"]
              topic: "api records"
              partitions: 0
              assignor: sticky
              client:
                acks: "1"
                enable.idempotence: false
                message.timeout.ms: 300000
                bootstrap.servers: elsewhere
                group.id: mine
                sasl.password: env:NOPE
                compression.type: zst
                linger.ms:
              grup: x
            pump:
              sinks:
                - { name: central, type: kafka, filter: [x], sample: 0.1, path: x }
                - { name: central, type: file }
                - { name: a b, type: file, path: x, filter: [y], compress: zip }
                - { name: second, type: kafka }
                - { name: d, type: file, path: x, retry: { delay_min: 2s, delay_max: 1s } }
                - { name: e, type: s3 }
                - { type: file, path: y, format: parquet, batch: { records: 0, wait: 5 } }
            metrics: { listen: 127.0.0.1:8090 }
            """
        let found = load(text) { name, value in
            name == "compression.type" ? "Invalid value \"\(value)\"" : nil
        }.problems.map(\.description)
        let expected = [
            "3:13: kafka.brokers[0]: \"http://a\" is not the address of one broker",
            "3:25: kafka.brokers[1]: \"b:0\" has no usable host and port",
            "3:40: kafka.brokers[3]: \"d,e\" is not the address of one broker",
            "4:10: kafka.topic: \"api records\" is not the name of a topic",
            "5:15: kafka.partitions: 0 is out of range",
            "6:13: kafka.assignor: \"sticky\" is not one of cooperative-sticky, range",
            "8:5: kafka.client: \"acks\" is set by Sluice itself to all, because other values",
            "9:5: kafka.client: \"enable.idempotence\" is set by Sluice itself to true",
            "10:5: kafka.client: \"message.timeout.ms\" is set by Sluice itself to 0",
            "11:5: kafka.client: \"bootstrap.servers\" is what kafka.brokers says; remove it",
            "12:5: kafka.client: \"group.id\" is what kafka.group says; remove it",
            "13:20: kafka.client.sasl.password: the environment variable NOPE is not set",
            "14:5: kafka.client: \"compression.type\" is not taken by librdkafka: Invalid value "
                + "\"zst\"",
            "15:15: kafka.client.linger.ms: has no value",
            "16:3: kafka: unknown key \"grup\"; did you mean \"group\"?",
            "19:45: pump.sinks[0].filter: records on their way to the aggregator must all arrive",
            "19:58: pump.sinks[0].sample: records on their way to the aggregator must all arrive",
            "19:69: pump.sinks[0].path: belongs to sinks of type file",
            "20:7: pump.sinks[1]: the key \"path\" is missing",
            "20:15: pump.sinks[1].name: \"central\" is also the name of pump.sinks[0]",
            "21:15: pump.sinks[2].name: \"a b\" is not a name of up to 64 letters",
            "21:49: pump.sinks[2].filter: is not supported by this version",
            "21:64: pump.sinks[2].compress: \"zip\" is not one of none, gzip",
            "22:7: pump.sinks[3]: pump.sinks[0] already ships to kafka.topic",
            "23:36: pump.sinks[4].path: is also the directory of pump.sinks[2]",
            "23:74: pump.sinks[4].retry.delay_max: is less than delay_min",
            "24:24: pump.sinks[5].type: \"s3\" is not one of kafka, file",
            "25:7: pump.sinks[6]: the key \"name\" is missing",
            "25:38: pump.sinks[6].format: \"parquet\" is not one of ndjson",
            "25:65: pump.sinks[6].batch.records: 0 is out of range",
            "25:74: pump.sinks[6].batch.wait: \"5\" has no unit",
            "26:20: metrics.listen: 127.0.0.1:8090 is also where the query API listens",
        ]
        #expect(found.count == expected.count)
        for (problem, start) in zip(found, expected) {
            #expect(problem.hasPrefix("sluice.yaml:" + start), "\(problem)")
        }
    }

    @Test(
        "single mistakes are named",
        arguments: [
            ("transport: kafka", "1:12: kafka.brokers: is missing"),
            ("transport: kafka\nkafka: {brokers: []}", "2:18: kafka.brokers: is missing"),
            ("pump: {sinks: [{name: c, type: kafka}]}", "kafka.brokers: is missing"),
            ("transport: kafka\nkafka: {brokers: b:1}", "put it in brackets: [b:1]"),
            (
                "transport: kafka\nkafka: {brokers: [b]}\n"
                    + "pump: {sinks: [{name: central, type: file, path: x}]}",
                "is the sink that transport: kafka implies"
            ),
            ("kafka: {client: [a]}", "is not a map of librdkafka properties"),
            ("kafka: {topic: ..}", "is not the name of a topic"),
            ("pump: {sink: []}", "did you mean \"sinks\"?"),
            ("pump: {sinks: {}}", "stands where a list is expected"),
        ]
    )
    func singleMistakes(text: String, expected: String) {
        let problems = load(text).problems.map(\.description)
        #expect(problems.count == 1, "\(problems)")
        #expect(problems.first?.contains(expected) == true, "\(problems)")
    }

    @Test("a kafka section that nothing uses is a note")
    func unused() {
        let loaded = load("kafka: {brokers: [b]}\ngateway: {apis: [\(goodAPI)]}")
        #expect(loaded.problems.isEmpty)
        #expect(loaded.notes.map(\.path) == ["kafka"])
    }

    @Test("no value of a property is ever shown")
    func masking() {
        let texts = [
            "kafka: {client: hunter2}",
            "kafka: {client: {sasl.password: hunter2, linger.ms: env:P}}",
            "kafka: {client: {sasl.password: [hunter2]}}",
            "kafka: {client: {acks: hunter2}}",
        ]
        for text in texts {
            let loaded = load(text, environment: ["P": "hunter2"]) { _, value in
                "Invalid value \"\(value)\""
            }
            #expect(!loaded.problems.isEmpty)
            var dumped = ""
            dump(loaded, to: &dumped)
            #expect(!"\(loaded)".contains("hunter2"), "\(text)")
            #expect(!dumped.contains("hunter2"), "\(text)")
        }
        let variable = load(nil, environment: ["SLUICE_KAFKA_CLIENT": "hunter2"])
        #expect(!variable.problems.isEmpty && !"\(variable)".contains("hunter2"))
    }
}
