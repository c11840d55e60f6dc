import Postgres
import Records
import Rollups

/// Why a compaction round was rolled back.
enum CompactionFailure: Error {
    /// PostgreSQL or the connection refused.
    case database(PostgresError)
    /// A stored histogram or sketch cannot be read.
    case malformed(MeasureError, table: String)
}

/// One transaction of the compactor: the deltas of one rollup move into all its tiers.
///
/// Only the holder of the advisory lock makes rounds, so a row read here cannot change before it
/// is written: no histogram is ever lost to a concurrent update.
struct CompactionRound {
    let connection: PostgresConnection
    let configuration: AggregatorConfiguration
    let table: RollupTable
    let observer: CompactionObserver?

    /// What a round did.
    struct Result {
        var deltaRows = 0
        var rollupRows = 0
        var keysDisplaced = 0
        /// Rows that died, by table: what a vacuum would give back.
        var deadRows: [String: Int] = [:]
    }

    var definition: RollupDefinition { table.definition }

    /// Takes deltas, at most as many as configured, and merges them into all tiers.
    func run(
        _ groups: inout KeyGroupCache,
        _ hashes: inout ValueHashes
    ) throws(CompactionFailure) -> Result {
        var result = Result()
        try database { () throws(PostgresError) in
            try connection.begin("ISOLATION LEVEL READ COMMITTED")
        }
        do throws(CompactionFailure) {
            guard let deltas = try takeDeltas() else {
                connection.rollback()
                return result
            }
            // A partition is there, committed, before rows move into it: a reader whose snapshot
            // has the move might otherwise still plan without the partition.
            let missing = try missingPartitions(for: deltas)
            guard missing.isEmpty else {
                connection.rollback()
                for (tier, partition) in missing {
                    try database { () throws(PostgresError) in
                        try connection.transaction("ISOLATION LEVEL READ COMMITTED") {
                            () throws(PostgresError) in
                            try makePartition(partition, of: tier, table.table(tier, partition))
                        }
                    }
                }
                return try run(&groups, &hashes)
            }
            result.deltaRows = deltas.count
            result.deadRows[table.deltaTable] = deltas.count
            var rows = try merged(deltas, table.deltaTable)
            for tier in definition.tiers {
                if tier != definition.finestTier {
                    rows.coarsen(to: tier)
                    rows = try merged(rows, table.table(tier))
                }
                // What is too old for this tier goes on to the coarser ones.
                let kept = rows.dropping(before: table.horizons[tier] ?? .min)
                try amend(tier, with: kept ?? rows, &groups, &hashes, &result)
            }
            try database { () throws(PostgresError) in
                try step(.commit)
                try connection.commit()
                try step(.committed)
            }
            return result
        } catch {
            connection.rollback()
            throw error
        }
    }

    func step(_ step: CompactionStep) throws(PostgresError) {
        if let error = observer?(step, connection.backendPID) { throw error }
    }

    func database<T>(_ body: () throws(PostgresError) -> T) throws(CompactionFailure) -> T {
        do throws(PostgresError) { return try body() } catch { throw .database(error) }
    }

    func merged(_ rows: RowSet, _ table: String) throws(CompactionFailure) -> RowSet {
        do throws(MeasureError) { return try rows.merged(definition) } catch {
            throw .malformed(error, table: table)
        }
    }

    // MARK: Deltas

    /// The advisory lock, with the generation, that holds compaction back: a number for "rply".
    static let pauseLock = 0x72_706C

    /// Deletes some deltas and returns them; nil while a replay copies what is in the tiers.
    private func takeDeltas() throws(CompactionFailure) -> RowSet? {
        var rows = RowSet(definition)
        return try database { () throws(PostgresError) in
            try step(.begin)
            let isFree = try connection.query(
                "SELECT pg_try_advisory_xact_lock_shared(\(Self.pauseLock), $1::int8::int4)",
                [.int(Int64(table.generation))]
            )
            guard isFree.bool(0, 0) == true else { return nil }
            try connection.query(
                "SELECT FROM sluice.generation WHERE id = $1 FOR SHARE",
                [.int(Int64(table.generation))]
            )
            try step(.takeDeltas)
            let taken = try connection.query(
                """
                DELETE FROM \(table.deltaTable)
                WHERE ctid = ANY (ARRAY (SELECT ctid FROM \(table.deltaTable) LIMIT $1))
                RETURNING \(table.columnList)
                """,
                [.int(Int64(configuration.compactionRowsMax))]
            )
            rows.append(taken)
            return rows
        }
    }

    // MARK: Tiers

