import EventLog
import FileIO
import Logging
import Records
import Telemetry

/// Follows all logs of a data directory and collects what is not folded yet. Every call blocks.
///
/// Where a log starts is decided by `sluice.source` alone; checkpoints are only written, for
/// retention and for those who wait. So a database restored from a backup is filled again from
/// what the segments still hold.
///
/// Owner: a `ThreadOwned`, with the fold loop.
final class LocalTransport: FoldTransport {
    let configuration: AggregatorConfiguration
    let directory: LogDirectory
    let checkpoints: CheckpointStore
    let time: any TimeSource
    let metrics: AggregatorMetrics
    let logger: Logger
    let stop: StopSignal
    var random = SystemRandom()

    /// All logs that are there, by id.
    var logs: [LogID: FollowedLog] = [:]
    /// The logs in the order in which they are served.
    private var order: [LogID] = []
    /// Where the next pass begins, so that no log is always first.
    private var nextInOrder = 0
    /// How many readers are open.
    private var readersOpen = 0
    /// The set of logs at the last survey.
    private var topologySeen: UInt32?
    /// When the next survey is due even if the set of logs did not change.
    private var surveyAt: UInt64 = 0
    /// Before this no survey is made.
    private var surveyNotBefore: UInt64 = 0

    /// A transport that has not looked at anything.
    init(
        _ configuration: AggregatorConfiguration,
        directory: LogDirectory,
        time: any TimeSource,
        metrics: AggregatorMetrics,
        logger: Logger,
        stop: StopSignal
    ) throws(EventLogError) {
        self.configuration = configuration
        self.directory = directory
        self.checkpoints = try directory.checkpoints(consumer: configuration.consumer)
        self.time = time
        self.metrics = metrics
        self.logger = logger
        self.stop = stop
    }

    var now: UInt64 { time.monotonicNanoseconds() }

    // MARK: Which logs there are

    /// Longest time between two surveys; they find durable marks for the lag, and logs whose
    /// appearance rang before we listened.
    private static let surveyInterval: UInt64 = 5_000_000_000
    /// Shortest time between two surveys: one costs a few file operations per log.
    private static let surveyIntervalMin: UInt64 = 100_000_000

    /// Whether the set of logs has changed since the last survey, or it has been a while.
    private var isSurveyDue: Bool {
        now >= surveyNotBefore && (topologySeen != directory.topologyCount || now >= surveyAt)
    }

    func housekeep() {
        survey()
        storeCheckpoints()
    }

    /// Looks which logs there are, when that is due. New ones are `unasked`.
    private func survey() {
        guard isSurveyDue else { return }
        let topology = directory.topologyCount
        let started = now
        let summaries: [LogSummary]
        do throws(EventLogError) {
            summaries = try directory.logs()
        } catch {
            metrics.readFailures.add()
            logger.error("could not list the logs", metadata: ["error": "\(error)"])
            topologySeen = nil
            surveyNotBefore = now &+ 1_000_000_000
            return
        }
        topologySeen = topology
        // At most a twentieth of the time goes into surveys.
        surveyNotBefore = now &+ max(Self.surveyIntervalMin, 20 * (now &- started))
        surveyAt = max(surveyNotBefore, now &+ Self.surveyInterval)
        var seen: Set<LogID> = []
        for summary in summaries {
            seen.insert(summary.id)
            if logs[summary.id] == nil {
                logs[summary.id] = FollowedLog(id: summary.id)
                order.append(summary.id)
            }
            logs[summary.id]?.durable = summary.durableOffset.rawValue
            logs[summary.id]?.end = summary.endOffset?.rawValue
        }
        if seen.count != logs.count {
            for id in logs.keys where !seen.contains(id) { forget(id) }
            order.removeAll { !seen.contains($0) }
            nextInOrder = 0
        }
        publishGauges()
    }

    private func forget(_ id: LogID) {
        if let log = logs.removeValue(forKey: id), log.reader != nil { readersOpen -= 1 }
    }

    private func publishGauges() {
        var lag: UInt64 = 0
        var open: Int64 = 0
        var paused: Int64 = 0
        for log in logs.values where log.mode != .complete {
            open += 1
            if log.durable > log.done { lag += log.durable - log.done }
            if case .paused = log.mode { paused += 1 }
        }
        metrics.lagRecords.set(Int64(clamping: lag))
        metrics.logsFollowed.set(open)
        metrics.logsPaused.set(paused)
    }

    // MARK: Collecting

    /// Bytes taken from one log before the next one has its turn.
    private static let quantumBytes = 1 << 20

    func collect(
        into job: inout FoldJob,
        giveUpAt: UInt64,
        isWriterIdle: () -> Bool
    ) {
        let latest = configuration.latestCompletion(time)
        var flushAt: UInt64?
        while !stop.isStopping {
            let change = directory.changeCount
            let progressed = pass(into: &job, latest: latest)
            if job.isFull(configuration) { return }
            let now = self.now
            if flushAt == nil, !job.batch.isEmpty {
                flushAt = now &+ UInt64(clamping: configuration.flushInterval.nanoseconds)
            }
            if let flushAt, now >= flushAt, isWriterIdle() || !progressed { return }
            if progressed { continue }
            if job.batch.isEmpty, now >= giveUpAt || isSurveyDue { return }
            var until = flushAt ?? giveUpAt
            if topologySeen != directory.topologyCount { until = min(until, surveyNotBefore) }
            guard until > now else { continue }
            directory.waitForChange(
                since: change,
                timeout: .nanoseconds(Int64(clamping: until - now))
            )
        }
    }

