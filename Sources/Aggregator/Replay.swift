package import EventLog
package import FileIO
package import Postgres
import Records
import Rollups
import Threads

/// Why a rebuild of the rollups ended without its work done; started again, it goes on.
package enum ReplayError: Error, CustomStringConvertible {
    /// PostgreSQL or the connection refused.
    case database(PostgresError)
    /// The event logs could not be read.
    case log(EventLogError)
    /// Rebuilding would not give what was counted, or something is in the way.
    case refused(String)

    package var description: String {
        switch self {
        case .database(let error): "\(error)"
        case .log(let error): "\(error)"
        case .refused(let text): text
        }
    }
}

/// What a rebuild did.
package struct ReplayReport: Equatable, Sendable {
    /// The generation that was built.
    package var generation = 0
    /// Whether a rebuild that was interrupted before was continued.
    package var isResumed = false
    /// Offsets read and folded by this run.
    package var folded: UInt64 = 0
    /// Buckets before this kept their rows, µs since the epoch; nil when all were rebuilt.
    package var from: Int64?
    /// Buckets from this on kept their rows; nil when all were rebuilt.
    package var to: Int64?
    /// Offsets whose records are deleted: what was counted of them is kept.
    package var tombstoned: UInt64 = 0
    /// Rows compared, when the rebuild was only to be compared.
    package var rowsCompared = 0
    /// How long live folds were held back, in milliseconds.
    package var heldMilliseconds: UInt64 = 0
    /// Tables that differ, and in how many rows.
    package var differences: [String: Int] = [:]

    /// A report of nothing.
    package init() {}
}

/// Where a replay reads the records.
package enum ReplayInput: Sendable {
    /// The event logs of the data directory.
    case logs
    /// The topic that the pumps fill, as far as it reaches back.
    case kafka(KafkaSourceConfiguration)
}

