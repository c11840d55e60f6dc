import EventLog
import Records
import Rollups
import Synchronization
import Threads

/// Records that were folded together, on their way to the tables.
struct ReplayBatch: Sendable {
    var output: FoldOutput
    /// The offsets that were folded.
    var folded: [LogID: OffsetRanges] = [:]
    /// How many offsets that are.
    var offsetCount: UInt64 = 0

    /// Whether it is large enough to be handed on.
    func isFull(_ limits: ReplayLimits) -> Bool {
        offsetCount >= limits.recordsMax || output.rowCount >= limits.rowsMax
            || folded.count >= limits.logsMax
    }
}

/// How much a replay folds before it writes; bounds its memory.
package struct ReplayLimits: Sendable {
    /// Most records folded together. Chosen: what the measures of so many records take in memory,
    /// over all rollups, is about 100 MB; three batches are there at once.
    package var recordsMax: UInt64 = 500_000
    /// Most rows folded together; about 300 bytes each.
    package var rowsMax = 500_000
    /// Rows held back to be written in one transaction; about 300 bytes each, three times that
    /// while they are brought into order. Chosen: rows of one bucket that are in two transactions
    /// cost five times what they cost in one.
    package var heldRowsMax = 800_000
    /// Most bytes of rows held back, for those with large sketches; three times that while they are
    /// brought into order. Chosen.
    package var heldBytesMax = 256 << 20
    /// Most records of one transaction. Chosen: half a minute's work, which a replay that is
    /// killed has to do again.
    package var heldRecordsMax: UInt64 = 10_000_000
    /// Most logs of one transaction, which bounds its locks.
    package var logsMax = 512
    /// A transaction of fewer rows goes through the delta tables, as a live fold's does. Chosen:
    /// merging into the tiers costs some statements for each of them.
    package var directRowsMin = 2_000

    /// The defaults.
    package init() {}
}

/// What was read and cannot be folded.
struct ReplayPassed: Sendable {
    /// Offsets without records.
    var skipped: [LogID: OffsetRanges] = [:]
    /// Offsets that are not there.
    var missing: [LogID: OffsetRanges] = [:]

    /// Adds what another pass found.
    mutating func formUnion(_ other: ReplayPassed) {
        for (log, ranges) in other.skipped { skipped[log, default: .init()].formUnion(ranges) }
        for (log, ranges) in other.missing { missing[log, default: .init()].formUnion(ranges) }
    }

    /// All offsets of a log.
    func offsets(of log: LogID) -> OffsetRanges {
        var all = skipped[log] ?? OffsetRanges()
        if let more = missing[log] { all.formUnion(more) }
        return all
    }
}

/// Hands batches from the thread that folds to the one that writes; one waits at most.
final class ReplayFeed: Sendable {
    private struct State {
        var waiting: ReplayBatch?
        /// Outputs that were written, whose memory is used again.
        var spare: [FoldOutput] = []
        /// What came of it, once the last batch has been given.
        var end: Result<ReplayPassed, ReplayError>?
        var isCancelled = false
    }

    private let state = Mutex(State())
    private let doorbell = Doorbell()

    /// Gives a batch away; waits while another waits.
    ///
    /// - Returns: Memory for the next one; nil when nobody wants more.
    func offer(_ batch: ReplayBatch) -> FoldOutput? {
        while true {
            let rung = doorbell.count
            let answer: (isTaken: Bool, isCancelled: Bool) = state.withLock { state in
                if state.isCancelled { return (false, true) }
                guard state.waiting == nil else { return (false, false) }
                state.waiting = batch
                return (true, false)
            }
            if answer.isCancelled { return nil }
            if answer.isTaken { break }
            doorbell.wait(since: rung)
        }
        doorbell.ring()
        return state.withLock { $0.spare.popLast() } ?? batch.output.emptyCopy
    }

    /// Says that nothing more comes.
    func end(_ result: Result<ReplayPassed, ReplayError>) {
        state.withLock { $0.end = result }
        doorbell.ring()
    }

    /// The next batch; nil when nothing more comes.
    func next() throws(ReplayError) -> ReplayBatch? {
        while true {
            let rung = doorbell.count
            let (batch, end) = state.withLock { state in
                defer { state.waiting = nil }
                return (state.waiting, state.waiting == nil ? state.end : nil)
            }
            if let batch {
                doorbell.ring()
                return batch
            }
            if let end {
                _ = try end.get()
                return nil
            }
            doorbell.wait(since: rung)
        }
    }

    /// What was passed over, once `next` has returned nil.
    var passed: ReplayPassed {
        if case .success(let passed)? = state.withLock({ $0.end }) { return passed }
        return ReplayPassed()
    }

    /// Gives an output back.
    func reuse(_ output: consuming FoldOutput) {
        output.removeAll()
        let emptied = output
        state.withLock { if $0.spare.count < 2 { $0.spare.append(emptied) } }
    }

    /// Lets the other side end.
    func cancel() {
        state.withLock {
            $0.isCancelled = true
            $0.waiting = nil
        }
        doorbell.ring()
    }
}

extension FoldOutput {
    /// An empty output for the same rollups.
    var emptyCopy: FoldOutput {
        FoldOutput(rollups.definitions, horizons: rollups.horizons)
    }
}
