import EventLog
import Records

/// What the local transport knows of one log.
struct FollowedLog {
    /// Who folds the log, as far as this aggregator is concerned. Permitted transitions:
    enum Mode: Equatable {
        /// Nobody, before the database has been asked (again). → all others.
        case unasked
        /// This aggregator. → `yielded`, `paused`, `complete`, `unreadable`.
        case following
        /// Somebody else, until it stops making progress. `workSince` is the folded set at an
        /// examination that found unfolded offsets. → `following`, `complete`, `paused`.
        case yielded(examineAt: UInt64, workSince: OffsetRanges?)
        /// Nobody: its folded set has too many ranges. → `following` when it has fewer.
        case paused(examineAt: UInt64)
        /// Nobody for a while: its files could not be read. → `following`.
        case unreadable(examineAt: UInt64)
        /// Nobody any more: everything to its end is folded. Final.
        case complete
    }

    let id: LogID
    var mode = Mode.unasked
    /// What is folded, as last heard from the database, plus what was committed since.
    var folded = OffsetRanges()
    /// The first offset that has not been put into a batch.
    var position: UInt64 = 0
    /// Open while the log is followed and had something to read lately.
    var reader: LogReader?
    /// Whether the reader had nothing more when it was last asked.
    var isCaughtUp = false
    /// The durable mark when the logs were last surveyed.
    var durable: UInt64 = 0
    /// The end, once it is known.
    var end: UInt64?
    /// Whether the end has been put into a batch since the last reset.
    var endTaken = false
    /// Whether the database knows the end.
    var endRecorded = false
    /// The append time of the batch read last; offsets without records are accounted under it.
    var appendTime: Int64?
    /// The checkpoint as stored.
    var checkpoint: UInt64 = 0
    /// When the checkpoint was stored, in monotonic nanoseconds.
    var checkpointAt: UInt64 = 0

    /// When a hole of the log is next looked at in the database, in monotonic nanoseconds.
    var holeExamineAt: UInt64 = 0

    init(id: LogID) { self.id = id }

    /// Everything below is folded.
    var done: UInt64 { folded.firstHole }

    /// Whether something is folded, or was read to the end, behind an offset that is not: nobody
    /// may have it any more, and an operator may accept that.
    var hasHole: Bool {
        if let last = folded.ranges.last, last.upperBound > done { return true }
        guard let end else { return false }
        return position >= end && done < end
    }

    /// Whether nothing is left to fold or to record.
    var isComplete: Bool {
        guard let end else { return false }
        return endRecorded && done >= end
    }

    /// Whether there is something to fold or to record, by the last survey.
    var hasWork: Bool {
        durable > done || (end != nil && !endRecorded)
    }

    /// Forgets what was put into batches but not committed: it will be read again.
    mutating func reset() {
        reader = nil
        isCaughtUp = false
        position = done
        endTaken = false
    }
}
