internal import CLibrdkafka
internal import Synchronization
internal import Threads

/// Lets a thread that waits in `poll` return; callable from any thread, at any time.
package final class KafkaWaker: Sendable {
    private let queue: Mutex<QueueHandle?>

    init(_ queue: consuming QueueHandle) {
        self.queue = Mutex(queue)
    }

    /// Makes the `poll` that waits, or else the next one, return early.
    ///
    /// After the client has been closed this does nothing.
    package func wake() {
        queue.withLock { queue in
            switch queue {
            case .some(let queue): queue.yield()
            case .none: break
            }
        }
    }

    /// Lets go of the queue, before the client goes.
    func close() { queue.withLock { $0 = nil } }
}

// Safety: librdkafka's calls on a queue may come from any thread; the reference is given back once.
/// The one owner of a reference to a queue of events; librdkafka `rd_kafka_queue_t`.
@safe
struct QueueHandle: ~Copyable, @unchecked Sendable {
    private let queue: OpaquePointer

    /// Takes ownership of `queue`, as returned by `rd_kafka_queue_new` or `…_get_main`.
    init(owning queue: OpaquePointer) {
        unsafe self.queue = unsafe queue
    }

    deinit { unsafe rd_kafka_queue_destroy(queue) }

    /// Lends the queue; the pointer must not outlive `body`.
    @inline(always)
    borrowing func with<T>(_ body: (OpaquePointer) -> T) -> T {
        unsafe body(queue)
    }

    /// Makes the thread that waits for an event return; thread-safe in librdkafka.
    borrowing func yield() { unsafe rd_kafka_queue_yield(queue) }

    /// Waits for an event, which the caller owns; nil after the time, or when woken.
    @inline(always)
    borrowing func poll(_ milliseconds: Int32) -> OpaquePointer? {
        unsafe rd_kafka_queue_poll(queue, milliseconds)
    }
}

// Safety: `rd_kafka_destroy_flags` may be called by any thread, once, after all others are done.
/// A librdkafka client that nobody uses any more.
@safe
private struct FinishedClient: @unchecked Sendable {
    let client: OpaquePointer

    /// Frees the client and its threads, or lets them be if that takes too long: librdkafka 2.0 was
    /// seen to wait for ever for partitions of a topic that was deleted.
    func destroy(within time: Duration) {
        let deadline = ContinuousClock.now.advanced(by: time)
        let bell = Doorbell()
        let seen = bell.count
        let thread = NamedThread(name: "kafka-destroy") {
            unsafe rd_kafka_destroy_flags(client, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE)
            bell.ring()
        }
        while bell.count == seen {
            let left = ContinuousClock.now.duration(to: deadline)
            guard left > .zero else { return }
            bell.wait(since: seen, timeoutNanoseconds: Int64(left.wholeMilliseconds) * 1_000_000)
        }
        thread.join()
    }
}

/// A librdkafka client and its queue of events, torn down in the right order.
///
/// Owner: the producer, consumer or admin client that made it, on one thread. librdkafka's own
/// threads call nothing of ours: everything comes through the queue.
@safe
final class KafkaClient {
    private let client: OpaquePointer
    /// The queue that every event of the client arrives on; a reference of our own.
    private let queue: OpaquePointer
    let waker: KafkaWaker
    private var topics: [OpaquePointer] = unsafe []
    /// Set when taking the client down could take the process with it: see `KafkaConsumer.close`.
    var isAbandoned = false
    private let configuration: KafkaConfiguration
    /// Why a connection broke last, as the log says.
    private var lastBreak: String?

    /// Which kinds of client there are.
    enum Role {
        case producer
        case consumer
        case admin
    }

    /// What holds unless `kafka.client` says otherwise.
    ///
    /// Chosen: bounds of memory that suit a gateway's machine (librdkafka's own are 1 GiB to send,
    /// and 64 MiB received per partition), and a broker that comes back is found within a second
    /// (librdkafka's own limit is 10 s).
    private static func preset(_ role: Role) -> [String: String] {
        var preset = ["reconnect.backoff.max.ms": "1000"]
        switch role {
        case .producer: preset["queue.buffering.max.kbytes"] = "65536"
        case .consumer: preset["queued.max.messages.kbytes"] = "65536"
        case .admin: break
        }
        return preset
    }

