import EventLog
import Logging
import Records
import Telemetry

/// What the database says, and what follows from it.
extension LocalTransport {
    /// How often it is looked whether somebody has accepted a hole, or filled it; chosen.
    private static let holeInterval: UInt64 = 5_000_000_000

    /// The logs that are to be looked at in the database now.
    var examination: Examination {
        let now = self.now
        return Examination(
            logs: logs.values.compactMap { log in
                switch log.mode {
                case .unasked: log.id
                case .yielded(let at, _), .paused(let at), .unreadable(let at):
                    at <= now ? log.id : nil
                case .following: log.hasHole && log.holeExamineAt <= now ? log.id : nil
                case .complete: nil
                }
            }
        )
    }

    /// When the next log is due for examination, at most a second from now.
    var nextExamination: UInt64 {
        var earliest = now &+ 1_000_000_000
        for log in logs.values {
            switch log.mode {
            case .unasked: earliest = now
            case .yielded(let at, _), .paused(let at), .unreadable(let at):
                earliest = min(earliest, at)
            case .following: if log.hasHole { earliest = min(earliest, log.holeExamineAt) }
            case .complete: break
            }
        }
        return earliest
    }

    func adopt(_ state: FoldedState, _ examination: Examination) {
        for id in examination.logs {
            guard var log = logs[id] else { continue }
            let folded = state.folded[id] ?? OffsetRanges()
            let hasAdvanced = folded != log.folded
            if log.mode == .following {
                // What was committed since the database was asked stays.
                log.folded.formUnion(folded)
                log.holeExamineAt = now &+ Self.holeInterval
            } else {
                log.folded = folded
            }
            // Only the end that is here counts: a copy of the log may have ended earlier.
            if let end = log.end, let recorded = state.ends[id] {
                log.endRecorded = recorded >= end
            }
            if folded.ranges.count > configuration.rangesPerLogMax {
                pause(&log, ranges: folded.ranges.count)
            } else if log.isComplete {
                complete(&log)
            } else {
                examine(&log, hasAdvanced: hasAdvanced)
            }
            logs[id] = log
        }
    }

    /// Begins to follow a log that the database has just been asked about.
    private func start(_ log: inout FollowedLog) {
        log.checkpoint = checkpoints.load(log.id).rawValue
        if log.checkpoint > log.done {
            // The database is older than the checkpoint: a restored backup. What the segments
            // still hold is folded again; first of all nothing more may be deleted.
            logger.warning(
                "the database is older than the checkpoint, reading the log again",
                metadata: [
                    "log": "\(log.id)", "checkpoint": "\(log.checkpoint)", "folded": "\(log.done)",
                ]
            )
            metrics.logsReset.add()
            store(&log)
        }
        follow(&log)
    }

    private func follow(_ log: inout FollowedLog) {
        closeReader(&log)
        log.reset()
        log.mode = .following
    }

    /// Decides about a log that was left alone: whoever makes progress keeps it.
    private func examine(_ log: inout FollowedLog, hasAdvanced: Bool) {
        switch log.mode {
        case .unasked: start(&log)
        case .paused, .unreadable: follow(&log)
        case .yielded(_, let workSince):
            if let summary = try? directory.log(log.id) {
                log.durable = summary.durableOffset.rawValue
                log.end = summary.endOffset?.rawValue ?? log.end
            }
            if !hasAdvanced, log.hasWork, workSince == log.folded {
                logger.info("taking over a log", metadata: ["log": "\(log.id)"])
                log.checkpoint = checkpoints.load(log.id).rawValue
                follow(&log)
            } else {
                yield(&log, workSince: log.hasWork ? log.folded : nil)
            }
        case .following, .complete: break
        }
    }

    /// Leaves a log to others for a random while.
    private func yield(_ log: inout FollowedLog, workSince: OffsetRanges?) {
        closeReader(&log)
        log.reset()
        let longest = max(2, UInt64(clamping: configuration.retryDelayMax.nanoseconds))
        let delay = UInt64.random(in: longest / 2...longest, using: &random)
        log.mode = .yielded(examineAt: now &+ delay, workSince: workSince)
    }

    private func pause(_ log: inout FollowedLog, ranges: Int) {
        closeReader(&log)
        log.reset()
        if case .paused = log.mode {
        } else {
            logger.error(
                """
                a log is paused because its folded set is in too many pieces; find out who \
                folds offsets out of order
                """,
                metadata: ["log": "\(log.id)", "ranges": "\(ranges)"]
            )
        }
        log.mode = .paused(examineAt: now &+ 10_000_000_000)
    }

    private func complete(_ log: inout FollowedLog) {
        closeReader(&log)
        log.reset()
        log.mode = .complete
        if log.checkpoint != log.done { log.checkpoint = checkpoints.load(log.id).rawValue }
        if log.checkpoint != log.done { store(&log) }
    }

    // MARK: After a transaction

    func apply(_ result: FoldResult) -> [LogID] {
        var dropped: [LogID] = []
        for (id, folded) in result.folded { logs[id]?.folded.formUnion(folded) }
        for id in result.ended { logs[id]?.endRecorded = true }
        for (id, folded) in result.yielded {
            guard var log = logs[id] else { continue }
            log.folded = folded
            yield(&log, workSince: nil)
            logs[id] = log
            dropped.append(id)
        }
        for (id, ranges) in result.crowded {
            guard var log = logs[id] else { continue }
            pause(&log, ranges: ranges)
            logs[id] = log
            dropped.append(id)
        }
        for id in result.folded.keys {
            guard var log = logs[id], log.mode == .following, log.isComplete else { continue }
            complete(&log)
            logs[id] = log
        }
        for id in result.ended {
            guard var log = logs[id], log.mode == .following, log.isComplete else { continue }
            complete(&log)
            logs[id] = log
        }
        return dropped
    }

    /// Nothing: logs wait.
    func attend(until isWriterIdle: () -> Bool) {}

    /// Nothing: files close themselves.
    func close() {}

    func distrust() {
        for id in logs.keys {
            guard var log = logs[id] else { continue }
            closeReader(&log)
            log.folded = OffsetRanges()
            log.endRecorded = false
            log.reset()
            log.mode = .unasked
            logs[id] = log
        }
    }

    // MARK: Checkpoints

    /// Checkpoints stored per call: each costs two syncs.
    private static let checkpointsPerCall = 16
    /// Shortest time between two checkpoints of a log that goes on.
    private static let checkpointInterval: UInt64 = 1_000_000_000

    /// Stores checkpoints that have moved, oldest first, a few per call.
    func storeCheckpoints() {
        let now = self.now
        var due: [(at: UInt64, id: LogID)] = []
        for log in logs.values where log.mode == .following && log.checkpoint < log.done {
            if log.checkpointAt &+ Self.checkpointInterval <= now {
                due.append((log.checkpointAt, log.id))
            }
        }
        due.sort { $0.at < $1.at }
        for (_, id) in due.prefix(Self.checkpointsPerCall) {
            guard var log = logs[id] else { continue }
            store(&log)
            logs[id] = log
        }
    }

    private func store(_ log: inout FollowedLog) {
        log.checkpointAt = now
        do throws(EventLogError) {
            try checkpoints.store(log.id, Offset(log.done))
            log.checkpoint = log.done
        } catch {
            metrics.checkpointFailures.add()
            logger.error(
                "could not store a checkpoint",
                metadata: ["log": "\(log.id)", "error": "\(error)"]
            )
        }
    }
}
