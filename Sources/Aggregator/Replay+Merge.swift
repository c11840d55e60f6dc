import Postgres
import Rollups
import Synchronization

/// The sorted runs of one partition.
struct StoredRuns: Sendable {
    /// The rollup.
    let table: RollupTable
    let tier: Tier
    let partition: Partition
    /// The tables, for SQL.
    var names: [String]
    /// How large these are.
    var byteCount: Int
}

/// Merges the rows that were stored as sorted runs, when all are there.
extension Replay {
    /// The runs of each partition.
    func storedRuns() throws(PostgresError) -> [StoredRuns] {
        var result: [StoredRuns] = []
        for table in tables {
            for tier in table.definition.tiers {
                let prefix = "\(table.definition.name)_\(tier.rawValue)_\(RollupTable.runMark)"
                let found = try connection.query(
                    """
                    SELECT format('%I.%I', $1::text, relname), pg_table_size(oid) FROM pg_class
                    WHERE relnamespace = $1::text::regnamespace AND relkind = 'r'
                        AND starts_with(relname, $2)
                        AND substr(relname, length($2) + 1) ~ '^[0-9]+$'
                    ORDER BY oid
                    """,
                    [.text(table.schema), .text(prefix)]
                )
                var runs: [Int64: StoredRuns] = [:]
                for row in 0..<found.rowCount {
                    guard let name = found.text(row, 0) else { continue }
                    // Only rows make such a table, and any of them says which partition it is for.
                    let first = try connection.query("SELECT bucket FROM \(name) LIMIT 1")
                    guard first.rowCount == 1, let bucket = first.timestamp(0, 0) else { continue }
                    let partition = Partition(tier, holding: bucket)
                    let none = StoredRuns(
                        table: table,
                        tier: tier,
                        partition: partition,
                        names: [],
                        byteCount: 0
                    )
                    runs[partition.lowerBound, default: none].names.append(name)
                    runs[partition.lowerBound, default: none].byteCount +=
                        Int(found.int(row, 1) ?? 0)
                }
                result += runs.sorted { $0.key < $1.key }.map(\.value)
            }
        }
        return result
    }

    /// Merges all runs into partitions, each in one transaction, so that a replay that is killed
    /// goes on with the rest. A partition gets its indexes at once, while others are merged.
    func mergeRuns() throws(PostgresError) {
        let configuration = configuration
        let runsMax = limits.runsMax
        try share(try storedRuns(), by: \.byteCount) { rest, connection throws(PostgresError) in
            var next = rest.next()
            guard next != nil else { return }
            let reader = try Replay.session(configuration.postgres, "sluice-replay-read")
            while let runs = next {
                let round = Replay.round(runs.table, configuration, connection)
                try Self.merge(runs, atMost: runsMax, round, reader)
                let name = runs.table.table(runs.tier, runs.partition)
                try connection.execute(round.attachment(of: runs.partition, runs.tier, name))
                next = rest.next()
            }
        }
    }

    /// Merges the runs of a partition.
    private static func merge(
        _ runs: StoredRuns,
        atMost runsMax: Int,
        _ round: CompactionRound,
        _ reader: PostgresConnection
    ) throws(PostgresError) {
        var names = runs.names
        while names.count > runsMax {
            let name = try combine(runs, Array(names.prefix(runsMax)), round, reader)
            names = names.dropFirst(runsMax) + [name]
        }
        let connection = round.connection
        let own = runs.table.name(runs.tier, runs.partition)
        let staged = runs.table.staged("\(connection.backendPID)_0")
        try replace(names, by: own, staged, connection) { () throws(PostgresError) in
            try SortedRunMerge.read(names, of: runs, reader) { rows throws(PostgresError) in
                try round.makePartition(staged, of: runs.tier) { () throws(PostgresError) in
                    try rows.next()
                }
            }
        }
    }

