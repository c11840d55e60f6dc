import Postgres
import Rollups

/// What a replay knows of the partitions that it fills.
struct ReplayPartitions {
    /// The last bucket of each partition that has rows, as far as that is known.
    var written: [String: Int64] = [:]
    /// The partitions that are not yet parts of their tables and have no indexes: an index is made
    /// in a fraction of the time when all rows are there.
    var loose: Set<String> = []
    /// Whether new partitions are left loose.
    var areLeftLoose = true
}

/// Rows that come from memory instead of the delta table: a replay, which alone writes to its
/// generation.
extension CompactionRound {
    /// Brings rows into order, for all tiers.
    ///
    /// - Parameters:
    ///   - runs: Rows of the finest tier, as ascending runs.
    ///   - partitions: What is known of the partitions; those that are not in it are looked at.
    /// - Returns: What is to be written. What lies behind the last bucket of a partition is only
    ///   copied; what does not, and belongs to one that is loose, is a piece of its own.
    func pieces(
        _ runs: [RowSet],
        _ partitions: ReplayPartitions
    ) throws(CompactionFailure) -> [ReplayPiece] {
        var pieces: [ReplayPiece] = []
        var all: RowSet
        do throws(MeasureError) { all = try RowSet.merged(runs, definition) } catch {
            throw .malformed(error, table: table.deltaTable)
        }
        for tier in definition.tiers {
            all.coarsen(to: tier)
            if !all.isAscending { all = try merged(all, table.table(tier)) }
            // What is too old for this tier goes on to the coarser ones.
            let rows = all.dropping(before: table.horizons[tier] ?? .min) ?? all
            var start = 0
            while start < rows.count {
                let partition = Partition(tier, holding: rows.buckets[start])
                let name = table.table(tier, partition)
                let (last, isNew) = try lastBucket(of: name, partitions.written)
                var middle = start
                while middle < rows.count, rows.buckets[middle] < partition.upperBound,
                    rows.buckets[middle] <= last
                { middle += 1 }
                var end = middle
                while end < rows.count, rows.buckets[end] < partition.upperBound { end += 1 }
                var piece = ReplayPiece(
                    table: table,
                    tier: tier,
                    partition: partition,
                    name: name,
                    last: last,
                    isNew: isNew,
                    rows: rows,
                    amended: start..<middle,
                    appended: middle..<end,
                    isBounded: isBounded(rows, middle..<end)
                )
                if partitions.loose.contains(name), !piece.amended.isEmpty {
                    pieces.append(piece.takeLate())
                }
                if !piece.amended.isEmpty || !piece.appended.isEmpty { pieces.append(piece) }
                start = end
            }
        }
        return pieces
    }

    /// Merges a piece into its partition, in the transaction that is open.
    ///
    /// - Parameters:
    ///   - piece: The rows.
    ///   - partitions: What is known of the partitions.
    func write(
        _ piece: ReplayPiece,
        _ partitions: inout ReplayPartitions,
        _ groups: inout KeyGroupCache,
        _ hashes: inout ValueHashes
    ) throws(CompactionFailure) {
        if piece.isLate {
            try database { () throws(PostgresError) in
                try stage(piece, "\(table.schema).\(table.lateName(of: piece.tier))")
            }
            return
        }
        var result = Result()
        let (tier, partition, name) = (piece.tier, piece.partition, piece.name)
        if !piece.amended.isEmpty {
            try database { () throws(PostgresError) in
                try attach(partition, of: tier, name, &partitions)
            }
            let rows = piece.rows.part(piece.amended)
            try amend(tier, with: rows, &groups, &hashes, &result)
        }
        if !piece.appended.isEmpty {
            if piece.isBounded {
                try database { () throws(PostgresError) in try copy(piece, &partitions) }
            } else {
                try database { () throws(PostgresError) in
                    try attach(partition, of: tier, name, &partitions)
                }
                let rows = piece.rows.part(piece.appended)
                try amend(tier, with: rows, &groups, &hashes, &result)
            }
        }
        partitions.written[name] = piece.lastWritten
    }

    /// Writes a piece to a table of its own, in the transaction that is open. Its rows are frozen:
    /// they are seen with the transaction that makes it, or not at all.
    func stage(_ piece: ReplayPiece, _ name: String) throws(PostgresError) {
        try connection.execute(
            """
            CREATE TABLE \(name)
                (LIKE \(table.table(piece.tier)) INCLUDING ALL EXCLUDING INDEXES)
            """
        )
        try append(piece, to: name, isFrozen: true)
    }

    private func append(
        _ piece: ReplayPiece,
        to name: String,
        isFrozen: Bool
    ) throws(PostgresError) {
        try connection.copyIn(table.copy(into: name, isFrozen: isFrozen)) {
            (writer: inout CopyWriter) throws(PostgresError) in
            try writer.rows(piece.rows, piece.appended, columns: table.columns.count)
        }
    }

    /// Appends rows to a partition, which need not be there.
    private func copy(
        _ piece: ReplayPiece,
        _ partitions: inout ReplayPartitions
    ) throws(PostgresError) {
        if piece.isNew {
            try stage(piece, piece.name)
            partitions.loose.insert(piece.name)
        } else {
            try append(piece, to: piece.name, isFrozen: false)
        }
        if !partitions.areLeftLoose {
            try attach(piece.partition, of: piece.tier, piece.name, &partitions)
        }
    }

    /// Makes a partition that is loose a part of its table, with the indexes.
    private func attach(
        _ partition: Partition,
        of tier: Tier,
        _ name: String,
        _ partitions: inout ReplayPartitions
    ) throws(PostgresError) {
        guard partitions.loose.remove(name) != nil else { return }
        try connection.execute(attachment(of: partition, tier, name))
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

    /// The last bucket that has rows in a partition, which need not be there, and whether it is
    /// not.
    private func lastBucket(
        of name: String,
        _ written: [String: Int64]
    ) throws(CompactionFailure) -> (last: Int64, isNew: Bool) {
        if let known = written[name], known > .min { return (known, false) }
        return try database { () throws(PostgresError) in
            let missing = try connection.query("SELECT to_regclass($1) IS NULL", [.text(name)])
            if missing.bool(0, 0) == true { return (.min, true) }
            let found = try connection.query("SELECT max(bucket) FROM \(name)")
            return (found.timestamp(0, 0) ?? .min, false)
        }
    }

    /// Whether no organisation, or without that dimension no bucket, has more keys in a bucket than
    /// are kept.
    private func isBounded(_ rows: RowSet, _ range: Range<Int>) -> Bool {
        let hasOrg = definition.dimensions.first == .org
        var first = range.lowerBound
        for row in range {
            if rows.buckets[row] != rows.buckets[first]
                || hasOrg && rows.ids[row * rows.width] != rows.ids[first * rows.width]
            {
                first = row
            }
            if row - first >= configuration.keysPerBucketMax { return false }
        }
        return true
    }
}