/// A rebuild of the rollups beside the live ones, from the logs of a data directory, and the switch
/// to it (`docs/decisions/0024-replay.md`). Every call blocks.
///
/// It folds only what the active generation has folded, so it never gets ahead; what it has done is
/// in the database, so after any interruption it goes on where it was.
///
/// Owner: the thread that made it.
package final class Replay {
    /// Offsets that may be left when live folds are held back, and how often that is tried for;
    /// chosen: a tenth of a second's work.
    private static let closeEnough: UInt64 = 20_000
    private static let approachesMax = 8

    let configuration: AggregatorConfiguration
    let directory: LogDirectory
    let time: any TimeSource
    /// Holds the lock that keeps other replays out, and makes the switch.
    let control: PostgresConnection
    /// Writes.
    let connection: PostgresConnection
    /// The generation that is rebuilt.
    var active = 0
    /// The rollups of the active generation, as written to the one that is being built.
    var catalog = RollupCatalog.none
    /// The generation that is being built.
    var building = 0
    /// What was found to have no records, or not to be there.
    var passed = ReplayPassed()
    /// Where the records are read.
    let source: any ReplaySource
    /// How much is folded before it is written.
    let limits: ReplayLimits
    /// Whether large batches are merged into the tiers at once; no more once rows of the active
    /// generation have been copied, among which they would be counted twice.
    var loadsTiers = true
    /// Whether no partition is there: rows are held until all are folded, and when there are too
    /// many of them, stored as sorted runs.
    var isBulk = true
    /// Whether there are such runs.
    var hasRuns = false
    /// What is folded and not yet written.
    var held = ReplayHold([])
    var groups = KeyGroupCache()
    var hashes = ValueHashes()
    var report = ReplayReport()

    /// Connects to the database, which must have been migrated, and waits until no other replay
    /// is running.
    ///
    /// - Parameters:
    ///   - configuration: The database and the limits of one fold transaction.
    ///   - directory: The logs.
    ///   - time: The clocks.
    ///   - input: Where the records are read.
    ///   - limits: How much is folded before it is written.
    package init(
        _ configuration: AggregatorConfiguration,
        directory: LogDirectory,
        time: any TimeSource,
        input: ReplayInput = .logs,
        limits: ReplayLimits = ReplayLimits()
    ) throws(ReplayError) {
        self.configuration = configuration
        self.directory = directory
        self.time = time
        self.limits = limits
        switch input {
        case .logs: source = LogReplaySource(directory: directory)
        case .kafka(let kafka):
            source = KafkaReplaySource(kafka, configuration)
        }
        do throws(PostgresError) {
            control = try PostgresConnection(
                configuration.postgres,
                applicationName: "sluice-replay"
            )
        } catch { throw .database(error) }
        try ReplayLock.take(control, patience: limits.lockPatience)
        do throws(PostgresError) {
            connection = try Self.session(configuration.postgres, "sluice-replay-fold")
        } catch { throw .database(error) }
    }

    /// Rebuilds, and switches to the result or compares it.
    ///
    /// - Parameters:
    ///   - from: Buckets before this keep their rows: the beginning of a day, µs since the epoch.
    ///   - to: Buckets from this on keep their rows.
    ///   - verifies: Compare with the live rollups, then drop what was built.
    ///   - progress: Called after each transaction with the offsets folded and those there are.
    package func run(
        from: Int64? = nil,
        to: Int64? = nil,
        verifies: Bool = false,
        progress: (UInt64, UInt64) -> Void = { _, _ in }
    ) throws(ReplayError) -> ReplayReport {
        try prepare()
        if isBulk {
            try approach(progress)
            try finishBulk()
        }
        try compact()
        // What was folded meanwhile; live folds wait only for what comes after that.
        try approach(progress)
        try finish(from: from, to: to, verifies: verifies, progress)
        return report
    }

    /// Folds until little is left, which live folds go on to add to.
    private func approach(_ progress: (UInt64, UInt64) -> Void) throws(ReplayError) {
        for _ in 0..<Self.approachesMax {
            guard try catchUp(progress) > Self.closeEnough else { return }
        }
    }

    /// Translates the errors of `body`.
    func sql<T>(_ body: () throws(PostgresError) -> T) throws(ReplayError) -> T {
        do throws(PostgresError) { return try body() } catch { throw .database(error) }
    }

    /// Finds the generation to continue, or makes one.
    private func prepare() throws(ReplayError) {
        let found = try sql { () throws(PostgresError) in
            try dropRetired()
            return try control.query(
                """
                SELECT max(id) FILTER (WHERE state = 'active'),
                    max(id) FILTER (WHERE state = 'building'), max(id)
                FROM sluice.generation
                """
            )
        }
        guard let live = found.int(0, 0), let last = found.int(0, 2) else {
            throw .refused("no generation is active; run sluice migrate")
        }
        active = Int(live)
        let resumable = try resumable(found.int(0, 1).map(Int.init))
        report.isResumed = resumable != nil
        building = resumable ?? Int(last) + 1
        catalog = try sql { () throws(PostgresError) in
            try RollupCatalog(control).of(generation: building)
        }
        report.generation = building
        held = ReplayHold(tables.map(\.definition))
        if report.isResumed { return try resume() }
        try sql { () throws(PostgresError) in try makeGeneration() }
    }

    /// The generation to continue, unless the definitions of rollups have changed since it was
    /// begun, so that it lacks what it has folded already: then it is dropped.
    private func resumable(_ building: Int?) throws(ReplayError) -> Int? {
        guard let building else { return nil }
        return try sql { () throws(PostgresError) in
            let isSame = try control.query(
                """
                SELECT b.definitions = a.definitions FROM sluice.generation a, sluice.generation b
                WHERE a.state = 'active' AND b.id = $1
                """,
                [.int(Int64(building))]
            )
            if isSame.bool(0, 0) == true { return building }
            try drop(building)
            return nil
        }
    }
}
