import EventLog
import Records

/// What a sink's driver knows of one log.
struct PumpedLog {
    /// What is done with the log. Permitted transitions:
    enum Mode: Equatable {
        /// It is read as far as it goes. → `complete`, `unreadable`.
        case following
        /// Its files could not be read; tried again at a time. → `following`.
        case unreadable(until: UInt64)
        /// Everything up to its end is acknowledged. Final.
        case complete
    }

    /// Something that was read and is not acknowledged yet.
    struct Entry {
        /// The delivery that it belongs to.
        let flight: UInt64
        /// Everything below is acknowledged once this and the entries before it are.
        var end: UInt64
        /// The first name that is not acknowledged; nil when all is.
        var firstPending: UInt64?
    }

    let id: LogID
    var mode = Mode.following
    /// The first offset that has not been read.
    var position: UInt64
    /// Everything below was acknowledged; one beyond the end when the end marker was, too.
    var acknowledged: UInt64
    /// What was read and not acknowledged, in the order of the offsets.
    var window: [Entry] = []
    /// Open while there is something to read.
    var reader: LogReader?
    /// Whether the reader had nothing more when it was last asked.
    var isCaughtUp = false
    /// The durable mark when last seen.
    var durable: UInt64 = 0
    /// The end, once it is known.
    var end: UInt64?
    /// Whether the end was read.
    var endTaken = false
    /// The append time of the batch read last.
    var appendTime: Int64?
    /// The checkpoint as stored.
    var checkpoint: UInt64
    /// When the checkpoint was stored, monotonic nanoseconds.
    var checkpointAt: UInt64 = 0

    /// What became of the offsets below `acknowledged` that were not delivered.
    private(set) var tally: ConsumerTally
    /// Offsets that are not delivered, from `acknowledged` on.
    private var fates: [(offsets: Range<UInt64>, fate: Fate)] = []

    /// Why an offset is not delivered.
    enum Fate { case deadLettered, filtered, sampledOut, skipped }

    /// A log of which everything below a checkpoint is done.
    init(id: LogID, checkpoint: UInt64, tally: ConsumerTally) {
        self.id = id
        self.checkpoint = checkpoint
        self.tally = tally
        acknowledged = checkpoint
        position = checkpoint
    }

    /// What became of its offsets.
    var account: SinkAccount {
        SinkAccount(appended: max(durable, end ?? 0), checkpoint: acknowledged, tally: tally)
    }

    /// Notes that offsets will not be delivered; what was noted before stays as it is.
    mutating func note(_ offsets: Range<UInt64>, _ fate: Fate) {
        guard !offsets.isEmpty, !fates.contains(where: { $0.offsets.overlaps(offsets) })
        else { return }
        fates.append((offsets, fate))
    }

    /// Counts what `acknowledged` has passed.
    private mutating func count() {
        guard !fates.isEmpty else { return }
        for index in fates.indices {
            let (offsets, fate) = fates[index]
            let done = offsets.clamped(to: 0..<acknowledged)
            fates[index].offsets = offsets.clamped(to: acknowledged..<UInt64.max)
            let number = UInt64(done.count)
            switch fate {
            case .deadLettered: tally.deadLettered += number
            case .filtered: tally.filtered += number
            case .sampledOut: tally.sampledOut += number
            case .skipped: tally.skipped += number
            }
        }
        fates.removeAll { $0.offsets.isEmpty }
    }

    /// Durable offsets that are not acknowledged.
    var lag: UInt64 {
        let next = end ?? durable
        return next > acknowledged ? next - acknowledged : 0
    }

    /// Whether there may be something to read; true of a log whose reader was never opened, so
    /// that from then on its mark can be looked at without a system call.
    var hasUnread: Bool {
        mode == .following && !endTaken
            && (durable > position || end != nil || !isCaughtUp)
    }

    /// Notes that up to an offset there was nothing to send.
    mutating func passOver(to end: UInt64) {
        if let last = window.indices.last {
            window[last].end = end
        } else {
            acknowledged = max(acknowledged, end)
            count()
        }
    }

    /// Notes what is left of a delivery, and moves `acknowledged` over what is done.
    mutating func settle(_ flight: UInt64, firstPending: UInt64?) {
        guard let index = window.firstIndex(where: { $0.flight == flight }) else { return }
        window[index].firstPending = firstPending
        while let entry = window.first, entry.firstPending == nil {
            acknowledged = max(acknowledged, entry.end)
            window.removeFirst()
        }
        // Everything before the first name that is pending is done, too.
        if let pending = window.first?.firstPending { acknowledged = max(acknowledged, pending) }
        count()
    }
}
