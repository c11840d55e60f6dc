internal import CLibrdkafka
package import Kafka

/// Kinds of requests that brokers answer (the protocol's API keys).
package enum MockRequest: Int16, Sendable, CaseIterable {
    case produce = 0
    case fetch = 1
    case listOffsets = 2
    case metadata = 3
    case offsetCommit = 8
    case offsetFetch = 9
    case findCoordinator = 10
    case joinGroup = 11
    case heartbeat = 12
    case leaveGroup = 13
    case syncGroup = 14
    case apiVersions = 18
    case createTopics = 19
    case initProducerID = 22
}

/// Brokers inside this process, of librdkafka's own making, that can be made to fail.
///
/// They listen on ports of the loopback interface and end with the value. A partition keeps only
/// the newest 5 MiB or 100,000 message sets. They know nothing of creating and deleting topics.
@safe
package final class MockCluster {
    private let client: OpaquePointer
    private let cluster: OpaquePointer

    /// The addresses of the brokers.
    package let bootstrap: [String]

    /// Starts brokers, numbered from 1.
    package init(brokers: Int = 1) throws(KafkaError) {
        guard let properties = unsafe rd_kafka_conf_new() else {
            throw Self.error(RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE, "rd_kafka_conf_new")
        }
        unsafe rd_kafka_conf_set_log_cb(properties, nil)
        var text = [CChar](repeating: 0, count: 512)
        // `rd_kafka_new` takes the properties on success only.
        let made = unsafe rd_kafka_new(RD_KAFKA_PRODUCER, properties, &text, text.count)
        guard let client = unsafe made else {
            unsafe rd_kafka_conf_destroy(properties)
            throw Self.error(rd_kafka_last_error(), "rd_kafka_new")
        }
        guard
            let cluster = unsafe rd_kafka_mock_cluster_new(client, Int32(brokers)),
            let addresses = unsafe rd_kafka_mock_cluster_bootstraps(cluster)
        else {
            unsafe rd_kafka_destroy(client)
            throw Self.error(RD_KAFKA_RESP_ERR__FAIL, "rd_kafka_mock_cluster_new")
        }
        unsafe self.client = unsafe client
        unsafe self.cluster = unsafe cluster
        bootstrap = unsafe String(cString: addresses).split(separator: ",").map(String.init)
    }

    deinit {
        unsafe rd_kafka_mock_cluster_destroy(cluster)
        unsafe rd_kafka_destroy(client)
    }

    /// How clients reach the cluster.
    package var configuration: KafkaConfiguration { KafkaConfiguration(brokers: bootstrap) }

    /// Creates a topic; topics that clients ask for come into being with 4 partitions.
    package func createTopic(
        _ name: String,
        partitions: Int,
        replication: Int = 1
    ) throws(KafkaError) {
        let code = unsafe rd_kafka_mock_topic_create(
            cluster,
            name,
            Int32(partitions),
            Int32(replication)
        )
        try Self.check(code, "rd_kafka_mock_topic_create")
    }

    /// Answers the next requests of a kind with error codes, one each; 0 is success, −195
    /// (`_TRANSPORT`) closes the connection.
    package func fail(_ request: MockRequest, with codes: [Int32]) {
        let codes = codes.map { rd_kafka_resp_err_t($0) }
        unsafe rd_kafka_mock_push_request_errors_array(
            cluster,
            request.rawValue,
            codes.count,
            codes
        )
    }

    /// Forgets the errors that are still to come for a kind of request.
    package func stopFailing(_ request: MockRequest) {
        unsafe rd_kafka_mock_clear_request_errors(cluster, request.rawValue)
    }

    /// Lets a broker answer late.
    package func setRoundTripTime(_ milliseconds: Int32, broker: Int32) throws(KafkaError) {
        try Self.check(
            unsafe rd_kafka_mock_broker_set_rtt(cluster, broker, milliseconds),
            "rd_kafka_mock_broker_set_rtt"
        )
    }

    /// Closes a broker's connections and takes no new ones.
    package func takeDown(broker: Int32) throws(KafkaError) {
        try Self.check(
            unsafe rd_kafka_mock_broker_set_down(cluster, broker),
            "rd_kafka_mock_broker_set_down"
        )
    }

    /// Lets a broker take connections again.
    package func bringUp(broker: Int32) throws(KafkaError) {
        try Self.check(
            unsafe rd_kafka_mock_broker_set_up(cluster, broker),
            "rd_kafka_mock_broker_set_up"
        )
    }

    /// Makes a broker the leader of a partition; −1 leaves it without one.
    package func setLeader(_ partition: KafkaPartition, broker: Int32) throws(KafkaError) {
        let code = unsafe rd_kafka_mock_partition_set_leader(
            cluster,
            partition.topic,
            partition.partition,
            broker
        )
        try Self.check(code, "rd_kafka_mock_partition_set_leader")
    }

    /// Makes a broker the coordinator of a group.
    package func setCoordinator(group: String, broker: Int32) throws(KafkaError) {
        try Self.check(
            unsafe rd_kafka_mock_coordinator_set(cluster, "group", group, broker),
            "rd_kafka_mock_coordinator_set"
        )
    }

    /// Answers for a topic with an error in metadata; 0 is success.
    package func setTopicError(_ name: String, code: Int32) {
        unsafe rd_kafka_mock_topic_set_error(cluster, name, rd_kafka_resp_err_t(code))
    }

    private static func check(
        _ code: rd_kafka_resp_err_t,
        _ call: String
    ) throws(KafkaError) {
        if code != RD_KAFKA_RESP_ERR_NO_ERROR { throw error(code, call) }
    }

    private static func error(_ code: rd_kafka_resp_err_t, _ call: String) -> KafkaError {
        KafkaError(
            code: code.rawValue,
            name: unsafe String(cString: rd_kafka_err2name(code)),
            call: call,
            message: unsafe String(cString: rd_kafka_err2str(code))
        )
    }
}