    init(
        _ role: Role,
        _ configuration: KafkaConfiguration,
        fixed: [String: String] = [:]
    ) throws(KafkaError) {
        self.configuration = configuration
        var fixed = fixed
        fixed["log.queue"] = "true"
        let properties = try unsafe configuration.makeProperties(
            preset: Self.preset(role),
            fixed: fixed
        )
        var events = RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_STATS | RD_KAFKA_EVENT_LOG
        switch role {
        case .producer: events |= RD_KAFKA_EVENT_DR
        case .consumer:
            events |= RD_KAFKA_EVENT_FETCH | RD_KAFKA_EVENT_REBALANCE
            events |= RD_KAFKA_EVENT_OFFSET_COMMIT
        case .admin: break
        }
        unsafe rd_kafka_conf_set_events(properties, events)
        var text = [CChar](repeating: 0, count: 512)
        // `rd_kafka_new` takes the properties on success only. Of the two types, consumers never
        // create a topic by asking for it.
        let type = role == .producer ? RD_KAFKA_PRODUCER : RD_KAFKA_CONSUMER
        guard let client = unsafe rd_kafka_new(type, properties, &text, text.count) else {
            let code = rd_kafka_last_error()
            unsafe rd_kafka_conf_destroy(properties)
            throw KafkaError(
                code == RD_KAFKA_RESP_ERR_NO_ERROR ? RD_KAFKA_RESP_ERR__INVALID_ARG : code,
                call: "rd_kafka_new",
                message: configuration.withoutSecrets(String(nulTerminated: text))
            )
        }
        unsafe self.client = unsafe client
        unsafe _ = rd_kafka_set_log_queue(client, nil)
        if role == .consumer { unsafe _ = rd_kafka_poll_set_consumer(client) }
        unsafe queue = Self.queue(of: client, role)
        waker = KafkaWaker(unsafe QueueHandle(owning: Self.queue(of: client, role)))
    }

    deinit {
        waker.close()
        for index in unsafe topics.indices { unsafe rd_kafka_topic_destroy(topics[index]) }
        // References to queues have to go before the client.
        unsafe rd_kafka_queue_destroy(queue)
        if isAbandoned { return }
        unsafe FinishedClient(client: client).destroy(within: Self.destructionTime)
    }

    /// How long to wait for the client's threads; chosen: they end within a second or never.
    private static let destructionTime: Duration = .seconds(10)

    /// A new reference to the queue that a client's events arrive on.
    private static func queue(of client: OpaquePointer, _ role: Role) -> OpaquePointer {
        let queue =
            role == .consumer
            ? unsafe rd_kafka_queue_get_consumer(client)
            : unsafe rd_kafka_queue_get_main(client)
        guard let queue = unsafe queue else {
            preconditionFailure("a client of librdkafka has no queue")
        }
        return unsafe queue
    }

    /// Lends the client; the pointer must not outlive `body`.
    @inline(always)
    func with<T>(_ body: (OpaquePointer) -> T) -> T {
        unsafe body(client)
    }

    /// Lends the client and its queue; the pointers must not outlive `body`.
    func withQueue<T>(_ body: (_ client: OpaquePointer, _ queue: OpaquePointer) -> T) -> T {
        unsafe body(client, queue)
    }

    /// Waits for an event, which the caller owns; nil after the time, or when woken.
    @inline(always)
    func poll(_ milliseconds: Int32) -> OpaquePointer? {
        unsafe rd_kafka_queue_poll(queue, milliseconds)
    }

    /// Throws unless `code` is success.
    @inline(always)
    func check(_ code: rd_kafka_resp_err_t, _ call: String) throws(KafkaError) {
        if code != RD_KAFKA_RESP_ERR_NO_ERROR { throw describe(code, call) }
    }

    /// Throws what an error object says, and destroys it; nil is success.
    func check(_ error: OpaquePointer?, _ call: String) throws(KafkaError) {
        if let error = unsafe error { throw unsafe KafkaError(consuming: error, call: call) }
    }

    /// Describes a code; `_FATAL` by the error behind it, and that error as fatal.
    func describe(_ code: rd_kafka_resp_err_t, _ call: String) -> KafkaError {
        let fatal = unsafe rd_kafka_fatal_error(client, nil, 0)
        guard fatal != RD_KAFKA_RESP_ERR_NO_ERROR else { return KafkaError(code, call: call) }
        if code == RD_KAFKA_RESP_ERR__FATAL || code == fatal, var error = fatalError {
            error.call = call
            return error
        }
        return KafkaError(code, call: call)
    }

    /// What made the client useless, if anything did.
    var fatalError: KafkaError? {
        var text = [CChar](repeating: 0, count: 512)
        let code = unsafe rd_kafka_fatal_error(client, &text, text.count)
        guard code != RD_KAFKA_RESP_ERR_NO_ERROR else { return nil }
        var error = KafkaError(
            code,
            call: "rd_kafka_fatal_error",
            message: String(nulTerminated: text)
        )
        error.isFatal = true
        error.isRetriable = false
        return error
    }

