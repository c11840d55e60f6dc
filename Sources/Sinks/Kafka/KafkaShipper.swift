import EventLog
import FileIO
import Kafka
import Logging
import Records
import Telemetry

/// Produces batches and collects delivery reports. No allocation and no waiting per record.
///
/// Brokers refuse a whole request for one message that is too large or invalid. A message counts as
/// refused only if it was alone in its request; otherwise all of them are sent again by a producer
/// with a smaller `batch.size`, which grows again later.
///
/// Owner: one thread.
final class KafkaShipper {
    /// A batch that is produced and not fully reported on.
    private final class Slot {
        let batch: SinkBatch
        let base: UInt64
        let reply: CheckedContinuation<DeliveryResult, Never>
        var result = DeliveryResult()
        /// Messages without a report, and one until all are produced.
        var remaining = 1

        init(_ batch: SinkBatch, _ reply: CheckedContinuation<DeliveryResult, Never>) {
            self.batch = batch
            self.reply = reply
            base = batch.items.map(\.firstOffset.rawValue).min() ?? 0
        }
    }

    private let configuration: KafkaSinkConfiguration
    private let time: any TimeSource
    private let metrics: KafkaSinkMetrics
    private let logger: Logger

    private var producer: KafkaProducer?
    private var topic: KafkaTopicID?
    private var slots: [Slot?] = []
    /// Batches that wait until the producer can take them.
    private var waiting: [(batch: SinkBatch, reply: CheckedContinuation<DeliveryResult, Never>)] =
        []
    /// Messages without a report.
    private var outstanding = 0
    /// When there was last a report, or something first outstanding; monotonic nanoseconds.
    private var progressAt: UInt64 = 0
    /// How many bytes are sent together at most, by the present producer.
    private var batchBytesMax: Int
    /// Set when the producer is to be replaced once nothing is outstanding.
    private var batchBytesWanted: Int?
    private var shrunkAt: UInt64 = 0
    /// Whether the producer is of no use any more.
    private var isBroken = false
    /// Whether the topic has to be looked for again.
    private var isTopicInDoubt = false
    private var lastError: String?
    private var errorLoggedAt: UInt64?
    private var random = SystemRandom()

    /// What headers and framing add to key and value, about.
    private static let overhead = 190
    /// Numbers of deliveries; chosen: short, and one of them does not come twice by chance for the
    /// same record in the same place.
    private static let deliveries: ClosedRange<UInt64> = 1...0xFFFF_FFFF
    /// A reduced `batch.size` is doubled after so long without a refusal. Chosen.
    private static let growAfter: UInt64 = 60_000_000_000

    init(
        _ configuration: KafkaSinkConfiguration,
        time: any TimeSource,
        metrics: KafkaSinkMetrics,
        logger: Logger
    ) {
        self.configuration = configuration
        self.time = time
        self.metrics = metrics
        self.logger = logger
        batchBytesMax = configuration.batchBytesMax
    }

    private var now: UInt64 { time.monotonicNanoseconds() }

    /// Works until the sink is closed.
    func run(for sink: KafkaSink) {
        while !sink.isClosed {
            for command in sink.takeCommands() {
                switch command {
                case .open(let reply): reply.resume(returning: open(sink))
                case .deliver(let batch, let reply): waiting.append((batch, reply))
                }
            }
            admit(sink)
            guard let producer else {
                sink.waitForCommand()
                continue
            }
            poll(producer, .milliseconds(outstanding > 0 ? 100 : 1_000))
            repair(sink)
        }
        giveUp(.closed)
        for command in sink.takeCommands() {
            switch command {
            case .open(let reply): reply.resume(returning: .closed)
            case .deliver(_, let reply): reply.resume(returning: .retryAll(.closed))
            }
        }
        replaceProducer(sink, with: nil)
    }

    // MARK: Opening

