internal import CLibrdkafka

/// A topic that was registered with a producer, and is good for that producer only.
package struct KafkaTopicID: Hashable, Sendable {
    let index: Int
}

/// What became of one message.
package struct KafkaDelivery: Sendable {
    /// What `produce` was given.
    package var token: UInt64
    /// Why it was not delivered; nil when all in-sync replicas have it.
    package var error: KafkaError?
    /// The partition it went to.
    package var partition: Int32
    /// Its offset there; `KafkaOffset.none` when the broker did not say, as for a repeated one.
    package var offset: Int64
}

/// An idempotent producer; owned by one thread, closed when it goes.
///
/// Messages are copied into librdkafka's queue and sent by its threads; what became of them comes
/// back through `poll`, which must be called again and again. Order is kept within a partition.
/// Closing drops what has not been delivered: `flush` before.
package final class KafkaProducer {
    private var client: KafkaClient?

    /// Ends a wait in `poll` or `flush` from any thread.
    package let waker: KafkaWaker

    /// Most events taken by one `poll`; chosen: each holds up to a request's worth of messages, so
    /// the owner comes back to its other work in time.
    private static let eventsMax = 1_000

    /// Makes a producer; brokers are connected to in the background.
    package init(_ configuration: KafkaConfiguration) throws(KafkaError) {
        let client = try KafkaClient(
            .producer,
            configuration,
            fixed: KafkaConfiguration.producerFixed
        )
        self.client = client
        waker = client.waker
    }

    /// Registers a topic; asks no broker.
    package func topic(_ name: String) throws(KafkaError) -> KafkaTopicID {
        try KafkaTopicID(index: open("rd_kafka_topic_new").registerTopic(name))
    }

    /// Copies a message into the queue.
    ///
    /// - Parameters:
    ///   - topic: A topic of this producer.
    ///   - partition: The partition; −1 chooses by the key's hash.
    ///   - key: The key; nil is none, which differs from an empty one.
    ///   - value: The value; nil is none, which differs from an empty one.
    ///   - headers: The headers.
    ///   - timestamp: Milliseconds since the epoch; 0 is now.
    ///   - token: Comes back in the delivery report.
    /// - Throws: `_QUEUE_FULL` when the queue is full, `MSG_SIZE_TOO_LARGE` beyond
    ///   `message.max.bytes`, `_UNKNOWN_PARTITION`, or the fatal error.
    package func produce(
        _ topic: KafkaTopicID,
        partition: Int32 = -1,
        key: Span<UInt8>?,
        value: Span<UInt8>?,
        headers: borrowing KafkaHeaders,
        timestamp: Int64 = 0,
        token: UInt64 = 0
    ) throws(KafkaError) {
        let client = try open("rd_kafka_produceva")
        let code = unsafe Self.withBytes(key) { key, hasKey in
            unsafe Self.withBytes(value) { value, hasValue in
                unsafe headers.withBuffers { bytes, entries in
                    unsafe client.withTopic(topic.index) { client, topic in
                        unsafe sluice_kafka_produce(
                            client,
                            topic,
                            partition,
                            key.baseAddress,
                            key.count,
                            hasKey,
                            value.baseAddress,
                            value.count,
                            hasValue,
                            bytes.baseAddress,
                            entries.baseAddress,
                            entries.count,
                            timestamp,
                            token
                        )
                    }
                }
            }
        }
        try client.check(code, "rd_kafka_produceva")
    }

    /// Waits for delivery reports and other events, and hands over those that are there.
    ///
    /// - Parameters:
    ///   - timeout: The longest wait for the first one; zero does not wait.
    ///   - event: Gets errors, statistics and lines of the log.
    ///   - report: Gets each delivery report.
    /// - Returns: The number of delivery reports.
    @discardableResult
    package func poll(
        timeout: Duration,
        event body: (KafkaClientEvent) -> Void = { _ in },
        _ report: (KafkaDelivery) -> Void
    ) -> Int {
        guard let client else { return 0 }
        var reports = 0
        var milliseconds = timeout.wholeMilliseconds
        for _ in 0..<Self.eventsMax {
            guard let event = unsafe client.poll(milliseconds) else { break }
            milliseconds = 0
            if unsafe rd_kafka_event_type(event) == RD_KAFKA_EVENT_DR {
                while let message = unsafe rd_kafka_event_message_next(event) {
                    reports += 1
                    report(unsafe Self.delivery(message, client))
                }
            } else if let other = unsafe client.clientEvent(event) {
                body(other)
            }
            unsafe rd_kafka_event_destroy(event)
        }
        return reports
    }

    /// Polls until every message has been reported on.
    ///
    /// - Parameters:
    ///   - timeout: The longest time without any report.
    ///   - event: As of `poll`.
    ///   - report: As of `poll`.
    /// - Throws: `_TIMED_OUT` when no report came for that long (or `waker` was used) and some are
    ///   missing.
    package func flush(
        timeout: Duration,
        event body: (KafkaClientEvent) -> Void = { _ in },
        _ report: (KafkaDelivery) -> Void
    ) throws(KafkaError) {
        let client = try open("rd_kafka_flush")
        while queueLength > 0 {
            // Sends what waits for company, and returns at once: reports are read here.
            _ = unsafe client.with { unsafe rd_kafka_flush($0, 0) }
            var events = 0
            let reports = poll(
                timeout: timeout,
                event: {
                    events += 1; body($0)
                },
                report
            )
            if reports == 0, events == 0, queueLength > 0 {
                throw KafkaError(
                    RD_KAFKA_RESP_ERR__TIMED_OUT,
                    call: "rd_kafka_flush",
                    message: "\(queueLength) messages are not delivered"
                )
            }
        }
    }

    /// Gives up on every message that is queued or under way; they are reported with `_PURGE_QUEUE`
    /// and `_PURGE_INFLIGHT`. The latter may have been delivered.
    package func purge() {
        guard let client else { return }
        _ = unsafe client.with {
            unsafe rd_kafka_purge($0, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT)
        }
    }

    /// Messages not reported on yet, and events not polled yet.
    package var queueLength: Int {
        guard let client else { return 0 }
        return unsafe client.with { unsafe Int(rd_kafka_outq_len($0)) }
    }

    /// What made this producer useless, if anything did: close it and make another.
    package var fatalError: KafkaError? { client?.fatalError }

    /// The cluster's id; nil when no broker could be asked in time.
    package func clusterID(timeout: Duration) throws(KafkaError) -> String? {
        try open("rd_kafka_clusterid").clusterID(timeout: timeout)
    }

    /// How many partitions a registered topic has; throws `_UNKNOWN_TOPIC` when it is not there.
    ///
    /// Brokers that create topics on demand create it when asked: see `KafkaAdmin.createTopic`.
    package func partitionCount(
        _ topic: KafkaTopicID,
        timeout: Duration
    ) throws(KafkaError) -> Int {
        let client = try open("rd_kafka_metadata")
        return try client.partitionCount(topic.index, timeout: timeout)
    }

    /// Pretends that the broker refused for good, so that tests see a fatal error.
    package func provokeFatalError(code: Int32) throws(KafkaError) {
        let client = try open("rd_kafka_test_fatal_error")
        let code = unsafe client.with { handle in
            unsafe rd_kafka_test_fatal_error(handle, rd_kafka_resp_err_t(code), "provoked")
        }
        try client.check(code, "rd_kafka_test_fatal_error")
    }

    /// Ends the producer and its threads; what is not delivered is dropped without a report.
    package func close() { client = nil }

    /// The client, unless closed.
    @inline(always)
    private func open(_ call: String) throws(KafkaError) -> KafkaClient {
        guard let client else { throw .closed(call) }
        return client
    }

    /// What a delivery report says.
    @inline(always)
    private static func delivery(
        _ message: UnsafePointer<rd_kafka_message_t>,
        _ client: KafkaClient
    ) -> KafkaDelivery {
        let code = unsafe message.pointee.err
        return unsafe KafkaDelivery(
            token: UInt64(UInt(bitPattern: message.pointee._private)),
            error: code == RD_KAFKA_RESP_ERR_NO_ERROR ? nil : client.describe(code, "delivery"),
            partition: message.pointee.partition,
            offset: message.pointee.offset
        )
    }

    /// Lends the bytes of a span that may be absent; the flag is 0 when it is.
    @inline(always)
    private static func withBytes<T>(
        _ span: Span<UInt8>?,
        _ body: (UnsafeBufferPointer<UInt8>, Int32) -> T
    ) -> T {
        switch span {
        case .some(let span): unsafe span.withUnsafeBufferPointer { unsafe body($0, 1) }
        case .none: unsafe body(UnsafeBufferPointer(start: nil, count: 0), 0)
        }
    }
}
