import Postgres
import Rollups

extension Replay {
    /// Compares what was rebuilt with the active generation, row by row; the deltas of both are
    /// merged first. What is past its retention by now may have been dropped from either and not
    /// from the other, and is left out.
    func compare() throws(ReplayError) {
        let catalog = try sql { () throws(PostgresError) in try RollupCatalog(connection) }
        for built in tables {
            let definition = built.definition
            let live = RollupTable(definition: definition, generation: active)
            var deltas: [[String]] = []
            for table in [live, built] {
                let found = try sql { () throws(PostgresError) in
                    try connection.query("SELECT EXISTS (SELECT FROM \(table.deltaTable))")
                }
                deltas.append(found.bool(0, 0) == true ? [table.deltaTable] : [])
            }
            for tier in definition.tiers {
                let comparison = ReplayComparison(
                    connection: connection,
                    definition: definition,
                    tier: tier,
                    horizon: catalog.horizon(of: definition, tier),
                    live: deltas[0] + [live.table(tier)],
                    built: deltas[1] + [built.table(tier)],
                    columns: built.columnList,
                    rebuilt: outside.map { "(NOT (\($0)))" } ?? "true",
                    rowsMax: limits.comparedRowsMax
                )
                let (compared, different) = try comparison.run()
                report.rowsCompared += compared
                guard different > 0 else { continue }
                report.differences["\(definition.name)_\(tier.rawValue)", default: 0] += different
            }
        }
    }
}

/// Compares a tier of the live rollups with the same of a rebuild, in one snapshot of both. Ids of
/// dimension values are those of one dictionary.
private struct ReplayComparison {
    let connection: PostgresConnection
    let definition: RollupDefinition
    let tier: Tier
    /// Buckets before it are left out, µs since the epoch.
    let horizon: Int64
    /// The tables whose rows make the live rollup, with its deltas if it has any.
    let live: [String]
    /// The same of the rebuild.
    let built: [String]
    /// All columns, for SQL.
    let columns: String
    /// What is true of buckets that were rebuilt, for SQL.
    let rebuilt: String
    /// Rows of both that are in memory together, unless an organisation has more in a bucket.
    let rowsMax: Int

    /// Whether the keys of a bucket are those of organisations, for each of which they are bounded.
    private var hasOrg: Bool { definition.dimensions.first == .org }

    /// How many live rows there are, and in how many keys the two differ.
    func run() throws(ReplayError) -> (compared: Int, different: Int) {
        var compared = 0
        var different = 0
        for part in try parts() {
            let left = try rows(live, part)
            different += Self.differences(left, try rows(built, part))
            compared += left.count
        }
        return (compared, different)
    }

    // MARK: Parts

    /// All rows, in parts that fit into memory.
    private func parts() throws(ReplayError) -> [ComparedPart] {
        var parts: [ComparedPart] = []
        for (bucket, count) in try bucketCounts() {
            // Deltas are finer than most tiers: some of one bucket belong together.
            let start = tier.bucket(of: bucket)
            let end = start + tier.microseconds
            if var last = parts.last,
                start < last.buckets.upperBound || last.rowCount + count <= rowsMax
            {
                last.buckets = last.buckets.lowerBound..<end
                last.rowCount += count
                parts[parts.count - 1] = last
            } else {
                parts.append(ComparedPart(buckets: start..<end, rowCount: count))
            }
        }
        var result: [ComparedPart] = []
        for part in parts {
            result += hasOrg && part.rowCount > rowsMax ? try split(part) : [part]
        }
        return result
    }

    /// Splits a bucket by organisations.
    private func split(_ bucket: ComparedPart) throws(ReplayError) -> [ComparedPart] {
        var parts: [ComparedPart] = []
        for (org, count) in try orgCounts(bucket) {
            if var last = parts.last, let first = last.orgs?.lowerBound,
                last.rowCount + count <= rowsMax
            {
                last.orgs = first...org
                last.rowCount += count
                parts[parts.count - 1] = last
            } else {
                parts.append(
                    ComparedPart(buckets: bucket.buckets, orgs: org...org, rowCount: count)
                )
            }
        }
        return parts
    }

    /// How many rows both have with each time, ascending.
    private func bucketCounts() throws(ReplayError) -> [(bucket: Int64, count: Int)] {
        let found = try counts(of: "bucket", where: rebuilt)
        return (0..<found.rowCount).compactMap { row in
            guard let time = found.timestamp(row, 0), let count = found.int(row, 1) else {
                return nil
            }
            return (time, Int(count))
        }
    }

    /// How many rows both have of each organisation in a bucket, ascending.
    private func orgCounts(_ part: ComparedPart) throws(ReplayError) -> [(org: Int64, count: Int)] {
        let found = try counts(of: "org", where: part.condition, part.parameters)
        return (0..<found.rowCount).compactMap { row in
            guard let org = found.int(row, 0), let count = found.int(row, 1) else { return nil }
            return (org, Int(count))
        }
    }

    private func counts(
        of column: String,
        where condition: String,
        _ parameters: [PostgresValue] = []
    ) throws(ReplayError) -> PostgresResult {
        let rows = (live + built).map { "SELECT \(column) FROM \($0) WHERE \(condition)" }
        return try query(
            """
            SELECT \(column), count(*) FROM (\(rows.joined(separator: " UNION ALL "))) AS r
            GROUP BY 1 ORDER BY 1
            """,
            parameters
        )
    }

    private func query(
        _ statement: String,
        _ parameters: [PostgresValue]
    ) throws(ReplayError) -> PostgresResult {
        do throws(PostgresError) { return try connection.query(statement, parameters) } catch {
            throw .database(error)
        }
    }

    // MARK: Rows

    /// The rows of a part, with the deltas merged in, ascending.
    private func rows(
        _ tables: [String],
        _ part: ComparedPart
    ) throws(ReplayError) -> RowSet {
        var rows = RowSet(definition)
        for name in tables {
            rows.append(
                try query(
                    "SELECT \(columns) FROM \(name) WHERE \(part.condition) AND \(rebuilt)",
                    part.parameters
                )
            )
        }
        rows.coarsen(to: tier)
        rows = rows.dropping(before: horizon) ?? rows
        do throws(MeasureError) { return try rows.merged(definition) } catch {
            throw .refused("a row of \(tables[tables.count - 1]) is damaged: \(error)")
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

/// Some of a tier: whole buckets, or some organisations of one.
private struct ComparedPart {
    /// The time of the buckets.
    var buckets: Range<Int64>
    /// The organisations; nil for all.
    var orgs: ClosedRange<Int64>?
    /// How many rows that are in all tables that are compared.
    var rowCount: Int

    /// What is true of the rows, for SQL.
    var condition: String {
        "bucket >= $1 AND bucket < $2" + (orgs == nil ? "" : " AND org BETWEEN $3 AND $4")
    }

    /// The parameters of the condition.
    var parameters: [PostgresValue] {
        [.timestamp(buckets.lowerBound), .timestamp(buckets.upperBound)]
            + (orgs.map { [.int($0.lowerBound), .int($0.upperBound)] } ?? [])
    }
}
