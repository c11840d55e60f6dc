import EventLog
import FileIO
import Logging
import Records
import Sinks
import Telemetry

/// Which logs there are, and reading them.
extension SinkDriver {
    /// Longest time between two surveys; they find durable marks of logs whose reader is closed.
    private static let surveyInterval: UInt64 = 5_000_000_000
    /// Shortest time between two surveys: one costs a few file operations per log.
    private static let surveyIntervalMin: UInt64 = 100_000_000

    // MARK: Which logs there are

    /// Looks which logs there are, when that is due.
    func survey() {
        let began = now
        guard began >= surveyNotBefore else { return }
        let topology = directory.topologyCount
        guard topologySeen != topology || began >= surveyAt else { return }
        let summaries: [LogSummary]
        do throws(EventLogError) {
            summaries = try directory.logs()
        } catch {
            metrics.readFailures.add()
            logger.error(
                "logs_not_listed",
                metadata: ["sink": "\(pumped.name)", "error": "\(error)"]
            )
            topologySeen = nil
            surveyNotBefore = now &+ 1_000_000_000
            return
        }
        topologySeen = topology
        // At most a twentieth of the time goes into surveys.
        surveyNotBefore = now &+ max(Self.surveyIntervalMin, 20 * (now &- began))
        surveyAt = max(surveyNotBefore, now &+ Self.surveyInterval)
        for summary in summaries { adopt(summary) }
        if summaries.count != logs.count {
            let seen = Set(summaries.map(\.id))
            for id in logs.keys where !seen.contains(id) {
                if logs.removeValue(forKey: id)?.reader != nil { readersOpen -= 1 }
            }
            order.removeAll { !seen.contains($0) }
            nextInOrder = 0
        }
        // What appears later has never been shipped.
        reshipFrom = nil
        publishLag()
    }

    /// Takes over what is known of a log.
    private func adopt(_ summary: LogSummary) {
        let id = summary.id
        var log = logs[id] ?? begin(summary)
        log.durable = max(log.durable, summary.durableOffset.rawValue)
        log.end = summary.endOffset?.rawValue ?? log.end
        if case .unreadable(let until) = log.mode, now >= until { log.mode = .following }
        complete(&log)
        logs[id] = log
    }

    /// Starts to follow a log, at its checkpoint.
    private func begin(_ summary: LogSummary) -> PumpedLog {
        order.append(summary.id)
        let stored = checkpoints.loadTally(summary.id)
        var log = PumpedLog(
            id: summary.id,
            checkpoint: stored.offset.rawValue,
            tally: stored.tally
        )
        if let from = reshipFrom { rewind(&log, summary, to: from) }
        return log
    }

    /// Sets a log back to the first record that was appended at or after a time.
    private func rewind(_ log: inout PumpedLog, _ summary: LogSummary, to time: Int64) {
        do throws(EventLogError) {
            guard
                let first = try directory.firstOffset(of: summary, appendedFrom: time),
                first.rawValue < log.checkpoint
            else { return }
            // Stored at once: whatever happens, everything below it has been delivered.
            let tally = ConsumerTally(from: first.rawValue)
            try checkpoints.store(log.id, first, tally)
            logger.info(
                "log_set_back",
                metadata: [
                    "sink": "\(pumped.name)", "log": "\(log.id)", "from": "\(log.checkpoint)",
                    "to": "\(first)",
                ]
            )
            log = PumpedLog(id: log.id, checkpoint: first.rawValue, tally: tally)
        } catch {
            metrics.readFailures.add()
            logger.error(
                "log_not_set_back",
                metadata: [
                    "sink": "\(pumped.name)", "log": "\(log.id)", "error": "\(error)",
                ]
            )
        }
    }

    /// Closes a log of which nothing is left to do.
    private func complete(_ log: inout PumpedLog) {
        guard log.mode == .following, let end = log.end, log.window.isEmpty else { return }
        let last = pumped.sink.traits.isTransport ? end + 1 : end
        if log.acknowledged >= last {
            closeReader(&log)
            log.mode = .complete
        }
    }