    /// Gives every log one turn; false when none had anything.
    private func pass(into job: inout FoldJob, latest: Int64) -> Bool {
        var progressed = false
        let count = order.count
        for _ in 0..<count {
            if stop.isStopping || job.isFull(configuration) { break }
            nextInOrder = nextInOrder >= count ? 0 : nextInOrder
            let id = order[nextInOrder]
            nextInOrder += 1
            guard var log = logs.removeValue(forKey: id) else { continue }
            if log.mode == .following, serve(&log, into: &job, latest: latest) {
                progressed = true
            }
            logs[id] = log
        }
        return progressed
    }

    /// Takes one quantum from a log; false when it had nothing.
    private func serve(_ log: inout FollowedLog, into job: inout FoldJob, latest: Int64) -> Bool {
        do throws(EventLogError) {
            guard try openReader(&log) else { return false }
            var taken = 0
            while taken < Self.quantumBytes {
                guard let item = try log.reader?.next() else {
                    log.isCaughtUp = true
                    break
                }
                log.isCaughtUp = false
                if case .skip(let offsets, _) = item, log.reader?.isMissing == true {
                    passOver(offsets, of: &log)
                    taken += 1
                    continue
                }
                // An empty item costs something too.
                taken += 1 + take(item, of: &log, into: &job, latest: latest)
                if job.isFull(configuration) { break }
            }
            return taken > 0
        } catch {
            metrics.readFailures.add()
            logger.error(
                "could not read a log, trying again",
                metadata: ["log": "\(log.id)", "error": "\(error)"]
            )
            closeReader(&log)
            log.mode = .unreadable(examineAt: now &+ 1_000_000_000)
            return false
        }
    }

    /// Leaves offsets unfolded that are gone without a trace: a gap in the ledger, which holds the
    /// checkpoint back, until their segment is there again.
    private func passOver(_ offsets: Range<Offset>, of log: inout FollowedLog) {
        logger.error(
            "a segment of a log is gone; bring it back and start the aggregator again",
            metadata: [
                "log": "\(log.id)", "offsets": "\(offsets.lowerBound)..<\(offsets.upperBound)",
            ]
        )
        log.position = max(log.position, offsets.upperBound.rawValue)
    }

    /// Puts an item's unfolded offsets into the batch; returns the bytes taken.
    private func take(
        _ item: LogItem,
        of log: inout FollowedLog,
        into job: inout FoldJob,
        latest: Int64
    ) -> Int {
        let range: Range<UInt64>
        let retained: RetainedBatch.Item
        var bytes = 0
        switch item {
        case .records(let batch):
            range = batch.baseOffset.rawValue..<batch.nextOffset.rawValue
            retained = .records(batch)
            bytes = batch.byteCount
            log.appendTime = batch.appendTime
        case .skip(let offsets, let reason):
            range = offsets.numbers
            retained = .skip(
                range,
                reason,
                appendTime: log.appendTime ?? time.wallMicroseconds()
            )
        case .end(let offset):
            log.end = offset.rawValue
            guard !log.endRecorded, !log.endTaken else { return 0 }
            log.endTaken = true
            let end = RetainedBatch.Item.end(offset.rawValue, seenAt: time.wallMicroseconds())
            job.batch.append(end, of: log.id, wanted: [])
            job.output.fold(end, of: log.id, wanted: OffsetRanges(), latest: latest)
            return 0
        }
        log.position = max(log.position, range.upperBound)
        let parts = OffsetRanges.parts(of: range, without: log.folded)
        guard !parts.isEmpty else { return bytes }
        job.batch.append(retained, of: log.id, wanted: parts)
        var wanted = OffsetRanges()
        for part in parts { wanted.insert(part) }
        job.output.fold(retained, of: log.id, wanted: wanted, latest: latest)
        return bytes
    }

    // MARK: Readers

    /// Opens a log's reader if there is something to read; false when there is none.
    private func openReader(_ log: inout FollowedLog) throws(EventLogError) -> Bool {
        if log.reader != nil { return true }
        guard log.durable > log.position || log.end != nil || !log.isCaughtUp else {
            return false
        }
        if readersOpen >= configuration.readersMax, !closeIdleReader() { return false }
        log.reader = try directory.reader(log.id, from: Offset(log.position))
        readersOpen += 1
        return true
    }

    func closeReader(_ log: inout FollowedLog) {
        if log.reader != nil { readersOpen -= 1 }
        log.reader = nil
    }

    /// Closes the reader of a log that has nothing to read; the next survey finds it again.
    private func closeIdleReader() -> Bool {
        for id in order {
            guard var log = logs[id], log.reader != nil, log.isCaughtUp else { continue }
            closeReader(&log)
            logs[id] = log
            surveyAt = min(surveyAt, now &+ Self.surveyIntervalMin)
            return true
        }
        return false
    }
}
