import Postgres
import Rollups
import Synchronization

/// A partition with rows beside it that may have the keys of rows that it has.
struct LatePartition: Sendable {
    /// The rollup.
    let table: RollupTable
    let tier: Tier
    let partition: Partition
    /// The tables with the rows beside it, for SQL.
    let late: [String]
    /// How large these are.
    let byteCount: Int

    /// The partition's table for SQL.
    var name: String { table.table(tier, partition) }

    /// The command that reads the rows of some tables in the order of their keys.
    func copy(outOf names: [String]) -> String {
        let all = names.map { "SELECT \(table.columnList) FROM \($0)" }
            .joined(separator: " UNION ALL ")
        return """
            COPY (SELECT * FROM (\(all)) r ORDER BY \(table.keyColumns.joined(separator: ", ")))
            TO STDOUT (FORMAT binary)
            """
    }
}

/// Merges the rows that were written beside partitions, when all rows are there.
extension Replay {
    /// Rows that are merged together. Chosen: some megabytes.
    private static let rowsMax = 20_000

    /// Merges all rows that were written beside partitions into these; each partition in one
    /// transaction, so that a replay that is killed goes on with the rest.
    ///
    /// Most are written anew, from both, by two sessions. Those of which few rows are beside them,
    /// that have their indexes, or to which the bound of keys applies are amended, as the compactor
    /// does.
    func mergeLate() throws(PostgresError) {
        var whole: [LatePartition] = []
        var amended: [LatePartition] = []
        for late in try latePartitions() {
            if try isWrittenAnew(late) { whole.append(late) } else { amended.append(late) }
        }
        whole.sort { $0.byteCount < $1.byteCount }
        let isShared =
            whole.dropLast().reduce(0) { $0 + $1.byteCount } >= limits.sharedRowsMin * 100
        let rest = WorkQueue(whole)
        let uri = configuration.postgres
        let helper =
            isShared
            ? ReplayHelper(uri) { connection throws(CompactionFailure) in
                do throws(PostgresError) { try Self.drain(rest, connection, uri) } catch {
                    throw .database(error)
                }
            } : nil
        defer { try? helper?.wait() }
        try Self.drain(rest, connection, uri)
        do throws(CompactionFailure) { try helper?.wait() } catch {
            throw Self.postgres(error)
        }
        for late in amended { try amend(late) }
    }

    /// The partitions with rows beside them.
    private func latePartitions() throws(PostgresError) -> [LatePartition] {
        var result: [LatePartition] = []
        for table in tables {
            for tier in table.definition.tiers {
                let prefix = "\(table.definition.name)_\(tier.rawValue)_\(RollupTable.lateMark)"
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
                var late: [Int64: (partition: Partition, names: [String], byteCount: Int)] = [:]
                for row in 0..<found.rowCount {
                    guard let name = found.text(row, 0) else { continue }
                    // Only rows make such a table, and any of them says which partition it is for.
                    let first = try connection.query("SELECT bucket FROM \(name) LIMIT 1")
                    guard first.rowCount == 1, let bucket = first.timestamp(0, 0) else { continue }
                    let partition = Partition(tier, holding: bucket)
                    var entry = late[partition.lowerBound] ?? (partition, [], 0)
                    entry.names.append(name)
                    entry.byteCount += Int(found.int(row, 1) ?? 0)
                    late[partition.lowerBound] = entry
                }
                result += late.sorted { $0.key < $1.key }.map { _, entry in
                    LatePartition(
                        table: table,
                        tier: tier,
                        partition: entry.partition,
                        late: entry.names,
                        byteCount: entry.byteCount
                    )
                }
            }
        }
        return result
    }

    /// Whether a partition is written anew: it has no indexes yet, many rows are beside it, and no
    /// organisation can have more keys in a bucket than are kept.
    private func isWrittenAnew(_ late: LatePartition) throws(PostgresError) -> Bool {
        let own = try connection.query(
            """
            SELECT relispartition, pg_table_size(oid) FROM pg_class WHERE oid = to_regclass($1)
            """,
            [.text(late.name)]
        )
        guard own.rowCount == 1, own.bool(0, 0) == false, let byteCount = own.int(0, 1),
            late.byteCount > Int(byteCount) / limits.amendedShare
        else { return false }
        let group =
            late.table.definition.dimensions.first == .org
            ? late.table.keyColumns.prefix(2) : late.table.keyColumns.prefix(1)
        let columns = group.joined(separator: ", ")
        let all = ([late.name] + late.late).map { "SELECT \(columns) FROM \($0)" }
            .joined(separator: " UNION ALL ")
        let crowded = try connection.query(
            "SELECT EXISTS (SELECT FROM (\(all)) r GROUP BY \(columns) HAVING count(*) > $1)",
            [.int(Int64(configuration.keysPerBucketMax))]
        )
        return crowded.bool(0, 0) == false
    }

