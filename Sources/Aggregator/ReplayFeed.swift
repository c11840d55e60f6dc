import EventLog
import Records
import Rollups
import Synchronization
import Threads

/// Records that are folded together.
struct ReplayBatch: Sendable {
    var output: FoldOutput
    /// The offsets that were folded.
    var folded: [LogID: OffsetRanges] = [:]
    /// How many offsets that are.
    var offsetCount: UInt64 = 0

    /// Whether it is large enough.
    func isFull(_ limits: ReplayLimits) -> Bool {
        offsetCount >= limits.recordsMax || output.rowCount >= limits.rowsMax
            || folded.count >= limits.logsMax
    }
}

/// Rows of records that were folded together, on their way to the tables.
struct ReplayRun: Sendable {
    /// The rows of each rollup, ascending by key, with the ids that the database has for values.
    let rows: [RowSet]
    /// The offsets that were folded.
    let folded: [LogID: OffsetRanges]
    /// How many offsets that are.
    let offsetCount: UInt64
}

/// How much a replay folds before it writes; bounds its memory.
package struct ReplayLimits: Sendable {
    /// Most records folded together. Chosen: what the measures of so many records take in memory,
    /// over all rollups, is about 50 MB, and their rows as much again; each thread that folds has
    /// one batch.
    package var recordsMax: UInt64 = 250_000
    /// Threads that fold, where the order of records does not matter. Chosen: while two fold,
    /// PostgreSQL has nothing to do or is the bottleneck itself.
    package var foldersMax = 2
    /// Most rows folded together; about 300 bytes each.
    package var rowsMax = 500_000
    /// Rows held back to be written in one transaction; about 300 bytes each, three times that
    /// while they are brought into order. Chosen: a rebuild of fewer is one transaction, without
    /// sorted runs.
    package var heldRowsMax = 1_200_000
    /// Most bytes of rows held back, for those with large sketches; three times that while they are
    /// brought into order. Chosen.
    package var heldBytesMax = 384 << 20
    /// Most records of one transaction. Chosen: half a minute's work, which a replay that is
    /// killed has to do again.
    package var heldRecordsMax: UInt64 = 10_000_000
    /// Most logs of one transaction, which bounds its locks.
    package var logsMax = 512
    /// A transaction of fewer rows goes through the delta tables, as a live fold's does. Chosen:
    /// merging into the tiers costs some statements for each of them.
    package var directRowsMin = 2_000
    /// Sorted runs that are merged together, each with some blocks in memory. Chosen: more are
    /// merged into one first.
    package var runsMax = 64
    /// Sessions that merge runs, and then make indexes, at the same time. Chosen: one more than two
    /// processors keep busy, since each waits for its own reads and commits.
    package var writersMax = 3
    /// A transaction of fewer rows is written by one session alone. Chosen: another one is there in
    /// some hundredths of a second.
    package var sharedRowsMin = 50_000
    /// Rows of the live rollups and the rebuilt ones together that are compared at a time, unless
    /// an organisation has more in a bucket. Chosen: some 100 MB.
    package var comparedRowsMax = 100_000
    /// How long to wait for another replay, or what is left of one that was killed. Chosen: the
    /// server looks each second whether a client is there, in most of what it does.
    package var lockPatience = Duration.seconds(20)

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

/// Hands rows from the threads that fold to the one that writes; one batch waits at most.
final class ReplayFeed: Sendable {
    private struct State {
        var waiting: ReplayRun?
        /// What came of it, once the last rows have been given.
        var end: Result<ReplayPassed, ReplayError>?
        var isCancelled = false
    }

    private let state = Mutex(State())
    private let doorbell = Doorbell()

    /// Gives rows away; waits while others wait.
    ///
    /// - Returns: Whether more are wanted.
    func offer(_ run: ReplayRun) -> Bool {
        while true {
            let rung = doorbell.count
            let answer: Bool? = state.withLock { state in
                if state.isCancelled { return false }
                guard state.waiting == nil else { return nil }
                state.waiting = run
                return true
            }
            if let answer {
                doorbell.ring()
                return answer
            }
            doorbell.wait(since: rung)
        }
    }

    /// Says that nothing more comes.
    func end(_ result: Result<ReplayPassed, ReplayError>) {
        state.withLock { $0.end = result }
        doorbell.ring()
    }

    /// The next rows; nil when nothing more comes.
    func next() throws(ReplayError) -> ReplayRun? {
        while true {
            let rung = doorbell.count
            let (run, end) = state.withLock { state in
                defer { state.waiting = nil }
                return (state.waiting, state.waiting == nil ? state.end : nil)
            }
            if let run {
                doorbell.ring()
                return run
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

    /// Lets the other side end.
    func cancel() {
        state.withLock {
            $0.isCancelled = true
            $0.waiting = nil
        }
        doorbell.ring()
    }
}