    /// Merges some runs of a partition into one; returns its name for SQL.
    private static func combine(
        _ runs: StoredRuns,
        _ names: [String],
        _ round: CompactionRound,
        _ reader: PostgresConnection
    ) throws(PostgresError) -> String {
        let own = runs.table.makeRunName(of: runs.tier)
        let connection = round.connection
        let staged = runs.table.staged("\(connection.backendPID)_0")
        try replace(names, by: own, staged, connection) { () throws(PostgresError) in
            try connection.execute(SortedRun.creation(of: staged))
            try SortedRunMerge.read(names, of: runs, reader) { rows throws(PostgresError) in
                try connection.copyIn(SortedRun.copy(into: staged)) {
                    (writer: inout CopyWriter) throws(PostgresError) in
                    var run = SortedRunWriter()
                    while let (rows, range) = try rows.next() {
                        try run.add(rows, range, to: &writer)
                    }
                    try run.finish(&writer)
                }
            }
        }
        return "\(runs.table.schema).\(own)"
    }

    /// Replaces some runs by a table that is made of them, in one transaction.
    private static func replace(
        _ names: [String],
        by own: String,
        _ staged: String,
        _ connection: PostgresConnection,
        _ make: () throws(PostgresError) -> Void
    ) throws(PostgresError) {
        try connection.transaction("ISOLATION LEVEL READ COMMITTED") {
            () throws(PostgresError) in
            try make()
            try connection.execute(
                """
                DROP TABLE \(names.joined(separator: ", "));
                ALTER TABLE \(staged) RENAME TO \(own)
                """
            )
        }
    }

    /// An error of writing to the tiers as one of the database.
    static func postgres(_ failure: CompactionFailure) -> PostgresError {
        switch failure {
        case .database(let error): error
        case .malformed(let error, let table):
            PostgresError(
                call: "Replay.write",
                message: "a row of \(table) is damaged: \(error)"
            )
        }
    }
}

/// Merges sorted runs of a partition.
private struct SortedRunMerge {
    private let reader: PostgresConnection
    private var runs: [SortedRunReader] = []
    private var merge: RowMerge
    /// What was lent last.
    private var rows: RowSet

    /// Lends the rows of some runs of a partition, merged.
    ///
    /// The runs can be dropped afterwards: the session that reads holds them no more.
    static func read(
        _ names: [String],
        of runs: StoredRuns,
        _ reader: PostgresConnection,
        _ body: (inout SortedRunMerge) throws(PostgresError) -> Void
    ) throws(PostgresError) {
        try reader.transaction("READ ONLY") { () throws(PostgresError) in
            // A scan must begin at the beginning, and may wait while the rows are indexed.
            try reader.execute(
                """
                SET LOCAL synchronize_seqscans = off;
                SET LOCAL idle_in_transaction_session_timeout = 0
                """
            )
            var merge = try SortedRunMerge(names, of: runs, reader)
            try body(&merge)
        }
    }

    private init(
        _ names: [String],
        of runs: StoredRuns,
        _ reader: PostgresConnection
    ) throws(PostgresError) {
        let definition = runs.table.definition
        self.reader = reader
        rows = RowSet(definition)
        var first: [RowSet] = []
        for (number, name) in names.enumerated() {
            var run = try SortedRunReader(name, number: number, reader)
            var block = RowSet(definition)
            try run.read(into: &block, reader)
            first.append(block)
            self.runs.append(run)
        }
        merge = RowMerge(first, definition, for: runs.table.table(runs.tier, runs.partition))
    }

    /// The next rows, ascending, those of equal keys merged into one; nil behind the last ones.
    mutating func next() throws(PostgresError) -> (rows: RowSet, range: Range<Int>)? {
        rows.removeAll(keepingCapacity: true)
        do throws(CompactionFailure) {
            let isLast = try !merge.append(to: &rows) { place, block throws(PostgresError) in
                try runs[place].read(into: &block, reader)
            }
            return isLast ? nil : (rows, 0..<rows.count)
        } catch { throw Replay.postgres(error) }
    }
}

/// Work that sessions share, the last first.
final class WorkQueue<Work: Sendable>: Sendable {
    private let rest: Mutex<[Work]>

    init(_ work: [Work]) { rest = Mutex(work) }

    /// The next; nil when none is left.
    func next() -> Work? { rest.withLock { $0.popLast() } }
}
