import Postgres
import Rollups
import Synchronization
import Threads

/// Rows that a replay writes for one partition.
struct ReplayPiece: Sendable {
    /// Where they go.
    enum Target: Sendable {
        /// To a sorted run, since there are more rows of the partition than these.
        case run
        /// To the partition, which is not there.
        case newPartition
        /// To the partition, which is there: they are merged into it.
        case partition
    }

    /// The rollup.
    let table: RollupTable
    let tier: Tier
    let partition: Partition
    let target: Target
    /// Rows of the tier, ascending.
    let rows: RowSet
    /// Those of the partition.
    let range: Range<Int>

    /// Whether another session may write it, to a table of its own.
    var isShareable: Bool { target != .partition }

    /// The name for SQL, without schema, of the table that is made for it.
    func makeName() -> String {
        target == .run ? table.makeRunName(of: tier) : table.name(tier, partition)
    }
}

/// A piece that another session has written, under another name until it counts.
struct StagedPiece: Sendable {
    /// The name it has, for SQL.
    let staged: String
    /// What it is to be.
    let piece: ReplayPiece
}

/// What one transaction of a replay writes: brought into order and written by two sessions, of
/// which only the one that counts it touches partitions that are there.
final class ReplayWork: Sendable {
    /// The next thing to do.
    enum Job: Sendable {
        /// Bring the rows of a rollup into order.
        case order(RollupTable, [RowSet])
        /// Write.
        case write(ReplayPiece)
    }

    private struct State {
        /// The rows of each rollup, as ascending runs; the most last.
        var rollups: [(table: RollupTable, runs: [RowSet])]
        /// How many sessions bring rows into order.
        var ordering = 0
        /// What both may write; the most rows last.
        var shared: [ReplayPiece] = []
        /// What only the first session may write.
        var own: [ReplayPiece] = []
        var staged: [StagedPiece] = []
        var isCancelled = false
    }

    private let isShared: Bool
    private let state: Mutex<State>
    private let doorbell = Doorbell()

    /// Work to be done.
    ///
    /// - Parameters:
    ///   - rollups: The rows of each rollup, as ascending runs.
    ///   - isShared: Whether another session takes part.
    init(
        _ rollups: [(table: RollupTable, runs: [RowSet])],
        isShared: Bool
    ) {
        self.isShared = isShared
        func count(_ runs: [RowSet]) -> Int { runs.reduce(0) { $0 + $1.count } }
        let ordered = rollups.filter { count($0.runs) > 0 }
            .sorted { count($0.runs) < count($1.runs) }
        state = Mutex(State(rollups: ordered))
    }

    /// The next thing to do; nil when nothing is left. Waits for what the other session still
    /// brings into order.
    func next(isHelper: Bool) -> Job? {
        while true {
            let rung = doorbell.count
            let found: Job?? = state.withLock { state in
                if state.isCancelled { return .some(nil) }
                if let (table, runs) = state.rollups.popLast() {
                    state.ordering += 1
                    return Job.order(table, runs)
                }
                if !isHelper, let piece = state.own.popLast() { return Job.write(piece) }
                if let piece = state.shared.popLast() { return Job.write(piece) }
                return state.ordering == 0 ? .some(nil) : nil
            }
            if let found { return found }
            doorbell.wait(since: rung)
        }
    }

    /// Takes what became of a rollup's rows.
    func add(_ pieces: [ReplayPiece]) {
        state.withLock { state in
            state.ordering -= 1
            state.own += pieces.filter { !isShared || !$0.isShareable }
            state.shared += pieces.filter { isShared && $0.isShareable }
            state.shared.sort { $0.range.count < $1.range.count }
        }
        doorbell.ring()
    }

    /// Notes what the other session has written.
    func add(_ staged: StagedPiece) { state.withLock { $0.staged.append(staged) } }

    /// What the other session has written.
    var staged: [StagedPiece] { state.withLock { $0.staged } }

    /// Lets both sessions end.
    func cancel() {
        state.withLock {
            $0.isCancelled = true
            $0.rollups = []
            $0.shared = []
            $0.own = []
        }
        doorbell.ring()
    }
}

/// A second session that takes part in the work of a replay, on a thread of its own.
final class ReplayHelper: Sendable {
    private final class Outcome: Sendable {
        let failure = Mutex<CompactionFailure?>(nil)
    }

    private let outcome = Outcome()
    private let thread: NamedThread

    /// Connects and does something.
    init(
        _ uri: String,
        _ body: @escaping @Sendable (PostgresConnection) throws(CompactionFailure) -> Void
    ) {
        thread = NamedThread(name: "replay-write") { [outcome] in
            do throws(CompactionFailure) {
                let connection: PostgresConnection
                do throws(PostgresError) {
                    connection = try Replay.session(uri, "sluice-replay-write")
                } catch { throw .database(error) }
                try body(connection)
            } catch {
                outcome.failure.withLock { $0 = error }
            }
        }
    }

    /// Waits until it is done.
    func wait() throws(CompactionFailure) {
        thread.join()
        if let failure = outcome.failure.withLock({ $0 }) { throw failure }
    }
}
