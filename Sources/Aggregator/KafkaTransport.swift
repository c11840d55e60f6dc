import EventLog
import FileIO
import Logging
import Records
import Telemetry
import Threads

/// Takes records from the partitions that a consumer group gives to this aggregator.
///
/// Where a partition begins is decided by `sluice.transport_offset` alone, and what counts by
/// `sluice.source`: a message that comes twice, or to two aggregators, counts once. Rules of
/// `docs/decisions/0023-kafka-transport.md`.
///
/// Owner: a `ThreadOwned`, with the fold loop.
final class KafkaTransport: FoldTransport {
    /// What is consumed.
    struct Topic: Sendable {
        let name: String
    }

    let configuration: AggregatorConfiguration
    let topic: Topic
    let consumer: any TransportConsumer
    let time: any TimeSource
    let metrics: AggregatorMetrics
    let logger: Logger
    let stop: StopSignal
    let failure: TransportFailure
    /// Rung when the writer has become idle, and to stop.
    private let bell: Doorbell

    /// The cluster's id, once a broker has told it.
    var clusterID: String?
    /// The partitions that the group has given to this aggregator.
    var partitions: [Int32: AssignedPartition] = [:]
    /// The logs that the database has been asked about.
    var logs: [LogID: KafkaLog] = [:]
    /// The log of the message before, which mostly is that of the next one.
    var latestLog: KafkaLog?
    /// Messages that wait for an answer of the database: one of a log that is not known yet, and
    /// all after it.
    var stash = MessageStash()
    /// The logs of stashed messages that are not known yet.
    var unasked: Set<LogID> = []
    /// Logs of which records came although their first one has not been seen: it may have come to
    /// another aggregator.
    var unbound: Set<LogID> = []
    /// Before this the database is not asked about unbound logs again.
    var askUnboundAt: UInt64 = 0
    /// Before this the database is not asked about partitions again.
    var askPartitionsAt: UInt64 = 0
    /// Whether messages that come are put aside, because nothing is being collected.
    var isAttending = false

    /// The batch being collected; empty in between.
    var current = FoldJob(.none)
    /// Logs with records that are gathered but not folded yet.
    var openLogs: [KafkaLog] = []
    /// Partitions of which the batch has messages.
    var touched: [AssignedPartition] = []
    /// Bytes gathered but not folded yet.
    var openBytes = 0
    /// Records gathered but not folded yet.
    var openCount = 0
    /// The latest completion time that is folded into this batch.
    var latest: Int64 = 0

    /// Positions that have been committed, for the group.
    var committed: [Int32: Int64] = [:]
    /// Before this nothing is told to the group, and no gauges are set.
    private var reportAt: UInt64 = 0
    /// Before this an error of the consumer is not logged again.
    var complainAt: UInt64 = 0

    /// A transport that has not joined the group.
    init(
        _ configuration: AggregatorConfiguration,
        topic: Topic,
        consumer: any TransportConsumer,
        bell: Doorbell,
        failure: TransportFailure,
        time: any TimeSource,
        metrics: AggregatorMetrics,
        logger: Logger,
        stop: StopSignal
    ) {
        self.configuration = configuration
        self.topic = topic
        self.consumer = consumer
        self.bell = bell
        self.failure = failure
        self.time = time
        self.metrics = metrics
        self.logger = logger
        self.stop = stop
    }

    var now: UInt64 { time.monotonicNanoseconds() }

    /// Whether nothing can be collected before the database has been asked.
    var needsExamination: Bool {
        if !unasked.isEmpty { return true }
        return now >= askPartitionsAt && partitions.values.contains { $0.isWaiting }
    }

    var nextExamination: UInt64 {
        let latest = now &+ 1_000_000_000
        guard partitions.values.contains(where: \.isWaiting) else { return latest }
        return min(latest, max(askPartitionsAt, now))
    }

    // MARK: Collecting

    func collect(into job: inout FoldJob, giveUpAt: UInt64, isWriterIdle: () -> Bool) {
        swap(&job, &current)
        defer {
            finish()
            swap(&job, &current)
        }
        latest = configuration.latestCompletion(time)
        var flushAt: UInt64?
        while !stop.isStopping {
            drain()
            if isFull || needsExamination { return }
            let now = self.now
            if flushAt == nil, !touched.isEmpty {
                flushAt = now &+ UInt64(clamping: configuration.flushInterval.nanoseconds)
            }
            let isOld = flushAt.map { now >= $0 } ?? false
            if isOld, isWriterIdle() { return }
            if flushAt == nil, now >= giveUpAt { return }
            let until = isOld ? now &+ Self.companyTime : flushAt ?? giveUpAt
            let before = messageCount
            poll(.nanoseconds(Int64(clamping: until &- now)))
            // Nothing more came, and the writer is still busy.
            if isOld, messageCount == before, !isWriterIdle() { return }
        }
    }

