internal import CLibrdkafka

/// A member of a consumer group; owned by one thread, and left behind when it goes.
///
/// Everything arrives through `poll`, in order, rebalances included, which the owner answers
/// itself. A member that does not poll for `max.poll.interval.ms` loses its partitions.
package final class KafkaConsumer {
    private var client: KafkaClient?
    /// Whether this member has joined a cooperative group and not been given its share yet.
    private var isUnsettled = false
    private let assignor: KafkaAssignor
    /// Whether a rebalance was handed over and not answered yet.
    var isAnswerDue = false
    /// Where each partition that this member has was told to begin.
    var starts: [KafkaPartition: Int64] = [:]
    /// What is paused: librdkafka would remember it beyond a rebalance.
    var paused: Set<KafkaPartition> = []

    /// Ends a wait in `poll` from any thread.
    package let waker: KafkaWaker

    /// Makes a member that has not joined yet; brokers are connected to in the background.
    ///
    /// - Parameters:
    ///   - configuration: How the brokers are reached.
    ///   - group: The group's id.
    ///   - instanceID: A name that outlives restarts (static membership); nil for none.
    ///   - assignor: How the group shares partitions out; the same for all members.
    package init(
        _ configuration: KafkaConfiguration,
        group: String,
        instanceID: String? = nil,
        assignor: KafkaAssignor = .cooperativeSticky
    ) throws(KafkaError) {
        guard !group.isEmpty else {
            throw .invalid("rd_kafka_new", "a consumer group's name is empty")
        }
        var fixed = KafkaConfiguration.consumerFixed
        fixed["group.id"] = group
        fixed["group.instance.id"] = instanceID
        fixed["partition.assignment.strategy"] = assignor.rawValue
        // Offsets are committed only as `commit` says.
        fixed["enable.auto.offset.store"] = "false"
        let client = try KafkaClient(.consumer, configuration, fixed: fixed)
        self.client = client
        self.assignor = assignor
        waker = client.waker
    }

    deinit {
        if let client { client.isAbandoned = isUnsettled && Self.mayAbort(client) }
    }

    /// Joins the group for these topics; partitions come as `.assigned`.
    package func subscribe(_ topics: [String]) throws(KafkaError) {
        let client = try open("rd_kafka_subscribe")
        let list = PartitionList(topics.map { KafkaPartition($0, -1) })
        let code = unsafe client.with { client in
            unsafe list.with { unsafe rd_kafka_subscribe(client, $0) }
        }
        try client.check(code, "rd_kafka_subscribe")
        if assignor == .cooperativeSticky { isUnsettled = true }
    }

    /// Waits for messages and events, and hands over those that are there.
    ///
    /// - Parameters:
    ///   - timeout: The longest wait for the first one; zero does not wait.
    ///   - countMax: Most events, messages included.
    ///   - body: Gets each one; may call the consumer, but not `poll` or `close`.
    /// - Returns: The number of events handed over.
    @discardableResult
    package func poll(
        timeout: Duration,
        countMax: Int,
        _ body: (borrowing KafkaEvent) -> Void
    ) -> Int {
        guard let client else { return 0 }
        var count = 0
        var milliseconds = timeout.wholeMilliseconds
        while count < countMax, let event = unsafe client.poll(milliseconds) {
            milliseconds = 0
            if unsafe rd_kafka_event_type(event) == RD_KAFKA_EVENT_REBALANCE {
                let isAssignment = unsafe Self.isAssignment(event)
                if isAssignment { isUnsettled = false }
                isAnswerDue = unsafe isAssignment || Self.isRevocation(event)
            }
            unsafe Self.handOver(event, client, body)
            unsafe rd_kafka_event_destroy(event)
            count += 1
        }
        return count
    }

    /// Leaves the group and ends the consumer and its threads.
    ///
    /// Partitions are given back without further events. A static member stays a member until its
    /// session ends.
    ///
    /// librdkafka before 2.3 must not be taken down between joining and the first assignment of a
    /// cooperative group: then this waits for the assignment, and if none comes, lets the client's
    /// memory and threads be.
    ///
    /// - Parameter timeout: After which the group is left to find out by itself.
    package func close(timeout: Duration = .seconds(10)) {
        guard let client else { return }
        self.client = nil
        let deadline = ContinuousClock.now.advanced(by: timeout)
        if isUnsettled, Self.mayAbort(client) {
            unsafe Self.drain(client, until: deadline) { event in
                if unsafe Self.isAssignment(event) {
                    isUnsettled = false
                    isAnswerDue = true
                }
            } isDone: {
                !isUnsettled
            }
            if isUnsettled { client.isAbandoned = true }
        }
        let error = unsafe client.withQueue { client, queue in
            unsafe rd_kafka_consumer_close_queue(client, queue)
        }
        if let error = unsafe error {
            // It is closed already, by a fatal error.
            return unsafe rd_kafka_error_destroy(error)
        }
        // From here on librdkafka takes any answer to a rebalance for giving everything up. It
        // waits for one that is due; with none due, the group may be gone and the call not return.
        if isAnswerDue { unsafe _ = client.with { unsafe rd_kafka_assign($0, nil) } }
        unsafe Self.drain(client, until: deadline) { event in
            if unsafe rd_kafka_event_type(event) == RD_KAFKA_EVENT_REBALANCE {
                unsafe _ = client.with { unsafe rd_kafka_assign($0, nil) }
            }
        } isDone: {
            unsafe client.with { unsafe rd_kafka_consumer_closed($0) } != 0
        }
        // `rd_kafka_destroy` would wait for what has not closed in time.
        if unsafe client.with({ unsafe rd_kafka_consumer_closed($0) }) == 0 {
            client.isAbandoned = true
        }
    }

    /// Looks at events and drops them until something is done, or the deadline.
    private static func drain(
        _ client: KafkaClient,
        until deadline: ContinuousClock.Instant,
        _ body: (OpaquePointer) -> Void,
        isDone: () -> Bool
    ) {
        while !isDone() {
            let left = ContinuousClock.now.duration(to: deadline)
            guard left > .zero else { return }
            // The end of closing wakes the wait without an event.
            guard let event = unsafe client.poll(min(left, .seconds(1)).wholeMilliseconds) else {
                continue
            }
            unsafe body(event)
            unsafe rd_kafka_event_destroy(event)
        }
    }

    /// Whether an event gives partitions, if only none, to this member.
    private static func isAssignment(_ event: OpaquePointer) -> Bool {
        unsafe rd_kafka_event_type(event) == RD_KAFKA_EVENT_REBALANCE
            && rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS
    }

    /// Whether an event takes partitions from this member.
    private static func isRevocation(_ event: OpaquePointer) -> Bool {
        unsafe rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS
    }

    /// Whether librdkafka might end the process when this client goes before its first assignment.
    ///
    /// Versions before 2.3 fail an assertion (`rd_kafka_sticky_assignor_state_destroy`, its issue
    /// 4312) when a member of a cooperative group goes after it joined and before it was told its
    /// share. A client without a member id has not joined.
    private static func mayAbort(_ client: KafkaClient) -> Bool {
        guard rd_kafka_version() < 0x0203_0000 else { return false }
        return unsafe client.with { client in
            guard let id = unsafe rd_kafka_memberid(client) else { return false }
            defer { unsafe rd_kafka_mem_free(client, id) }
            return unsafe id.pointee != 0
        }
    }

    /// The client, unless closed.
    func open(_ call: String) throws(KafkaError) -> KafkaClient {
        guard let client else { throw .closed(call) }
        return client
    }

    /// Hands one event over.
    @inline(always)
    private static func handOver(
        _ event: OpaquePointer,
        _ client: KafkaClient,
        _ body: (borrowing KafkaEvent) -> Void
    ) {
        guard unsafe rd_kafka_event_type(event) == RD_KAFKA_EVENT_FETCH else {
            return unsafe handOverOther(event, client, body)
        }
        guard let message = unsafe rd_kafka_event_message_next(event) else { return }
        guard unsafe message.pointee.err == RD_KAFKA_RESP_ERR_NO_ERROR else {
            let partition = unsafe KafkaPartition(
                String(cString: rd_kafka_topic_name(message.pointee.rkt)),
                message.pointee.partition
            )
            let error = unsafe client.describe(message.pointee.err, "rd_kafka_queue_poll")
            noteGone(error, partition, client)
            return body(.error(error, partition))
        }
        unsafe body(.message(KafkaMessage(UnsafeMutablePointer(mutating: message))))
    }

    /// A client that had a partition of a topic that was deleted is let be when it is closed:
    /// `rd_kafka_destroy` of librdkafka 2.0 was seen to wait for the partition for ever. The client
    /// says so when it misses the partition, a broker when it is asked for it before that.
    private static func noteGone(
        _ error: KafkaError,
        _ partition: KafkaPartition?,
        _ client: KafkaClient
    ) {
        // A subscribed topic that is not there yet has no number.
        let isHad = (partition?.partition ?? -1) >= 0
        if error.code == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION.rawValue
            || isHad && error.code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART.rawValue
        {
            client.isAbandoned = true
        }
    }

    /// Hands over what is not a message.
    private static func handOverOther(
        _ event: OpaquePointer,
        _ client: KafkaClient,
        _ body: (borrowing KafkaEvent) -> Void
    ) {
        switch unsafe rd_kafka_event_type(event) {
        case RD_KAFKA_EVENT_REBALANCE:
            unsafe handOverRebalance(event, client, body)
        case RD_KAFKA_EVENT_OFFSET_COMMIT:
            let code = unsafe rd_kafka_event_error(event)
            // `_NO_OFFSET`: there was nothing to commit.
            guard code != RD_KAFKA_RESP_ERR_NO_ERROR, code != RD_KAFKA_RESP_ERR__NO_OFFSET else {
                return
            }
            body(.error(client.describe(code, "rd_kafka_commit_queue"), nil))
        case RD_KAFKA_EVENT_ERROR:
            let error = unsafe client.error(of: event)
            var partition: KafkaPartition?
            var offset = KafkaOffset.none
            if let element = unsafe rd_kafka_event_topic_partition(event) {
                unsafe partition = KafkaPartition(
                    String(cString: element.pointee.topic),
                    element.pointee.partition
                )
                unsafe offset = element.pointee.offset
                unsafe rd_kafka_topic_partition_destroy(element)
            }
            if error.code == RD_KAFKA_RESP_ERR__PARTITION_EOF.rawValue, let partition {
                body(.endOfPartition(partition, offset: offset))
            } else {
                noteGone(error, partition, client)
                body(.error(error, partition))
            }
        default:
            switch unsafe client.clientEvent(event) {
            case .error(let error): body(.error(error, nil))
            case .statistics(let text): body(.statistics(text))
            case .log(let line): body(.log(line))
            case nil: break
            }
        }
    }

    /// Hands over a rebalance, or what went wrong with one.
    private static func handOverRebalance(
        _ event: OpaquePointer,
        _ client: KafkaClient,
        _ body: (borrowing KafkaEvent) -> Void
    ) {
        var partitions: [KafkaPartition] = []
        if let list = unsafe rd_kafka_event_topic_partition_list(event) {
            partitions = unsafe PartitionList.partitions(of: list)
        }
        let code = unsafe rd_kafka_event_error(event)
        switch code {
        case RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS: body(.assigned(partitions))
        case RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS:
            let isLost = unsafe client.with { unsafe rd_kafka_assignment_lost($0) } != 0
            if isLost { body(.lost(partitions)) } else { body(.revoked(partitions)) }
        default:
            // librdkafka waits for an answer to this one too.
            unsafe _ = client.with { unsafe rd_kafka_assign($0, nil) }
            body(.error(client.describe(code, "rebalance"), nil))
        }
    }
}