    /// The partitions that some rows need and that are not there.
    private func missingPartitions(
        for rows: RowSet
    ) throws(CompactionFailure) -> [(Tier, Partition)] {
        var missing: [(Tier, Partition)] = []
        for tier in definition.tiers {
            let horizon = table.horizons[tier] ?? .min
            var last: Partition?
            var seen: Set<Int64> = []
            for finest in rows.buckets {
                let bucket = tier.bucket(of: finest)
                if bucket < horizon { continue }
                if let last, bucket >= last.lowerBound, bucket < last.upperBound { continue }
                let partition = Partition(tier, holding: bucket)
                last = partition
                guard seen.insert(partition.lowerBound).inserted else { continue }
                let name = table.table(tier, partition)
                let isMissing = try database { () throws(PostgresError) in
                    try connection.query("SELECT to_regclass($1) IS NULL", [.text(name)])
                        .bool(0, 0) == true
                }
                if isMissing { missing.append((tier, partition)) }
            }
        }
        return missing
    }

    /// Merges rows into a tier, partition by partition.
    func amend(
        _ tier: Tier,
        with rows: RowSet,
        _ groups: inout KeyGroupCache,
        _ hashes: inout ValueHashes,
        _ result: inout Result
    ) throws(CompactionFailure) {
        var start = 0
        while start < rows.count {
            let partition = Partition(tier, holding: rows.buckets[start])
            var end = start + 1
            while end < rows.count, rows.buckets[end] < partition.upperBound { end += 1 }
            let name = table.table(tier, partition)
            try database { () throws(PostgresError) in
                try makePartition(partition, of: tier, name)
            }
            var final = RowSet(definition)
            try database { () throws(PostgresError) in
                try step(.takeRows)
                let existing = try take(rows, start..<end, from: name)
                final.append(existing)
            }
            var taken = final.count
            for row in start..<end { final.append(rows, row) }
            let isNew: [Bool]
            do throws(MeasureError) {
                (final, isNew) = try final.merged(definition, known: taken)
            } catch {
                throw .malformed(error, table: name)
            }
            final = try bound(
                final,
                isNew,
                in: name,
                &groups,
                &hashes,
                &taken,
                &result
            )
            try database { () throws(PostgresError) in
                try step(.writeRows)
                let columns = table.columns.count
                try connection.copyIn(table.copy(into: name)) {
                    (writer: inout CopyWriter) throws(PostgresError) in
                    try writer.rows(final, 0..<final.count, columns: columns)
                }
            }
            result.rollupRows += final.count
            result.deadRows[name, default: 0] += taken
            start = end
        }
    }

    /// Makes a partition that is not there. `ATTACH` locks out other writers of the parent but no
    /// readers, which `CREATE TABLE … PARTITION OF` would.
    func makePartition(
        _ partition: Partition,
        of tier: Tier,
        _ name: String
    ) throws(PostgresError) {
        let missing = try connection.query("SELECT to_regclass($1) IS NULL", [.text(name)])
        guard missing.bool(0, 0) == true else { return }
        try connection.execute(
            """
            CREATE TABLE \(name) (LIKE \(table.table(tier)) INCLUDING ALL);
            \(attachment(of: partition, tier, name))
            """
        )
    }

    /// The statement that makes a table a partition; it makes the indexes that the table lacks.
    func attachment(of partition: Partition, _ tier: Tier, _ name: String) -> String {
        func instant(_ microseconds: Int64) -> String {
            "'epoch'::timestamptz + \(microseconds) * interval '1 microsecond'"
        }
        return """
            ALTER TABLE \(table.table(tier)) ATTACH PARTITION \(name) FOR VALUES
            FROM (\(instant(partition.lowerBound))) TO (\(instant(partition.upperBound)))
            """
    }

    /// Deletes the rows of a partition that have the keys of some rows, and returns them.
    func take(
        _ rows: RowSet,
        _ range: Range<Int>,
        from name: String
    ) throws(PostgresError) -> PostgresResult {
        let keys = table.keyColumns
        try connection.execute(
            """
            CREATE TEMPORARY TABLE IF NOT EXISTS \(staging) (
                bucket timestamptz, \(keys.dropFirst().map { "\($0) integer" }
                    .joined(separator: ", "))
            ) ON COMMIT DELETE ROWS;
            TRUNCATE pg_temp.\(staging);
            SET LOCAL enable_hashjoin = off;
            SET LOCAL enable_mergejoin = off
            """
        )
        try connection.copyIn(
            """
            COPY pg_temp.\(staging) (\(keys.joined(separator: ", "))) FROM STDIN (FORMAT binary)
            """
        ) { (writer: inout CopyWriter) throws(PostgresError) in try writer.keys(rows, range) }
        let same = keys.map { "t.\($0) = k.\($0)" }.joined(separator: " AND ")
        return try connection.query(
            """
            DELETE FROM \(name) t USING pg_temp.\(staging) k WHERE \(same)
            RETURNING \(table.columns.map { "t.\($0)" }.joined(separator: ", "))
            """
        )
    }

    /// The temporary table of keys: one for each list of dimensions, since the session may outlive
    /// a definition.
    private var staging: String {
        let dimensions = definition.dimensions.map(\.name).joined(separator: ",")
        return "compaction_keys_\(String(StableHash.hash(dimensions), radix: 16))"
    }
}