    /// Writes partitions anew until none is left.
    private static func drain(
        _ rest: WorkQueue<LatePartition>,
        _ connection: PostgresConnection,
        _ uri: String
    ) throws(PostgresError) {
        var next = rest.next()
        guard next != nil else { return }
        let reader = try session(uri, "sluice-replay-read")
        while let late = next {
            try writeAnew(late, connection, reading: reader)
            next = rest.next()
        }
    }

    /// Writes a partition anew, with the rows beside it, in one transaction.
    private static func writeAnew(
        _ late: LatePartition,
        _ connection: PostgresConnection,
        reading reader: PostgresConnection
    ) throws(PostgresError) {
        let table = late.table
        let name = table.staged("\(connection.backendPID)_0")
        try connection.transaction("ISOLATION LEVEL READ COMMITTED") {
            () throws(PostgresError) in
            try connection.execute(
                """
                CREATE TABLE \(name)
                    (LIKE \(table.table(late.tier)) INCLUDING ALL EXCLUDING INDEXES)
                """
            )
            try connection.copyIn(table.copy(into: name, isFrozen: true)) {
                (writer: inout CopyWriter) throws(PostgresError) in
                let columns = table.columns.count
                try merged(late, [late.name] + late.late, reader) {
                    rows throws(PostgresError) in
                    try writer.rows(rows, 0..<rows.count, columns: columns)
                }
            }
            let old = ([late.name] + late.late).joined(separator: ", ")
            let own = table.name(late.tier, late.partition)
            try connection.execute("DROP TABLE \(old); ALTER TABLE \(name) RENAME TO \(own)")
        }
    }

    /// Makes a partition a part of its table, unless it is, and merges the rows beside it, in one
    /// transaction.
    private func amend(_ late: LatePartition) throws(PostgresError) {
        let reader = try Self.session(configuration.postgres, "sluice-replay-read")
        let round = round(late.table)
        try connection.transaction("ISOLATION LEVEL READ COMMITTED") {
            () throws(PostgresError) in
            let isLoose = try connection.query(
                "SELECT FROM pg_class WHERE oid = to_regclass($1) AND NOT relispartition",
                [.text(late.name)]
            )
            if isLoose.rowCount > 0 {
                try connection.execute(round.attachment(of: late.partition, late.tier, late.name))
            }
            try Self.merged(late, late.late, reader) { rows throws(PostgresError) in
                var result = CompactionRound.Result()
                do throws(CompactionFailure) {
                    try round.amend(late.tier, with: rows, &groups, &hashes, &result)
                } catch { throw Self.postgres(error) }
            }
            try connection.execute("DROP TABLE \(late.late.joined(separator: ", "))")
        }
    }

    /// Lends the rows of some tables ascending by key, those of equal keys merged into one, some at
    /// a time.
    private static func merged(
        _ late: LatePartition,
        _ names: [String],
        _ reader: PostgresConnection,
        _ body: (RowSet) throws(PostgresError) -> Void
    ) throws(PostgresError) {
        let definition = late.table.definition
        func merged(_ rows: RowSet) throws(PostgresError) -> RowSet {
            do throws(MeasureError) { return try rows.merged(definition) } catch {
                throw postgres(.malformed(error, table: late.name))
            }
        }
        var rows = RowSet(definition)
        try reader.copyOutRows(late.copy(outOf: names)) { row throws(PostgresError) in
            try rows.append(&row)
            guard rows.count >= rowsMax else { return }
            let all = try merged(rows)
            // More rows of the last key may follow.
            let last = all.count - 1
            if last > 0 { try body(all.part(0..<last)) }
            rows = all.part(last..<all.count)
        }
        if !rows.isEmpty { try body(try merged(rows)) }
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

/// Work that sessions share, the last first.
final class WorkQueue<Work: Sendable>: Sendable {
    private let rest: Mutex<[Work]>

    init(_ work: [Work]) { rest = Mutex(work) }

    /// The next; nil when none is left.
    func next() -> Work? { rest.withLock { $0.popLast() } }
}
