import EventLog
import Kafka
import Postgres
import Records
import Synchronization

/// The topic that the pumps fill, read from its beginning to its end; no group is joined and no
/// position stored. A message counts as it counted live: the first of an identity, if its log is
/// trusted with it.
final class KafkaReplaySource: ReplaySource {
    private struct State {
        /// Where the next pass begins, by partition: before what may be wanted then.
        var positions: [Int32: Int64] = [:]
        /// The first offset of each log that is there, and when it was appended.
        var first: [LogID: (offset: UInt64, appendTime: Int64)] = [:]
        /// The end of the last hour in which something of a log was appended, as the ledger says.
        var latest: [LogID: Int64] = [:]
    }

    private let source: KafkaSourceConfiguration
    private let configuration: AggregatorConfiguration
    private let state = Mutex(State())

    /// How long a broker may say nothing; chosen: longer than a connection takes to come back.
    private static let patience: Duration = .seconds(60)
    /// Messages taken at once; chosen.
    private static let messagesPerPoll = 5_000
    /// Bytes gathered before all is folded; chosen: beside them there are whole batches.
    private static let bytesMax = 32 << 20
    private static let hourMicroseconds: Int64 = 3_600_000_000

    /// A source that has not connected.
    ///
    /// - Parameters:
    ///   - source: The topic.
    ///   - configuration: The database, and what messages are taken.
    init(_ source: KafkaSourceConfiguration, _ configuration: AggregatorConfiguration) {
        self.source = source
        self.configuration = configuration
    }

    var name: String { "the topic \"\(source.topic)\"" }

    var isReadAhead: Bool { false }

    /// Records are appended after they completed, or not much before; the append times of a log
    /// ascend with its offsets, as long as its clock does.
    func latestCompletion(of log: LogID, _ offsets: OffsetRanges) -> Int64? {
        let (first, latest) = state.withLock { ($0.first[log], $0.latest[log]) }
        guard let end = offsets.ranges.last?.upperBound else { return nil }
        let tolerance = configuration.futureTolerance.microseconds
        if let first, end <= first.offset { return first.appendTime + tolerance }
        return first == nil ? latest.map { $0 + tolerance } : nil
    }

    func read(
        _ wanted: [LogID: OffsetRanges],
        folded: [LogID: OffsetRanges],
        _ fold: ReplayFold
    ) throws(ReplayError) -> ReplayPassed {
        var pass = KafkaReplayPass(
            wanted: wanted,
            folded: folded,
            trust: try trust(wanted.keys.sorted()),
            messageBytesMax: configuration.messageBytesMax
        )
        var trouble: String?
        do throws(KafkaError) {
            let admin = try KafkaAdmin(source.kafka)
            let topic = try admin.topic(source.topic, timeout: Self.patience)
            admin.close()
            guard let topic else { return pass.passed }
            var start: [KafkaPartition: Int64] = [:]
            let positions = state.withLock { $0.positions }
            for number in 0..<Int32(clamping: topic.partitionCount) {
                start[KafkaPartition(source.topic, number)] =
                    positions[number] ?? KafkaOffset.beginning
            }
            let consumer = try KafkaConsumer(source.kafka, group: source.group + "-replay")
            defer { consumer.close(timeout: .seconds(5)) }
            try consumer.assign(start)
            var open = Set(start.keys)
            var deadline = ContinuousClock.now + Self.patience
            while !open.isEmpty, pass.failure == nil {
                var heard: String?
                let count = consumer.poll(
                    timeout: .milliseconds(200),
                    countMax: Self.messagesPerPoll
                ) { event in
                    switch event {
                    case .message(let message):
                        GroupConsumer.take(message) { pass.take($0, $1, $2) }
                    case .endOfPartition(let partition, _): open.remove(partition)
                    case .error(let error, _): heard = "\(error)"
                    default: break
                    }
                }
                if count > 0, heard == nil {
                    deadline = ContinuousClock.now + Self.patience
                } else if ContinuousClock.now > deadline {
                    trouble = heard ?? trouble ?? "no broker says anything"
                    break
                }
                trouble = heard ?? trouble
                pass.flush(all: pass.openBytes > Self.bytesMax, fold)
            }
            if open.isEmpty { trouble = nil }
        } catch {
            throw .refused("the topic could not be read: \(error)")
        }
        if let trouble { throw .refused("the topic could not be read: \(trouble)") }
        pass.flush(all: true, fold)
        if let failure = pass.failure { throw failure }
        state.withLock { state in
            state.positions.merge(pass.positions) { $1 }
            for (log, found) in pass.first
            where found.offset < state.first[log]?.offset ?? .max { state.first[log] = found }
        }
        return pass.passed
    }

