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
    /// Merges rows into all tiers, in the transaction that is open.
    ///
    /// - Parameters:
    ///   - rows: Rows of the finest tier, in any order.
    ///   - partitions: What is known of the partitions; what lies behind the last bucket of one is
    ///     only copied. Those that are not in it are looked at.
    func load(
        _ rows: RowSet,
        _ partitions: inout ReplayPartitions,
        _ groups: inout KeyGroupCache,
        _ hashes: inout ValueHashes
    ) throws(CompactionFailure) {
        guard !rows.isEmpty else { return }
        var all = rows
        var result = Result()
        for tier in definition.tiers {
            all.coarsen(to: tier)
            if !all.isAscending { all = try merged(all, table.table(tier)) }
            // What is too old for this tier goes on to the coarser ones.
            let rows = all.dropping(before: table.horizons[tier] ?? .min) ?? all
            var start = 0
            while start < rows.count {
                let partition = Partition(tier, holding: rows.buckets[start])
                let name = table.table(tier, partition)
                let last = try lastBucket(of: name, partitions.written)
                var end = start
                while end < rows.count, rows.buckets[end] < partition.upperBound,
                    rows.buckets[end] <= last
                { end += 1 }
                if last > .min { partitions.written[name] = last }
                if end > start {
                    try database { () throws(PostgresError) in
                        try attach(partition, of: tier, name, &partitions)
                    }
                    try amend(tier, with: rows.part(start..<end), &groups, &hashes, &result)
                    start = end
                }
                while end < rows.count, rows.buckets[end] < partition.upperBound { end += 1 }
                guard end > start else { continue }
                let isBounded = isBounded(rows, start..<end)
                try database { () throws(PostgresError) in
                    if isBounded {
                        try copy(rows, start..<end, to: partition, of: tier, name, &partitions)
                    } else {
                        try attach(partition, of: tier, name, &partitions)
                    }
                }
                if !isBounded {
                    try amend(tier, with: rows.part(start..<end), &groups, &hashes, &result)
                }
                partitions.written[name] = max(last, rows.buckets[end - 1])
                start = end
            }
        }
    }

    /// Appends rows to a partition, which need not be there. Rows of a new one are frozen: they are
    /// seen with the transaction that makes it, or not at all.
    private func copy(
        _ rows: RowSet,
        _ range: Range<Int>,
        to partition: Partition,
        of tier: Tier,
        _ name: String,
        _ partitions: inout ReplayPartitions
    ) throws(PostgresError) {
        let missing = try connection.query("SELECT to_regclass($1) IS NULL", [.text(name)])
        let isNew = missing.bool(0, 0) == true
        if isNew {
            try connection.execute(
                """
                CREATE TABLE \(name) (LIKE \(table.table(tier)) INCLUDING ALL EXCLUDING INDEXES)
                """
            )
            partitions.loose.insert(name)
        }
        try connection.copyIn(table.copy(into: name, isFrozen: isNew)) {
            (writer: inout CopyWriter) throws(PostgresError) in
            try writer.rows(rows, range, columns: table.columns.count)
        }
        if !partitions.areLeftLoose { try attach(partition, of: tier, name, &partitions) }
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

    /// Makes all partitions that are loose parts of their tables.
    func attachLoose() throws(PostgresError) {
        for tier in definition.tiers {
            let prefix = "\(definition.name)_\(tier.rawValue)_"
            let loose = try connection.query(
                """
                SELECT format('%I.%I', $1::text, c.relname) FROM pg_class c
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
                try connection.execute(
                    attachment(of: Partition(tier, holding: bucket), tier, name)
                )
            }
        }
    }

    /// The last bucket that has rows in a partition, which need not be there.
    private func lastBucket(
        of name: String,
        _ written: [String: Int64]
    ) throws(CompactionFailure) -> Int64 {
        if let known = written[name] { return known }
        return try database { () throws(PostgresError) in
            let missing = try connection.query("SELECT to_regclass($1) IS NULL", [.text(name)])
            if missing.bool(0, 0) == true { return .min }
            return try connection.query("SELECT max(bucket) FROM \(name)").timestamp(0, 0) ?? .min
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