    /// Looks for the topic and makes a producer.
    private func open(_ sink: KafkaSink) -> SinkError? {
        guard producer == nil else { return nil }
        do throws(KafkaError) {
            try ensureTopic()
            try makeProducer(sink)
            return nil
        } catch {
            return SinkError(error)
        }
    }

    private func ensureTopic() throws(KafkaError) {
        let admin = try KafkaAdmin(configuration.kafka)
        defer { admin.close() }
        let timeout = configuration.openTimeout
        guard try admin.topic(configuration.topic, timeout: timeout) == nil else { return }
        let isNew = try admin.createTopic(
            configuration.topic,
            partitions: configuration.partitions,
            replication: configuration.replication,
            timeout: timeout
        )
        guard isNew else { return }
        logger.info(
            "kafka_topic_created",
            metadata: [
                "topic": "\(configuration.topic)", "partitions": "\(configuration.partitions)",
            ]
        )
    }

    private func makeProducer(_ sink: KafkaSink) throws(KafkaError) {
        let producer = try KafkaProducer(configuration.producer(batchBytesMax: batchBytesMax))
        topic = try producer.topic(configuration.topic)
        replaceProducer(sink, with: producer)
    }

    private func replaceProducer(_ sink: KafkaSink, with producer: KafkaProducer?) {
        self.producer?.close()
        self.producer = producer
        sink.setWaker(producer?.waker)
        isBroken = false
        outstanding = 0
    }

    // MARK: Producing

    /// Produces the batches that wait, unless the producer is about to be replaced.
    private func admit(_ sink: KafkaSink) {
        guard !waiting.isEmpty else { return }
        if producer == nil || isTopicInDoubt, !prepare(sink) { return }
        guard !isBroken, batchBytesWanted == nil else { return }
        let batches = waiting
        waiting = []
        for (batch, reply) in batches { produce(batch, reply, sink) }
    }

    /// Makes a producer and looks for the topic; false when the batches have been refused.
    private func prepare(_ sink: KafkaSink) -> Bool {
        do throws(KafkaError) {
            try ensureTopic()
            isTopicInDoubt = false
            if producer == nil { try makeProducer(sink) }
            return true
        } catch {
            refuseWaiting(SinkError(error))
            return false
        }
    }

    private func refuseWaiting(_ error: SinkError) {
        for (_, reply) in waiting { reply.resume(returning: .retryAll(error)) }
        waiting = []
    }

    private func produce(
        _ batch: SinkBatch,
        _ reply: CheckedContinuation<DeliveryResult, Never>,
        _ sink: KafkaSink
    ) {
        guard let producer, let topic else { return }
        let slot = Slot(batch, reply)
        let index = slots.firstIndex { $0 == nil } ?? slots.count
        if index == slots.count { slots.append(slot) } else { slots[index] = slot }
        if outstanding == 0 { progressAt = now }
        // A variable of this call: for a property of the object each use would be checked.
        var message = KafkaMessageEncoder()
        message.begin(batch.log, delivery: UInt64.random(in: Self.deliveries, using: &random))
        for item in batch.items {
            switch item {
            case .records(let records):
                let milliseconds = records.appendTime / 1_000
                batch.forEachRecord(in: records) { offset, bytes in
                    let token = Self.token(index, offset.rawValue &- slot.base)
                    message.setRecord(offset)
                    send(slot, offset, sink) { () throws(KafkaError) in
                        try message.produce(
                            to: producer,
                            topic,
                            value: Span<UInt8>(_bytes: bytes),
                            timestamp: milliseconds,
                            token: token
                        )
                    }
                }
            case .skip(let range, let reason, let appendTime):
                message.setSkip(range, reason)
                sendMarker(message, slot, index, range.lowerBound, appendTime, sink)
            case .end(let offset, let appendTime):
                message.setEnd(offset)
                sendMarker(message, slot, index, offset, appendTime, sink)
            }
        }
        settle(index, slot)
    }