    /// Which organisations logs may bill, as the database knows; also looks when they ended.
    private func trust(_ logs: [LogID]) throws(ReplayError) -> [LogID: LogTrust] {
        do throws(PostgresError) {
            let connection = try PostgresConnection(
                configuration.postgres,
                applicationName: "sluice-replay-logs"
            )
            let known = try FoldStatements.load(Examination(logs: logs), on: connection)
            let hours = try connection.query(
                """
                SELECT l.log_id, max(l.hour) FROM sluice.ledger l
                JOIN sluice.generation g ON g.id = l.generation AND g.state = 'active'
                WHERE l.log_id = ANY ($1::text[]::uuid[]) GROUP BY 1
                """,
                [.textArray(logs.map(\.description))]
            )
            state.withLock { state in
                for row in 0..<hours.rowCount {
                    guard let uuid = hours.uuid(row, 0), let hour = hours.timestamp(row, 1) else {
                        continue
                    }
                    state.latest[LogID(high: uuid.high, low: uuid.low)] =
                        hour + Self.hourMicroseconds
                }
            }
            var trust: [LogID: LogTrust] = [:]
            for log in logs { trust[log] = LogTrust(stored: known.orgs[log]) }
            return trust
        } catch { throw .database(error) }
    }
}

/// One pass over the topic.
struct KafkaReplayPass {
    /// What is wanted of a log, and what is gathered of it.
    private struct Log {
        var wanted: OffsetRanges
        let gathering: KafkaLog
    }

    private var logs: [LogID: Log] = [:]
    private let folded: [LogID: OffsetRanges]
    private let messageBytesMax: Int
    private var skipped: [LogID: OffsetRanges] = [:]
    /// Batches that are complete.
    private var ready: [(log: LogID, batch: LogBatch)] = []
    /// Bytes that are gathered and not folded.
    private(set) var openBytes = 0
    /// Where the next pass begins, by partition.
    private(set) var positions: [Int32: Int64] = [:]
    /// Partitions whose position stays where it is: what lies there may be wanted later.
    private var held: Set<Int32> = []
    /// The first offset of each log, and when it was appended, µs since the epoch.
    private(set) var first: [LogID: (offset: UInt64, appendTime: Int64)] = [:]
    /// Why the pass is to end early.
    private(set) var failure: ReplayError?

    /// A pass that has seen nothing.
    init(
        wanted: [LogID: OffsetRanges],
        folded: [LogID: OffsetRanges],
        trust: [LogID: LogTrust],
        messageBytesMax: Int
    ) {
        self.folded = folded
        self.messageBytesMax = messageBytesMax
        for (id, ranges) in wanted {
            let gathering = KafkaLog(
                id: id,
                seen: OffsetRanges(),
                trust: trust[id] ?? LogTrust(stored: nil),
                endTaken: nil
            )
            logs[id] = Log(wanted: ranges, gathering: gathering)
        }
    }

    /// What has no record, and what was not met.
    var passed: ReplayPassed {
        var passed = ReplayPassed()
        passed.skipped = skipped
        for (id, log) in logs where !log.wanted.isEmpty { passed.missing[id] = log.wanted }
        return passed
    }

