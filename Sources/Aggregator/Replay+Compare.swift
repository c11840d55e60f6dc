import Postgres
import Rollups

extension Replay {
    /// Compares what was rebuilt with the active generation, row by row; the deltas of both are
    /// merged first. Ids of dimension values are those of one dictionary. What is past its
    /// retention by now may have been dropped from either and not from the other.
    func compare() throws(ReplayError) {
        let catalog = try sql { () throws(PostgresError) in try RollupCatalog(connection) }
        for built in tables {
            let definition = built.definition
            let live = RollupTable(definition: definition, generation: active)
            for tier in definition.tiers {
                let horizon = catalog.horizon(of: definition, tier)
                for span in try spans(built, live, tier) {
                    let left = try rows(live, tier, span, from: horizon)
                    let right = try rows(built, tier, span, from: horizon)
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

    /// The time of which either has rows, ascending, in spans of whole buckets with about as many
    /// rows as are compared at a time.
    private func spans(
        _ built: RollupTable,
        _ live: RollupTable,
        _ tier: Tier
    ) throws(ReplayError) -> [Range<Int64>] {
        let parts = [
            built.deltaTable, live.deltaTable, built.table(tier), live.table(tier),
        ].map { "SELECT bucket FROM \($0) WHERE \(condition)" }
        let found = try sql { () throws(PostgresError) in
            try connection.query(
                """
                SELECT bucket, count(*) FROM (\(parts.joined(separator: " UNION ALL "))) AS b
                GROUP BY 1 ORDER BY 1
                """
            )
        }
        var spans: [Range<Int64>] = []
        var rowCount = 0
        for row in 0..<found.rowCount {
            guard let time = found.timestamp(row, 0), let count = found.int(row, 1) else {
                continue
            }
            let bucket = tier.bucket(of: time)
            let end = bucket + tier.microseconds
            if let last = spans.last,
                bucket < last.upperBound || rowCount + Int(count) <= limits.comparedRowsMax
            {
                spans[spans.count - 1] = last.lowerBound..<end
                rowCount += Int(count)
            } else {
                spans.append(bucket..<end)
                rowCount = Int(count)
            }
        }
        return spans
    }

    /// The rows of a tier within a span, with the deltas merged in, ascending.
    private func rows(
        _ table: RollupTable,
        _ tier: Tier,
        _ span: Range<Int64>,
        from horizon: Int64
    ) throws(ReplayError) -> RowSet {
        var rows = RowSet(table.definition)
        try sql { () throws(PostgresError) in
            for name in [table.deltaTable, table.table(tier)] {
                rows.append(
                    try connection.query(
                        """
                        SELECT \(table.columnList) FROM \(name)
                        WHERE bucket >= $1 AND bucket < $2 AND (\(condition))
                        """,
                        [.timestamp(span.lowerBound), .timestamp(span.upperBound)]
                    )
                )
            }
        }
        rows.coarsen(to: tier)
        rows = rows.dropping(before: horizon) ?? rows
        do throws(MeasureError) { return try rows.merged(table.definition) } catch {
            throw .refused("a row of \(table.table(tier)) is damaged: \(error)")
        }
    }

    /// In how many keys two ordered sets differ.
    private static func differences(_ left: RowSet, _ right: RowSet) -> Int {
        var count = 0
        var a = 0
        var b = 0
        while a < left.count, b < right.count {
            if RowSet.precedes(left, a, right, b) {
                count += 1
                a += 1
            } else if RowSet.precedes(right, b, left, a) {
                count += 1
                b += 1
            } else {
                if !isSame(left, a, right, b) { count += 1 }
                a += 1
                b += 1
            }
        }
        return count + left.count - a + right.count - b
    }

    /// Whether all measures of two rows are the same.
    private static func isSame(_ left: RowSet, _ a: Int, _ right: RowSet, _ b: Int) -> Bool {
        left.counts[a] == right.counts[b]
            && (0..<left.blobs).allSatisfy { blob in
                left.arena[left.range(a, blob)] == right.arena[right.range(b, blob)]
            }
    }
}