    private func publishLag() {
        var lag: UInt64 = 0
        var open: Int64 = 0
        var sum = SinkAccount()
        for log in logs.values {
            sum = sum + log.account
            guard log.mode != .complete else { continue }
            lag += log.lag
            open += 1
        }
        metrics.show(sum)
        metrics.lagRecords.set(Int64(clamping: lag))
        metrics.logsFollowed.set(open)
    }

    // MARK: Reading

    /// Looks at the marks of the logs whose readers are open.
    ///
    /// - Returns: Whether there is something to read.
    func refreshMarks() -> Bool {
        var isFound = false
        for id in order {
            guard let log = logs[id], log.mode == .following else { continue }
            if let reader = log.reader {
                let durable = reader.durableOffset.rawValue
                if durable > log.durable { logs[id]?.durable = durable }
            }
            if logs[id]?.hasUnread == true { isFound = true }
        }
        return isFound
    }

    /// Reads a batch from the next log that has something; nil when none has.
    func nextBatch() -> SinkBatch? {
        for _ in 0..<order.count {
            nextInOrder = nextInOrder >= order.count ? 0 : nextInOrder
            let id = order[nextInOrder]
            nextInOrder += 1
            guard var log = logs[id], log.hasUnread else { continue }
            if pumped.sink.traits.ordersLogs, !log.window.isEmpty { continue }
            // Only one reference to the reader's state, or every step would copy it.
            logs[id] = nil
            let batch = read(&log)
            complete(&log)
            logs[id] = log
            if let batch { return batch }
        }
        return nil
    }

    /// Reads one batch of a log.
    private func read(_ log: inout PumpedLog) -> SinkBatch? {
        var items: [SinkItem] = []
        let from = log.position
        var end = log.position
        do throws(EventLogError) {
            guard try openReader(&log) else { return nil }
            var records = 0
            var bytes = 0
            while records < pumped.batchRecordsMax, bytes < pumped.batchBytesMax {
                guard let item = try log.reader?.next() else {
                    log.isCaughtUp = true
                    break
                }
                log.isCaughtUp = false
                switch item {
                case .records(let batch):
                    records += batch.count
                    bytes += batch.byteCount
                    log.appendTime = batch.appendTime
                    end = batch.nextOffset.rawValue
                    items.append(.records(batch))
                case .skip(let offsets, let reason):
                    end = offsets.upperBound.rawValue
                    log.note(offsets.lowerBound.rawValue..<end, PumpedLog.Fate(reason))
                    // What is gone without a trace is no skip: it shows as a gap behind Kafka.
                    if log.reader?.isMissing == true, pumped.sink.traits.isTransport {
                        reportMissing(offsets, of: log.id)
                        break
                    }
                    take(.skip(offsets, reason, appendTime: appendTime(log)), &items)
                    bytes += 64
                case .end(let offset):
                    log.endTaken = true
                    log.end = offset.rawValue
                    let isTransport = pumped.sink.traits.isTransport
                    end = isTransport ? offset.rawValue + 1 : offset.rawValue
                    take(.end(offset, appendTime: appendTime(log)), &items)
                }
                log.position = min(end, log.end ?? end)
                if log.endTaken { break }
            }
        } catch {
            metrics.readFailures.add()
            logger.error(
                "log_not_readable",
                metadata: ["sink": "\(pumped.name)", "log": "\(log.id)", "error": "\(error)"]
            )
            closeReader(&log)
            let until = now &+ 1_000_000_000
            log.mode = .unreadable(until: until)
            surveyAt = min(surveyAt, until)
        }
        if log.endTaken { closeReader(&log) }
        guard end > from || !items.isEmpty else { return nil }
        guard !items.isEmpty else {
            // Nothing that the sink has to know of.
            log.passOver(to: end)
            return nil
        }
        let entry = PumpedLog.Entry(flight: takeFlightID(), end: end, firstPending: from)
        log.window.append(entry)
        return SinkBatch(log: log.id, items: items)
    }

