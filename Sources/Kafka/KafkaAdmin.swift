internal import CLibrdkafka

/// What a cluster says about a topic.
package struct KafkaTopic: Sendable, Equatable {
    /// Its name.
    package var name: String
    /// How many partitions it has.
    package var partitionCount: Int

    /// Describes a topic.
    package init(name: String, partitionCount: Int) {
        self.name = name
        self.partitionCount = partitionCount
    }
}

/// Looks after topics; owned by one thread, closed when it goes. Every call waits for its answer.
package final class KafkaAdmin {
    private var client: KafkaClient?

    /// Makes a client; brokers are connected to in the background.
    package init(_ configuration: KafkaConfiguration) throws(KafkaError) {
        client = try KafkaClient(.admin, configuration)
    }

    /// The cluster's id; nil when no broker could be asked in time.
    package func clusterID(timeout: Duration) throws(KafkaError) -> String? {
        try open("rd_kafka_clusterid").clusterID(timeout: timeout)
    }

    /// Asks a partition's leader where the partition begins and ends.
    package func watermarks(
        _ partition: KafkaPartition,
        timeout: Duration
    ) throws(KafkaError) -> KafkaWatermarks {
        let client = try open("rd_kafka_query_watermark_offsets")
        do throws(KafkaError) {
            return try client.watermarks(partition, timeout: timeout)
        } catch {
            throw withReason(error, client)
        }
    }

    /// A topic, or nil when there is none; never creates it.
    package func topic(_ name: String, timeout: Duration) throws(KafkaError) -> KafkaTopic? {
        let client = try open("rd_kafka_metadata")
        // All topics, because brokers may create a topic that is asked for by name.
        var answer: UnsafePointer<rd_kafka_metadata>?
        let code = unsafe client.with { handle in
            unsafe rd_kafka_metadata(handle, 1, nil, &answer, timeout.wholeMilliseconds)
        }
        guard code == RD_KAFKA_RESP_ERR_NO_ERROR, let metadata = unsafe answer else {
            throw withReason(client.describe(code, "rd_kafka_metadata"), client)
        }
        defer { unsafe rd_kafka_metadata_destroy(metadata) }
        for index in unsafe 0..<Int(metadata.pointee.topic_cnt) {
            let topic = unsafe metadata.pointee.topics[index]
            guard unsafe String(cString: topic.topic) == name else { continue }
            if unsafe topic.err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART { return nil }
            try unsafe client.check(topic.err, "rd_kafka_metadata")
            return KafkaTopic(name: name, partitionCount: unsafe Int(topic.partition_cnt))
        }
        return nil
    }

    /// Creates a topic, unless it is there.
    ///
    /// - Parameters:
    ///   - name: Its name.
    ///   - partitions: How many partitions it has.
    ///   - replication: On how many brokers each is kept; −1 leaves it to the broker.
    ///   - configuration: Properties of the topic, as `retention.ms`.
    ///   - timeout: For the whole call.
    /// - Returns: Whether it was created; false when it was there already.
    @discardableResult
    package func createTopic(
        _ name: String,
        partitions: Int,
        replication: Int = -1,
        configuration: [String: String] = [:],
        timeout: Duration
    ) throws(KafkaError) -> Bool {
        let client = try open("rd_kafka_CreateTopics")
        guard !name.isEmpty, !name.utf8.contains(0) else {
            throw .invalid("rd_kafka_NewTopic_new", "\"\(name)\" is no name of a topic")
        }
        var text = [CChar](repeating: 0, count: 512)
        let made = unsafe rd_kafka_NewTopic_new(
            name,
            Int32(clamping: partitions),
            Int32(clamping: replication),
            &text,
            text.count
        )
        guard let topic = unsafe made else {
            throw .invalid("rd_kafka_NewTopic_new", String(nulTerminated: text))
        }
        defer { unsafe rd_kafka_NewTopic_destroy(topic) }
        for (name, value) in configuration {
            unsafe _ = rd_kafka_NewTopic_set_config(topic, name, value)
        }
        do throws(KafkaError) {
            try unsafe ask(client, "rd_kafka_CreateTopics", timeout) { client, options, queue in
                var topics: [OpaquePointer?] = unsafe [topic]
                unsafe rd_kafka_CreateTopics(client, &topics, 1, options, queue)
            }
            return true
        } catch {
            if error.code == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS.rawValue { return false }
            throw error
        }
    }

    /// Raises the number of a topic's partitions to `total`.
    package func createPartitions(
        _ name: String,
        total: Int,
        timeout: Duration
    ) throws(KafkaError) {
        let client = try open("rd_kafka_CreatePartitions")
        var text = [CChar](repeating: 0, count: 512)
        let made = unsafe rd_kafka_NewPartitions_new(name, total, &text, text.count)
        guard let partitions = unsafe made else {
            throw .invalid("rd_kafka_NewPartitions_new", String(nulTerminated: text))
        }
        defer { unsafe rd_kafka_NewPartitions_destroy(partitions) }
        try unsafe ask(client, "rd_kafka_CreatePartitions", timeout) { client, options, queue in
            var all: [OpaquePointer?] = unsafe [partitions]
            unsafe rd_kafka_CreatePartitions(client, &all, 1, options, queue)
        }
    }

    /// Deletes a topic and its messages.
    package func deleteTopic(_ name: String, timeout: Duration) throws(KafkaError) {
        let client = try open("rd_kafka_DeleteTopics")
        guard let topic = unsafe rd_kafka_DeleteTopic_new(name) else {
            throw .invalid("rd_kafka_DeleteTopic_new", "out of memory")
        }
        defer { unsafe rd_kafka_DeleteTopic_destroy(topic) }
        try unsafe ask(client, "rd_kafka_DeleteTopics", timeout) { client, options, queue in
            var topics: [OpaquePointer?] = unsafe [topic]
            unsafe rd_kafka_DeleteTopics(client, &topics, 1, options, queue)
        }
    }

    /// Ends the client and its threads.
    package func close() { client = nil }

    private func open(_ call: String) throws(KafkaError) -> KafkaClient {
        guard let client else { throw .closed(call) }
        return client
    }

    /// Asks the cluster something about one topic and waits for the answer.
    private func ask(
        _ client: KafkaClient,
        _ call: String,
        _ timeout: Duration,
        _ request: (_ client: OpaquePointer, _ options: OpaquePointer, OpaquePointer) -> Void
    ) throws(KafkaError) {
        let milliseconds = max(1, timeout.wholeMilliseconds)
        let handles = unsafe client.with { client in
            unsafe (
                rd_kafka_AdminOptions_new(client, RD_KAFKA_ADMIN_OP_ANY), rd_kafka_queue_new(client)
            )
        }
        guard let options = unsafe handles.0, let pointer = unsafe handles.1 else {
            preconditionFailure("librdkafka returned NULL for options or a queue")
        }
        defer { unsafe rd_kafka_AdminOptions_destroy(options) }
        let queue = unsafe QueueHandle(owning: pointer)
        // The broker's time as well as ours, so that an answer says that the work is done.
        unsafe _ = rd_kafka_AdminOptions_set_request_timeout(options, milliseconds, nil, 0)
        unsafe _ = rd_kafka_AdminOptions_set_operation_timeout(options, milliseconds, nil, 0)
        unsafe client.with { client in
            unsafe queue.with { queue in unsafe request(client, options, queue) }
        }
        // The library answers within the request's time; the second more is for it to do so.
        let slack = milliseconds.addingReportingOverflow(1_000)
        guard let event = unsafe queue.poll(slack.overflow ? milliseconds : slack.partialValue)
        else {
            throw withReason(KafkaError(RD_KAFKA_RESP_ERR__TIMED_OUT, call: call), client)
        }
        defer { unsafe rd_kafka_event_destroy(event) }
        let code = unsafe rd_kafka_event_error(event)
        if code != RD_KAFKA_RESP_ERR_NO_ERROR {
            var error = client.describe(code, call)
            if let text = unsafe rd_kafka_event_error_string(event) {
                error.message = unsafe String(cString: text)
            }
            throw withReason(error, client)
        }
        try unsafe Self.checkResult(event, call)
    }

    /// Throws what the answer says about the one topic that was asked about.
    private static func checkResult(
        _ event: OpaquePointer,
        _ call: String
    ) throws(KafkaError) {
        var count = 0
        let results: UnsafeMutablePointer<OpaquePointer?>?
        switch unsafe rd_kafka_event_type(event) {
        case RD_KAFKA_EVENT_CREATETOPICS_RESULT:
            unsafe results = rd_kafka_CreateTopics_result_topics(
                rd_kafka_event_CreateTopics_result(event),
                &count
            )
        case RD_KAFKA_EVENT_DELETETOPICS_RESULT:
            unsafe results = rd_kafka_DeleteTopics_result_topics(
                rd_kafka_event_DeleteTopics_result(event),
                &count
            )
        case RD_KAFKA_EVENT_CREATEPARTITIONS_RESULT:
            unsafe results = rd_kafka_CreatePartitions_result_topics(
                rd_kafka_event_CreatePartitions_result(event),
                &count
            )
        default: return
        }
        guard count > 0, let result = unsafe results?[0] else { return }
        let code = unsafe rd_kafka_topic_result_error(result)
        guard code != RD_KAFKA_RESP_ERR_NO_ERROR else { return }
        var message: String?
        if let text = unsafe rd_kafka_topic_result_error_string(result) {
            message = unsafe String(cString: text)
        }
        throw KafkaError(code, call: call, message: message)
    }

    /// Adds what the client last reported, such as a refused connection, to an error.
    private func withReason(_ error: KafkaError, _ client: KafkaClient) -> KafkaError {
        var error = error
        var reason: String?
        while let event = unsafe client.poll(0) {
            if case .error(let reported) = unsafe client.clientEvent(event) {
                if reason == nil || reported.name != "_ALL_BROKERS_DOWN" {
                    reason = reported.message
                }
            }
            unsafe rd_kafka_event_destroy(event)
        }
        if let reason { error.message += " (\(reason))" }
        return error
    }
}
