import Postgres
import Rollups

extension Replay {
    /// Compares what was rebuilt with the active generation, row by row, day by day; the deltas of
    /// both are merged first. Ids of dimension values are those of one dictionary.
    func compare() throws(ReplayError) {
        for built in tables {
            let definition = built.definition
            let live = RollupTable(definition: definition, generation: active)
            for tier in definition.tiers {
                for day in try days(built, live, tier) {
                    let left = try rows(live, tier, day)
                    let right = try rows(built, tier, day)
                    let different = Self.differences(left, right)
                    report.rowsCompared += left.count
                    if different > 0 {
                        report.differences["\(definition.name)_\(tier.rawValue)", default: 0] +=
                            different
                    }
                }
            }
        }
    }

    private var condition: String { outside.map { "NOT (\($0))" } ?? "true" }

    /// The days of which either has rows.
    private func days(
        _ built: RollupTable,
        _ live: RollupTable,
        _ tier: Tier
    ) throws(ReplayError) -> [Int64] {
        let parts = [
            built.deltaTable, live.deltaTable, built.table(tier), live.table(tier),
        ].map { "SELECT bucket FROM \($0) WHERE \(condition)" }
        let found = try sql { () throws(PostgresError) in
            try connection.query(
                """
                SELECT DISTINCT date_trunc('day', bucket, 'UTC')
                FROM (\(parts.joined(separator: " UNION ALL "))) AS b ORDER BY 1
                """
            )
        }
        return (0..<found.rowCount).compactMap { found.timestamp($0, 0) }
    }

    /// The rows of a tier and day, with the deltas merged in, ascending.
    private func rows(
        _ table: RollupTable,
        _ tier: Tier,
        _ day: Int64
    ) throws(ReplayError) -> RowSet {
        var rows = RowSet(table.definition)
        try sql { () throws(PostgresError) in
            for name in [table.deltaTable, table.table(tier)] {
                rows.append(
                    try connection.query(
                        """
                        SELECT \(table.columnList) FROM \(name)
                        WHERE bucket >= $1 AND bucket < $1 + interval '24 hours'
                            AND (\(condition))
                        """,
                        [.timestamp(day)]
                    )
                )
            }
        }
        rows.coarsen(to: tier)
        do throws(MeasureError) { return try rows.merged(table.definition) } catch {
            throw .refused("a row of \(table.table(tier)) is damaged: \(error)")
        }
    }

    /// In how many keys two ordered sets differ.
    private static func differences(_ left: RowSet, _ right: RowSet) -> Int {
        var count = 0
        var a = 0
        var b = 0
        while a < left.count || b < right.count {
            guard a < left.count else { return count + right.count - b }
            guard b < right.count else { return count + left.count - a }
            let leftKey = (left.buckets[a], Array(left.key(a)))
            let rightKey = (right.buckets[b], Array(right.key(b)))
            if leftKey.0 == rightKey.0, leftKey.1 == rightKey.1 {
                if !isSame(left, a, right, b) { count += 1 }
                a += 1
                b += 1
            } else {
                count += 1
                let isLeftFirst =
                    leftKey.0 != rightKey.0
                    ? leftKey.0 < rightKey.0 : leftKey.1.lexicographicallyPrecedes(rightKey.1)
                if isLeftFirst { a += 1 } else { b += 1 }
            }
        }
        return count
    }

    /// Whether all measures of two rows are the same.
    private static func isSame(_ left: RowSet, _ a: Int, _ right: RowSet, _ b: Int) -> Bool {
        guard left.counts[a] == right.counts[b] else { return false }
        return (0..<left.blobs).allSatisfy { blob in
            left.blobBytes(a, blob) == right.blobBytes(b, blob)
        }
    }
}

extension RowSet {
    /// A copy of the bytes of a histogram or sketch.
    fileprivate func blobBytes(_ row: Int, _ blob: Int) -> [UInt8] {
        withBlob(row, blob) { bytes in bytes.indices.map { bytes[$0] } }
    }
}
