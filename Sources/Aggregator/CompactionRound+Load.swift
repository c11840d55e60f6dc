import Postgres
import Rollups

/// Rows that come from memory instead of the delta table: a replay, which alone writes to its
/// generation.
extension CompactionRound {
    /// Merges rows into all tiers, in the transaction that is open.
    ///
    /// - Parameters:
    ///   - rows: Rows of the finest tier, in any order.
    ///   - written: The last bucket of each partition that has rows; what lies behind it is only
    ///     copied. Partitions that are not in it are looked at.
    func load(
        _ rows: RowSet,
        _ written: inout [String: Int64],
        _ groups: inout KeyGroupCache,
        _ hashes: inout ValueHashes
    ) throws(CompactionFailure) {
        guard !rows.isEmpty else { return }
        var all = rows
        var result = Result()
        for tier in definition.tiers {
            all.coarsen(to: tier)
            all = try merged(all, table.table(tier))
            // What is too old for this tier goes on to the coarser ones.
            let rows = all.dropping(before: table.horizons[tier] ?? .min) ?? all
            var start = 0
            while start < rows.count {
                let partition = Partition(tier, holding: rows.buckets[start])
                let name = table.table(tier, partition)
                let last = try lastBucket(of: name, written)
                var end = start
                while end < rows.count, rows.buckets[end] < partition.upperBound,
                    rows.buckets[end] <= last
                { end += 1 }
                if last > .min { written[name] = last }
                if end > start {
                    try amend(tier, with: rows.part(start..<end), &groups, &hashes, &result)
                    start = end
                }
                while end < rows.count, rows.buckets[end] < partition.upperBound { end += 1 }
                guard end > start else { continue }
                if isBounded(rows, start..<end) {
                    try database { () throws(PostgresError) in
                        try makePartition(partition, of: tier, name)
                        let columns = table.columns.count
                        try connection.copyIn(table.copy(into: name)) {
                            (writer: inout CopyWriter) throws(PostgresError) in
                            try writer.rows(rows, start..<end, columns: columns)
                        }
                    }
                } else {
                    try amend(tier, with: rows.part(start..<end), &groups, &hashes, &result)
                }
                written[name] = max(last, rows.buckets[end - 1])
                start = end
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
