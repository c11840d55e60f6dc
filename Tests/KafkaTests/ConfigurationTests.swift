import Kafka
import KafkaTesting
import SluiceConfiguration
import Testing

/// Properties, secrets, errors and the admin client.
@Suite("Kafka configuration and admin client", .timeLimit(.minutes(3)))
struct ConfigurationTests {
    @Test("the configuration file refuses every fixed property, and librdkafka takes them")
    func fixed() {
        for (name, value) in KafkaConfiguration.fixed {
            #expect(KafkaProperties.refusal(of: name) != nil, "\(name)")
            #expect(KafkaConfiguration.refusal(of: name, value) == nil, "\(name)")
        }
    }

    @Test("fixed properties win over others")
    func fixedWin() throws {
        let cluster = try MockCluster()
        try cluster.createTopic("records", partitions: 1)
        var configuration = cluster.configuration
        configuration.client = ["acks": "0", "message.timeout.ms": "1", "enable.idempotence": "no"]
        let producer = try KafkaProducer(configuration)
        try cluster.setRoundTripTime(200, broker: 1)
        try produce(producer, partitions: 1, count: 1)
        try producer.flush(timeout: .seconds(20)) { delivery in
            #expect(delivery.error == nil && delivery.offset == 0)
        }
    }

    @Test("a property that librdkafka would not take is told with the reason, not the secret")
    func refusal() {
        #expect(KafkaConfiguration.refusal(of: "compression.codec", "zstd") == nil)
        #expect(KafkaConfiguration.refusal(of: "compression.codec", "zip")?.contains("zip") == true)
        #expect(KafkaConfiguration.refusal(of: "no.such", "1")?.contains("no.such") == true)
        #expect(KafkaConfiguration.refusal(of: "linger.ms", "soon")?.isEmpty == false)
        #expect(KafkaConfiguration.refusal(of: "sasl.password", "hunter2") == nil)
        #expect(KafkaConfiguration.refusal(of: "sasl.password", "a\0b") != nil)
        let told = KafkaConfiguration.refusal(of: "some.password", "hunter2")
        #expect(told?.contains("some.password") == true && told?.contains("hunter2") == false)
    }

    @Test("no secret shows in a description, a dump or an error")
    func secrets() {
        var configuration = KafkaConfiguration(brokers: ["127.0.0.1:1"])
        configuration.client = [
            "security.protocol": "ssl", "ssl.key.pem": "hunter2", "sasl.username": "user",
            "ssl.key.password": "hunter2", "sasl.password": "hunter2",
        ]
        var dumped = ""
        dump(configuration, to: &dumped)
        let texts = [
            "\(configuration)", String(reflecting: configuration), dumped,
            String(describing: Optional(configuration)),
        ]
        for text in texts {
            #expect(!text.contains("hunter2"))
            #expect(text.contains("sasl.username=user") || text == dumped)
        }
        let error = #expect(throws: KafkaError.self) { try KafkaProducer(configuration) }
        #expect(error?.call == "rd_kafka_new", "\(error?.message ?? "")")
        #expect(error.map { "\($0)".contains("hunter2") } == false)
        configuration.client["ssl.key.pem"] = nil
        configuration.client["sasl.password"] = "hunter2\0"
        let other = #expect(throws: KafkaError.self) { try KafkaProducer(configuration) }
        #expect(other.map { "\($0)".contains("hunter2") } == false)
    }

    @Test("codes are told apart: retriable, rejected, timed out, none of it")
    func classification() throws {
        let cluster = try MockCluster()
        try cluster.createTopic("records", partitions: 1)
        let producer = try KafkaProducer(cluster.configuration)
        // Authorization: neither passes by itself nor concerns one message only.
        cluster.fail(.produce, with: [29])
        try produce(producer, partitions: 1, count: 1)
        var reported: KafkaError?
        try producer.flush(timeout: .seconds(20)) { reported = $0.error }
        let error = try #require(reported)
        #expect(error.name == "TOPIC_AUTHORIZATION_FAILED" && error.code == 29)
        #expect(!error.isRetriable && !error.isRejection && !error.isTimeout && !error.isFatal)
        #expect("\(error)".contains("TOPIC_AUTHORIZATION_FAILED"))
    }

    @Test(
        "the admin client knows topics, watermarks and the cluster, and creates nothing by asking"
    )
    func admin() throws {
        let cluster = try MockCluster()
        try cluster.createTopic("records", partitions: 3)
        let admin = try KafkaAdmin(cluster.configuration)
        #expect(try admin.clusterID(timeout: .seconds(10))?.hasPrefix("mockCluster") == true)
        #expect(
            try admin.topic("records", timeout: .seconds(10))
                == KafkaTopic(name: "records", partitionCount: 3)
        )
        #expect(try admin.topic("other", timeout: .seconds(10)) == nil)
        #expect(try admin.topic("other", timeout: .seconds(10)) == nil)
        try fill(cluster, partitions: 3, count: 30)
        for number in 0..<3 {
            let marks = try admin.watermarks(
                KafkaPartition("records", Int32(number)),
                timeout: .seconds(10)
            )
            #expect(marks == KafkaWatermarks(low: 0, high: 10))
        }
        #expect(throws: KafkaError.self) {
            try admin.watermarks(KafkaPartition("records", 9), timeout: .seconds(1))
        }
        // The mock cluster has no controller; real brokers are for the acceptance tests.
        for result in [
            #expect(throws: KafkaError.self) {
                try admin.createTopic("new", partitions: 1, timeout: .milliseconds(100))
            },
            #expect(throws: KafkaError.self) {
                try admin.createPartitions("records", total: 5, timeout: .milliseconds(100))
            },
            #expect(throws: KafkaError.self) {
                try admin.deleteTopic("records", timeout: .milliseconds(100))
            },
        ] {
            #expect(["_TIMED_OUT", "_UNSUPPORTED_FEATURE"].contains(result?.name))
            #expect(result?.call.hasPrefix("rd_kafka_") == true)
        }
        let invalid = #expect(throws: KafkaError.self) {
            try admin.createTopic("", partitions: 1, timeout: .seconds(1))
        }
        #expect(invalid?.name == "_INVALID_ARG" && invalid?.call == "rd_kafka_NewTopic_new")
        admin.close()
        #expect(throws: KafkaError.self) { try admin.topic("records", timeout: .seconds(1)) }
    }

    @Test("an error says why brokers cannot be reached")
    func unreachable() throws {
        let admin = try KafkaAdmin(KafkaConfiguration(brokers: ["127.0.0.1:1"]))
        let error = #expect(throws: KafkaError.self) {
            try admin.topic("records", timeout: .milliseconds(500))
        }
        #expect(error?.isRetriable == true)
        #expect(error?.message.contains("127.0.0.1:1") == true, "\(error?.message ?? "")")
        #expect(try admin.clusterID(timeout: .milliseconds(10)) == nil)
    }
}
