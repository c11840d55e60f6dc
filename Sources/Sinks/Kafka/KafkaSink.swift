package import FileIO
import Kafka
package import Logging
import Synchronization
package import Telemetry
import Threads

/// Ships records and markers to a topic of Kafka; `docs/formats/kafka.md` has the messages' format.
///
/// A thread of its own owns the producer. What is acknowledged is on all in-sync replicas; what is
/// not known to be is sent again, so a message may be there twice, with the same identity.
package final class KafkaSink: Sink {
    /// Work for the thread.
    enum Command: Sendable {
        case open(CheckedContinuation<SinkError?, Never>)
        case deliver(SinkBatch, CheckedContinuation<DeliveryResult, Never>)
    }

    /// What the lock protects.
    private struct State {
        var commands: [Command] = []
        var waker: KafkaWaker?
        var isClosed = false
        var thread: NamedThread?
    }

    /// Every offset must arrive, in any order.
    package let traits = SinkTraits(isTransport: true, ordersLogs: false)

    private let configuration: KafkaSinkConfiguration
    private let time: any TimeSource
    private let metrics: KafkaSinkMetrics
    private let logger: Logger
    private let state = Mutex(State())
    private let doorbell = Doorbell()

    /// A sink that has not connected to anything.
    ///
    /// - Parameters:
    ///   - configuration: The topic and its brokers.
    ///   - time: The clocks.
    ///   - metrics: Where the producer's metrics are registered.
    ///   - logger: Where it reports.
    package init(
        _ configuration: KafkaSinkConfiguration,
        time: any TimeSource,
        metrics: MetricsRegistry,
        logger: Logger
    ) {
        self.configuration = configuration
        self.time = time
        self.metrics = KafkaSinkMetrics(metrics)
        self.logger = logger
    }

    /// Looks for the topic, creates it if it is not there, and makes a producer.
    package func open() async throws(SinkError) {
        start()
        let error = await withCheckedContinuation { continuation in
            give(.open(continuation)) { continuation.resume(returning: .closed) }
        }
        if let error { throw error }
    }

    /// Produces a batch; returns when there is a delivery report for each message.
    package func deliver(_ batch: SinkBatch) async -> DeliveryResult {
        await withCheckedContinuation { continuation in
            give(.deliver(batch, continuation)) {
                continuation.resume(returning: .retryAll(.closed))
            }
        }
    }

    /// Does nothing: what is delivered is durable already.
    package func flush() async throws(SinkError) {}

    /// Drops what is not delivered, and ends the thread.
    package func close() async {
        let thread = state.withLock { state in
            state.isClosed = true
            return state.thread
        }
        wake()
        guard let thread else { return }
        await ThreadOwned(name: "kafka-close", ()).run { _ in thread.join() }
    }

    private func start() {
        state.withLock { state in
            guard state.thread == nil, !state.isClosed else { return }
            let (configuration, time, metrics, logger) = (configuration, time, metrics, logger)
            // The thread ends with `close`, so the cycle does, too.
            state.thread = NamedThread(name: "kafka-sink") {
                KafkaShipper(configuration, time: time, metrics: metrics, logger: logger)
                    .run(for: self)
            }
        }
    }

    private func give(_ command: Command, orElse refuse: () -> Void) {
        let isTaken = state.withLock { state in
            guard !state.isClosed, state.thread != nil else { return false }
            state.commands.append(command)
            return true
        }
        if isTaken { wake() } else { refuse() }
    }

    private func wake() {
        doorbell.ring()
        state.withLock { $0.waker }?.wake()
    }

    // MARK: For the thread

    /// Whether the thread is to end.
    var isClosed: Bool { state.withLock { $0.isClosed } }

    /// Takes the work that has arrived.
    func takeCommands() -> [Command] {
        state.withLock { state in
            defer { state.commands = [] }
            return state.commands
        }
    }

    /// Says how to end a wait of the producer.
    func setWaker(_ waker: KafkaWaker?) { state.withLock { $0.waker = waker } }

    /// Blocks until there is work, while there is no producer to wait for.
    func waitForCommand() {
        let rung = doorbell.count
        if state.withLock({ $0.isClosed || !$0.commands.isEmpty }) { return }
        doorbell.wait(since: rung)
    }
}

extension SinkError {
    /// The sink was closed meanwhile.
    static let closed = SinkError(code: "closed", message: "the sink was closed")

    /// A failed call of librdkafka, or a failed message.
    init(_ error: KafkaError) {
        self.init(code: error.name, message: "\(error)")
    }
}