    private func reportMissing(_ offsets: Range<Offset>, of log: LogID) {
        metrics.skippedOver(UInt64(offsets.count), .damaged)
        logger.error(
            "segment_missing",
            metadata: [
                "sink": "\(pumped.name)", "log": "\(log)",
                "offsets": "\(offsets.lowerBound)..<\(offsets.upperBound)",
            ]
        )
    }

    /// Takes a marker, if the sink wants any.
    private func take(_ marker: SinkItem, _ items: inout [SinkItem]) {
        if pumped.sink.traits.isTransport {
            items.append(marker)
        } else if case .skip(let range, let reason, _) = marker {
            metrics.skippedOver(UInt64(range.count), reason)
        }
    }

    private func appendTime(_ log: PumpedLog) -> Int64 {
        log.appendTime ?? time.wallMicroseconds()
    }

    /// Opens a log's reader; false when too many are in use.
    private func openReader(_ log: inout PumpedLog) throws(EventLogError) -> Bool {
        if log.reader != nil { return true }
        if readersOpen >= configuration.readersMax, !closeIdleReader() { return false }
        log.reader = try directory.reader(log.id, from: Offset(log.position))
        readersOpen += 1
        return true
    }

    private func closeReader(_ log: inout PumpedLog) {
        if log.reader != nil { readersOpen -= 1 }
        log.reader = nil
    }

    /// Closes the reader of a log that has nothing to read; the next survey finds it again.
    private func closeIdleReader() -> Bool {
        for id in order {
            guard var log = logs[id], log.reader != nil, !log.hasUnread else { continue }
            closeReader(&log)
            logs[id] = log
            surveyAt = min(surveyAt, now &+ Self.surveyIntervalMin)
            return true
        }
        return false
    }

    // MARK: Checkpoints

    /// Notes what is left of a delivery.
    func acknowledge(_ flight: UInt64, _ id: LogID, _ firstPending: Offset?) {
        guard var log = logs[id] else { return }
        logs[id] = nil
        log.settle(flight, firstPending: firstPending?.rawValue)
        complete(&log)
        logs[id] = log
    }

    /// Checkpoints stored by one step at most: each takes two syncs, and deliveries wait meanwhile.
    private static let checkpointsPerStep = 16

    /// Stores checkpoints that are due.
    func storeCheckpoints(_ step: inout Step) {
        let interval = configuration.checkpointInterval.nanoseconds
        var stored = 0
        for (id, log) in logs where log.checkpoint < log.acknowledged {
            let due = log.checkpointAt &+ interval
            guard now >= due || log.checkpointAt == 0 else {
                step.wakeAt = min(step.wakeAt, due)
                continue
            }
            guard stored < Self.checkpointsPerStep else {
                step.wakeAt = now
                break
            }
            stored += 1
            store(id)
        }
        if stored > 0 { publishLag() }
    }

    /// Stores every checkpoint that has moved.
    package func storeAllCheckpoints() {
        for (id, log) in logs where log.checkpoint < log.acknowledged { store(id) }
        publishLag()
    }

    private func store(_ id: LogID) {
        guard let offset = logs[id]?.acknowledged else { return }
        logs[id]?.checkpointAt = max(1, now)
        do throws(EventLogError) {
            try checkpoints.store(id, Offset(offset), logs[id]?.tally)
            logs[id]?.checkpoint = offset
        } catch {
            metrics.checkpointFailures.add()
            logger.error(
                "checkpoint_not_stored",
                metadata: ["sink": "\(pumped.name)", "log": "\(id)", "error": "\(error)"]
            )
        }
    }
}

extension PumpedLog.Fate {
    /// What a sink's account calls offsets that are skipped.
    init(_ reason: SkipReason) {
        switch reason {
        case .filtered: self = .filtered
        case .sampled: self = .sampledOut
        case .damaged, .expired, .tooLarge, .rejected: self = .skipped
        }
    }
}