    private func sendMarker(
        _ message: borrowing KafkaMessageEncoder,
        _ slot: Slot,
        _ index: Int,
        _ offset: Offset,
        _ appendTime: Int64,
        _ sink: KafkaSink
    ) {
        guard let producer, let topic else { return }
        let token = Self.token(index, offset.rawValue &- slot.base)
        send(slot, offset, sink) { () throws(KafkaError) in
            try message.produce(
                to: producer,
                topic,
                value: nil,
                timestamp: appendTime / 1_000,
                token: token
            )
        }
    }

    /// Hands a message to librdkafka, waiting for room in its queue.
    private func send(
        _ slot: Slot,
        _ offset: Offset,
        _ sink: KafkaSink,
        _ produce: () throws(KafkaError) -> Void
    ) {
        while true {
            guard !isBroken else {
                slot.result.add(offset, .retry)
                return
            }
            do throws(KafkaError) {
                try produce()
                slot.remaining += 1
                outstanding += 1
                return
            } catch {
                if error.isQueueFull, let producer {
                    poll(producer, .milliseconds(100))
                    if isStalled || sink.isClosed { isBroken = true }
                    continue
                }
                if error.isFatal { isBroken = true }
                slot.result.reason = "\(error)"
                // Here a message is judged alone.
                slot.result.add(offset, error.isRejection ? Self.verdict(error) : .retry)
                return
            }
        }
    }

    // MARK: Reports

    private func poll(_ producer: KafkaProducer, _ timeout: Duration) {
        // Reports come in runs of one batch, nearly all of them without an error.
        var index = 0
        var run = 0
        let count = producer.poll(timeout: timeout, event: { take($0) }) { report in
            guard report.error == nil else { return take(report) }
            let next = Self.slot(of: report.token)
            if next != index {
                settle(index, run)
                index = next
                run = 0
            }
            run += 1
        }
        settle(index, run)
        if count > 0 { progressAt = now }
    }

    /// Takes over that messages of one batch were delivered.
    private func settle(_ index: Int, _ delivered: Int) {
        guard delivered > 0, index < slots.count, let slot = slots[index] else { return }
        outstanding -= delivered
        settle(index, slot, delivered)
    }

    /// Takes over that a message was not delivered.
    private func take(_ report: KafkaDelivery) {
        let index = Self.slot(of: report.token)
        guard index < slots.count, let slot = slots[index] else { return }
        outstanding -= 1
        if let error = report.error {
            let offset = Offset(slot.base &+ (report.token & Self.offsetMask))
            slot.result.add(offset, verdict(error, slot, offset))
            slot.result.reason = "\(error)"
            if error.isFatal || producer?.fatalError != nil { isBroken = true }
            if error.isUnknownTopic { isTopicInDoubt = true }
        }
        settle(index, slot)
    }

    /// Decides about a message that a broker did not take.
    private func verdict(
        _ error: KafkaError,
        _ slot: Slot,
        _ offset: Offset
    ) -> DeliveryResult.Verdict {
        guard error.isRejection else { return .retry }
        shrunkAt = now
        let bytes = slot.batch.recordBytes(at: offset) + Self.overhead
        let wasAlone = bytes >= batchBytesMax || batchBytesMax <= 1
        if wasAlone { return Self.verdict(error) }
        // Each step is a round trip with every message of the batch; three of them are enough to
        // send messages of the usual size one by one.
        batchBytesWanted = batchBytesMax / 32
        return .retry
    }

    private static func verdict(_ error: KafkaError) -> DeliveryResult.Verdict {
        .rejected(error.name.contains("SIZE_TOO_LARGE") ? .tooLarge : .rejected)
    }

    private func settle(_ index: Int, _ slot: Slot, _ count: Int = 1) {
        slot.remaining -= count
        guard slot.remaining == 0 else { return }
        slots[index] = nil
        slot.reply.resume(returning: slot.result)
    }