    /// How long a batch that is old enough waits for more while the writer is busy; chosen.
    private static let companyTime: UInt64 = 50_000_000

    /// Messages seen since the start.
    var messageCount: UInt64 = 0

    /// When `poll` was last called: the time of its messages is not asked for one by one.
    var polledAt: UInt64 = 0

    /// Lets the consumer hand over what it has.
    private func poll(_ timeout: Duration) {
        polledAt = now
        consumer.poll(
            timeout: timeout,
            countMax: configuration.messagesPerPollMax,
            take: { message, key, value in
                receive(message, key, value)
            },
            handle: { event in handle(event) }
        )
        movePartitions()
    }

    /// Takes stashed messages, until one has to wait again.
    private func drain() {
        guard unasked.isEmpty else { return }
        while !isFull {
            var isTaken = true
            let hasOne = stash.withFirst { message, key, value, epoch in
                guard let partition = partitions[message.partition], partition.epoch == epoch
                else { return }
                isTaken = take(message, key, value, of: partition)
            }
            guard hasOne, isTaken else { break }
            stash.removeFirst()
        }
        movePartitions()
    }

    var isFull: Bool {
        current.isFull(configuration)
            || current.batch.byteCount + openBytes >= configuration.flushBytesMax
            || Int(clamping: current.batch.offsetCount) + openCount
                >= configuration.flushRecordsMax
            || openLogs.count >= configuration.flushLogsMax
    }

    /// Folds what was gathered, and notes how far the partitions are.
    private func finish() {
        for log in openLogs {
            flush(log)
            log.isOpen = false
        }
        openLogs.removeAll(keepingCapacity: true)
        openBytes = 0
        openCount = 0
        for partition in touched { notePosition(of: partition) }
        touched.removeAll(keepingCapacity: true)
    }

    // MARK: While the writer is busy

    /// How long the consumer is left alone before it is paused and served; chosen: far below
    /// `max.poll.interval.ms`, and longer than most transactions.
    private static let patience: UInt64 = 2_000_000_000

    func attend(until isWriterIdle: () -> Bool) {
        let pauseAt = now &+ Self.patience
        while !stop.isStopping {
            let seen = bell.count
            if isWriterIdle() || stop.isStopping { return }
            let now = self.now
            if now >= pauseAt { break }
            bell.wait(since: seen, timeoutNanoseconds: Int64(clamping: pauseAt &- now))
        }
        // The database is slow or down: nothing more is fetched, but the group is answered.
        consumer.pause()
        isAttending = true
        while !stop.isStopping, !isWriterIdle() { poll(.seconds(1)) }
        isAttending = false
        consumer.resume()
        // What was fetched before the pause may have been dropped: every partition goes on at its
        // position, and what was put aside comes again.
        stash.removeAll()
        unasked.removeAll()
        for partition in partitions.values {
            switch partition.state {
            case .following: partition.state = .returning
            case .verifying: partition.reposition()
            case .assigning, .repositioning, .rewinding, .returning: break
            }
        }
    }

    // MARK: Between two batches

    func housekeep() {
        let now = self.now
        guard now >= reportAt else { return }
        reportAt =
            now
            &+ min(
                1_000_000_000,
                UInt64(clamping: configuration.silenceMax.nanoseconds)
            )
        probePartitions()
        if !committed.isEmpty {
            consumer.commit(committed)
            committed.removeAll()
        }
        var sum: Int64 = 0
        var longest: Int64 = 0
        for partition in partitions.values {
            // Before the first message only the broker knows where a partition begins.
            guard let next = partition.next,
                let (_, high) = consumer.watermarks(partition.number)
            else { continue }
            let lag = max(0, high.subtractingReportingOverflow(next).partialValue)
            sum = sum.addingReportingOverflow(lag).partialValue
            longest = max(longest, lag)
        }
        metrics.lagMessages.set(sum)
        metrics.lagMessagesMax.set(longest)
        metrics.lagRecords.set(sum)
        metrics.partitionsAssigned.set(Int64(partitions.count))
        metrics.logsFollowed.set(Int64(logs.count))
    }

    func apply(_ result: FoldResult) -> [LogID] {
        for (id, folded) in result.folded { logs[id]?.seen.formUnion(folded) }
        for position in result.positions { committed[position.partition] = position.nextOffset }
        return []
    }

    func distrust() {
        logs.removeAll()
        latestLog = nil
        stash.removeAll()
        unasked.removeAll()
        unbound.removeAll()
        committed.removeAll()
        for partition in partitions.values { partition.reposition() }
    }

    func close() { consumer.close() }
}