    /// The index of a topic to produce to, registered once.
    func registerTopic(_ name: String) throws(KafkaError) -> Int {
        guard !name.isEmpty, !name.utf8.contains(0) else {
            throw .invalid("rd_kafka_topic_new", "\"\(name)\" is no name of a topic")
        }
        guard let topic = unsafe rd_kafka_topic_new(client, name, nil) else {
            throw KafkaError(rd_kafka_last_error(), call: "rd_kafka_topic_new")
        }
        unsafe topics.append(topic)
        return unsafe topics.count - 1
    }

    /// Lends a registered topic; the pointer must not outlive `body`.
    @inline(always)
    func withTopic<T>(_ index: Int, _ body: (_ client: OpaquePointer, OpaquePointer) -> T) -> T {
        unsafe body(client, topics[index])
    }

    /// How many partitions a registered topic has.
    func partitionCount(_ index: Int, timeout: Duration) throws(KafkaError) -> Int {
        var answer: UnsafePointer<rd_kafka_metadata>?
        let topic = unsafe topics[index]
        let code = unsafe rd_kafka_metadata(client, 0, topic, &answer, timeout.wholeMilliseconds)
        try check(code, "rd_kafka_metadata")
        guard let metadata = unsafe answer else { return 0 }
        defer { unsafe rd_kafka_metadata_destroy(metadata) }
        guard unsafe metadata.pointee.topic_cnt > 0 else {
            throw KafkaError(RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, call: "rd_kafka_metadata")
        }
        let found = unsafe metadata.pointee.topics[0]
        try unsafe check(found.err, "rd_kafka_metadata")
        return unsafe Int(found.partition_cnt)
    }

    /// The cluster's id; nil when no broker could be asked in time.
    func clusterID(timeout: Duration) -> String? {
        guard let id = unsafe rd_kafka_clusterid(client, timeout.wholeMilliseconds) else {
            return nil
        }
        defer { unsafe rd_kafka_mem_free(client, id) }
        return unsafe String(cString: id)
    }

    /// Asks a partition's leader where the partition begins and ends.
    func watermarks(
        _ partition: KafkaPartition,
        timeout: Duration
    ) throws(KafkaError) -> KafkaWatermarks {
        var low: Int64 = 0
        var high: Int64 = 0
        let code = unsafe rd_kafka_query_watermark_offsets(
            client,
            partition.topic,
            partition.partition,
            &low,
            &high,
            timeout.wholeMilliseconds
        )
        try check(code, "rd_kafka_query_watermark_offsets")
        return KafkaWatermarks(low: low, high: high)
    }

    /// What an event of the kinds that every client has says; nil for other kinds.
    func clientEvent(_ event: OpaquePointer) -> KafkaClientEvent? {
        switch unsafe rd_kafka_event_type(event) {
        case RD_KAFKA_EVENT_ERROR:
            return .error(unsafe error(of: event))
        case RD_KAFKA_EVENT_STATS:
            guard let text = unsafe rd_kafka_event_stats(event) else { return nil }
            return .statistics(unsafe String(cString: text))
        case RD_KAFKA_EVENT_LOG:
            var facility: UnsafePointer<CChar>?
            var text: UnsafePointer<CChar>?
            var level: Int32 = 0
            guard
                unsafe rd_kafka_event_log(event, &facility, &text, &level) == 0,
                let facility = unsafe facility,
                let text = unsafe text
            else { return nil }
            let line = KafkaLogLine(
                level: Int(level),
                facility: unsafe String(cString: facility),
                message: configuration.withoutSecrets(unsafe String(cString: text))
            )
            // Producers and consumers share one configuration: no reason to warn of each other's.
            if line.facility == "CONFWARN" { return nil }
            if line.facility == "FAIL" { lastBreak = line.message }
            return .log(line)
        default: return nil
        }
    }

    /// The error of an event.
    func error(of event: OpaquePointer) -> KafkaError {
        let code = unsafe rd_kafka_event_error(event)
        if code == RD_KAFKA_RESP_ERR__FATAL { return describe(code, "rd_kafka_queue_poll") }
        var error = KafkaError(code, call: "rd_kafka_queue_poll")
        if let text = unsafe rd_kafka_event_error_string(event) {
            error.message = configuration.withoutSecrets(unsafe String(cString: text))
        }
        // That no broker is left is said of every reason; the reason itself only in the log.
        if code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, let lastBreak {
            error.message += ", the last one by: \(lastBreak)"
        }
        if let advice = KafkaAdvice.text(error.name, error.message) {
            error.message += "; \(advice)"
        }
        if unsafe rd_kafka_event_error_is_fatal(event) != 0 {
            error.isFatal = true
            error.isRetriable = false
        }
        return error
    }
}