    private func take(_ event: KafkaClientEvent) {
        switch event {
        case .statistics(let text): metrics.take(text)
        case .error(let error):
            if error.isFatal { isBroken = true }
            note("\(error)")
        case .log(let line):
            logger.debug("librdkafka", metadata: ["line": "\(line.facility) \(line.message)"])
        }
    }

    /// Logs an error, but not every second.
    private func note(_ error: String) {
        lastError = error
        let now = self.now
        if let loggedAt = errorLoggedAt, now &- loggedAt < 30_000_000_000 { return }
        errorLoggedAt = now
        logger.warning("kafka_error", metadata: ["error": "\(error)"])
    }

    // MARK: Replacing the producer

    private var isStalled: Bool {
        let (seconds, attoseconds) = configuration.stallLimit.components
        let limit =
            UInt64(clamping: seconds) &* 1_000_000_000
            &+ UInt64(clamping: attoseconds / 1_000_000_000)
        return outstanding > 0 && now &- progressAt >= limit
    }

    /// Replaces a producer that is of no use, or whose batches have the wrong size.
    private func repair(_ sink: KafkaSink) {
        if isBroken || isStalled {
            let cause =
                isBroken
                ? "\(producer?.fatalError.map { "\($0)" } ?? "fatal error")"
                : "no acknowledgement for \(configuration.stallLimit)"
            let reason = [cause, lastError].compactMap { $0 }.joined(separator: "; last: ")
            logger.warning("kafka_producer_given_up", metadata: ["reason": "\(reason)"])
            giveUp(SinkError(code: isBroken ? "fatal" : "stalled", message: reason))
            metrics.producersReplaced.add()
            replaceProducer(sink, with: nil)
            return
        }
        if batchBytesWanted == nil, batchBytesMax < configuration.batchBytesMax,
            now &- shrunkAt >= Self.growAfter
        {
            batchBytesWanted = min(configuration.batchBytesMax, max(1, batchBytesMax) * 32)
            shrunkAt = now
        }
        guard let wanted = batchBytesWanted, outstanding == 0 else { return }
        batchBytesWanted = nil
        batchBytesMax = max(1, wanted)
        metrics.producersReplaced.add()
        logger.info("kafka_batch_size", metadata: ["bytes": "\(batchBytesMax)"])
        do throws(KafkaError) {
            try makeProducer(sink)
        } catch {
            note("\(error)")
            replaceProducer(sink, with: nil)
        }
    }

    /// Ends everything that is under way; what may have been delivered is said to be retried.
    private func giveUp(_ error: SinkError) {
        if let producer {
            producer.purge()
            // Each poll waits a little; the reports of purged messages come at once.
            for _ in 0..<20 where outstanding > 0 { poll(producer, .milliseconds(50)) }
        }
        for (index, slot) in slots.enumerated() {
            guard let slot else { continue }
            slots[index] = nil
            slot.reply.resume(returning: .retryAll(error))
        }
        outstanding = 0
        refuseWaiting(error)
    }

    // MARK: Tokens

    /// A token is the slot, and the offset relative to the slot's base in the lower bits.
    private static let offsetBits: UInt64 = 48
    private static let offsetMask: UInt64 = (1 << offsetBits) - 1

    private static func slot(of token: UInt64) -> Int { Int(token >> offsetBits) }

    private static func token(_ index: Int, _ relative: UInt64) -> UInt64 {
        UInt64(index) << offsetBits | relative & offsetMask
    }
}

extension SinkBatch {
    /// The size of a record; 0 for markers.
    fileprivate func recordBytes(at wanted: Offset) -> Int {
        var result = 0
        for case .records(let records) in items
        where records.baseOffset <= wanted && wanted < records.nextOffset {
            records.forEach { offset, bytes in
                if offset == wanted { result = bytes.byteCount }
            }
        }
        return result
    }
}
