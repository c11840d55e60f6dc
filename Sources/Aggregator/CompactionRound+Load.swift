import Postgres
import Rollups

/// Rows that come from memory instead of the delta table: a replay, which alone writes to its
/// generation.
extension CompactionRound {
    /// Rows amended together. Chosen: some megabytes.
    private static let amendedMax = 50_000

    /// Brings rows into order, for all tiers.
    ///
    /// - Parameters:
    ///   - runs: Rows of the finest tier, as ascending runs.
    ///   - isPartial: Whether more rows are to come for any partition.
    /// - Returns: What is to be written.
    func pieces(
        _ runs: [RowSet],
        isPartial: Bool
    ) throws(CompactionFailure) -> [ReplayPiece] {
        var pieces: [ReplayPiece] = []
        var all = try RowMerge.merged(runs, definition, for: table.deltaTable)
        for tier in definition.tiers {
            all.coarsen(to: tier)
            if !all.isAscending { all = try merged(all, table.table(tier)) }
            // What is too old for this tier goes on to the coarser ones.
            let rows = all.dropping(before: table.horizons[tier] ?? .min) ?? all
            var start = 0
            while start < rows.count {
                let partition = Partition(tier, holding: rows.buckets[start])
                var end = start + 1
                while end < rows.count, rows.buckets[end] < partition.upperBound { end += 1 }
                let name = table.table(tier, partition)
                pieces.append(
                    ReplayPiece(
                        table: table,
                        tier: tier,
                        partition: partition,
                        target: isPartial ? .run : try isThere(name) ? .partition : .newPartition,
                        rows: rows,
                        range: start..<end
                    )
                )
                start = end
            }
        }
        return pieces
    }

    private func isThere(_ name: String) throws(CompactionFailure) -> Bool {
        try database { () throws(PostgresError) in
            try connection.query("SELECT to_regclass($1) IS NOT NULL", [.text(name)])
                .bool(0, 0) == true
        }
    }

    /// Writes a piece to a table of its own, in the transaction that is open. Its rows are frozen:
    /// they are seen with the transaction that makes it, or not at all.
    func stage(_ piece: ReplayPiece, _ name: String) throws(PostgresError) {
        if piece.target == .run {
            try connection.execute(SortedRun.creation(of: name))
            try connection.copyIn(SortedRun.copy(into: name)) {
                (writer: inout CopyWriter) throws(PostgresError) in
                var run = SortedRunWriter()
                try run.add(piece.rows, piece.range, to: &writer)
                try run.finish(&writer)
            }
        } else {
            var rest: RowSet? = piece.rows
            try makePartition(name, of: piece.tier) {
                defer { rest = nil }
                return rest.map { ($0, piece.range) }
            }
        }
    }

    /// Makes a table with the rows of a partition, without indexes, in the transaction that is
    /// open.
    ///
    /// - Parameters:
    ///   - name: The table.
    ///   - tier: The tier that the partition is of.
    ///   - next: Gives the rows, ascending, some at a time; nil behind the last ones.
    func makePartition(
        _ name: String,
        of tier: Tier,
        _ next: () throws(PostgresError) -> (rows: RowSet, range: Range<Int>)?
    ) throws(PostgresError) {
        try connection.execute(
            "CREATE TABLE \(name) (LIKE \(table.table(tier)) INCLUDING ALL EXCLUDING INDEXES)"
        )
        let columns = table.columns.count
        try connection.copyIn(table.copy(into: name, isFrozen: true)) {
            (writer: inout CopyWriter) throws(PostgresError) in
            var bounded = BoundedRows(table, configuration)
            while let (rows, range) = try next() {
                try bounded.add(rows, range) { kept, range throws(PostgresError) in
                    try writer.rows(kept, range, columns: columns)
                }
            }
            try bounded.finish { kept, range throws(PostgresError) in
                try writer.rows(kept, range, columns: columns)
            }
        }
    }

    /// Merges a piece into its partition, which is there.
    func amend(
        _ piece: ReplayPiece,
        _ groups: inout KeyGroupCache,
        _ hashes: inout ValueHashes
    ) throws(CompactionFailure) {
        var result = Result()
        var start = piece.range.lowerBound
        while start < piece.range.upperBound {
            let end = min(start + Self.amendedMax, piece.range.upperBound)
            try amend(piece.tier, with: piece.rows.part(start..<end), &groups, &hashes, &result)
            start = end
        }
    }

    /// The partitions that are loose.
    func loosePartitions() throws(PostgresError) -> [LoosePartition] {
        var result: [LoosePartition] = []
        for tier in definition.tiers {
            let prefix = "\(definition.name)_\(tier.rawValue)_"
            let loose = try connection.query(
                """
                SELECT format('%I.%I', $1::text, c.relname), pg_table_size(c.oid) FROM pg_class c
                WHERE c.relnamespace = $1::text::regnamespace AND c.relkind = 'r'
                    AND NOT c.relispartition AND starts_with(c.relname, $2)
                    AND substr(c.relname, length($2) + 1) ~ '^p[0-9]+$'
                """,
                [.text(table.schema), .text(prefix)]
            )
            for row in 0..<loose.rowCount {
                guard let name = loose.text(row, 0) else { continue }
                // Only rows make such a table, and any of them says which partition it is.
                let found = try connection.query("SELECT bucket FROM \(name) LIMIT 1")
                guard found.rowCount == 1, let bucket = found.timestamp(0, 0) else { continue }
                let partition = Partition(tier, holding: bucket)
                result.append(
                    LoosePartition(
                        statement: attachment(of: partition, tier, name),
                        byteCount: Int(loose.int(row, 1) ?? 0)
                    )
                )
            }
        }
        return result
    }
}