    /// Takes a message, or passes over it.
    mutating func take(_ message: ConsumedMessage, _ key: Span<UInt8>, _ value: Span<UInt8>) {
        let partition = message.partition
        if !held.contains(partition) { positions[partition] = message.offset + 1 }
        guard let identity = message.headers.identity, LogID(text: key) == identity.log else {
            return
        }
        guard message.hasValue else { return skip(message, identity) }
        guard message.headers.marker == nil, value.count <= messageBytesMax,
            MessageIdentity(recordPrefix: value) == identity
        else { return }
        let offset = identity.offset
        if first[identity.log].map({ offset < $0.offset }) ?? true {
            first[identity.log] = (offset, message.timestamp * 1_000)
        }
        guard logs[identity.log]?.wanted.contains(offset) == true else {
            hold(message, identity.log, offset..<(offset + 1))
            return
        }
        guard let log = logs[identity.log] else { return }
        let hour = message.timestamp / 3_600_000
        if !log.gathering.continues(offset, partition, hour: hour) {
            close(identity.log)
            // It may just have been taken.
            guard logs[identity.log]?.wanted.contains(offset) == true else { return }
            let appendTime = max(0, message.timestamp) * 1_000
            log.gathering.begin(offset, partition, appendTime: appendTime, hour: hour)
        }
        log.gathering.append(value, place: message.offset)
        openBytes += value.count
    }

    /// Takes offsets without records.
    private mutating func skip(_ message: ConsumedMessage, _ identity: MessageIdentity) {
        guard message.headers.marker == .skip, let until = message.headers.until,
            until > identity.offset, message.headers.reason != nil
        else { return }
        let range = identity.offset..<until
        close(identity.log)
        guard let log = logs[identity.log] else {
            hold(message, identity.log, range)
            return
        }
        let here = OffsetRanges(range).intersection(log.wanted)
        if here.offsetCount < UInt64(range.count) { hold(message, identity.log, range) }
        guard !here.isEmpty else { return }
        skipped[identity.log, default: OffsetRanges()].formUnion(here)
        logs[identity.log]?.wanted = log.wanted.subtracting(here)
    }

    /// Remembers a place at which something lies that the active generation has not folded yet.
    private mutating func hold(
        _ message: ConsumedMessage,
        _ log: LogID,
        _ range: Range<UInt64>
    ) {
        guard folded[log]?.containsAll(range) != true, held.insert(message.partition).inserted
        else { return }
        positions[message.partition] = message.offset
    }

    /// Ends what is gathered of a log.
    private mutating func close(_ id: LogID) {
        guard let log = logs[id], !log.gathering.isIdle else { return }
        let (batch, _) = log.gathering.takeBatch()
        let range = batch.baseOffset.rawValue..<batch.nextOffset.rawValue
        logs[id]?.wanted = log.wanted.subtracting(OffsetRanges(range))
        ready.append((id, batch))
    }

    /// Folds the batches that are complete.
    ///
    /// - Parameters:
    ///   - all: Whether the others are completed.
    ///   - fold: Folds.
    mutating func flush(all: Bool, _ fold: ReplayFold) {
        if all { for id in logs.keys.sorted() { close(id) } }
        let batches = ready
        ready = []
        for (id, batch) in batches {
            openBytes -= min(openBytes, batch.byteCount - 4 * batch.count)
            guard let log = logs[id] else { continue }
            let range = OffsetRanges(batch.baseOffset.rawValue..<batch.nextOffset.rawValue)
            do throws(ReplayError) {
                try fold(.records(batch), id, range, &log.gathering.trust)
            } catch {
                failure = failure ?? error
                return
            }
            guard !log.gathering.trust.refused.isEmpty else { continue }
            // Somebody else's record: the genuine one may come yet.
            var refused = OffsetRanges()
            for offset in log.gathering.trust.refused { refused.insert(offset..<(offset + 1)) }
            log.gathering.trust.forgetRefused()
            logs[id]?.wanted.formUnion(refused)
        }
    }
}
