import Postgres
import Rollups

/// The cardinality bound: a bucket keeps, per organisation, the keys of the smallest ranks, and
/// merges the others into one row.
///
/// Deterministic: whatever the order in which keys come, a key that is kept at the end was never
/// displaced, because at no time were as many smaller ones there; and everything else is in the
/// `__other__` row, since merging is commutative.
extension CompactionRound {
    /// Applies the bound to the rows about to be written to a partition.
    ///
    /// - Parameters:
    ///   - rows: The final rows, ascending by key; those that existed have been taken out.
    ///   - isNew: Which of them did not exist.
    ///   - name: The partition.
    ///   - taken: How many rows were taken out of the partition; grows.
    /// - Returns: The rows to be written instead.
    func bound(
        _ rows: RowSet,
        _ isNew: [Bool],
        in name: String,
        _ groups: inout KeyGroupCache,
        _ hashes: inout ValueHashes,
        _ taken: inout Int,
        _ result: inout Result
    ) throws(CompactionFailure) -> RowSet {
        let spans = groupSpans(of: rows).filter { span in isNew[span].contains(true) }
        let counts = try database { () throws(PostgresError) in
            try rowCounts(spans, rows, isNew, in: name, groups)
        }
        var crowded: [Range<Int>] = []
        for (span, count) in zip(spans, counts) {
            let group = self.group(of: span, in: rows, name)
            if count <= configuration.keysPerBucketMax {
                groups[group] = .init(count: count, rankMax: nil)
            } else {
                crowded.append(span)
            }
        }
        if crowded.isEmpty { return rows }
        var final = RowSet(definition)
        var next = 0
        for span in crowded {
            for row in next..<span.lowerBound { final.append(rows, row) }
            try squeeze(
                rows,
                span,
                isNew,
                in: name,
                &groups,
                &hashes,
                into: &final,
                &taken,
                &result
            )
            next = span.upperBound
        }
        for row in next..<rows.count { final.append(rows, row) }
        return final
    }

    private func group(of span: Range<Int>, in rows: RowSet, _ name: String) -> KeyGroup {
        KeyGroup(
            table: name,
            bucket: rows.buckets[span.lowerBound],
            org: hasOrg ? rows.ids[span.lowerBound * rows.width] : 0
        )
    }

    /// Whether the bound is per organisation; without that dimension it is per bucket.
    var hasOrg: Bool { definition.dimensions.first == .org }

    /// The runs of rows with the same bucket and organisation.
    private func groupSpans(of rows: RowSet) -> [Range<Int>] {
        var spans: [Range<Int>] = []
        var start = 0
        while start < rows.count {
            var end = start + 1
            while end < rows.count, rows.buckets[end] == rows.buckets[start],
                !hasOrg || rows.ids[end * rows.width] == rows.ids[start * rows.width]
            { end += 1 }
            spans.append(start..<end)
            start = end
        }
        return spans
    }

    /// How many rows each group will have; counted in the table only if it is not remembered.
    private func rowCounts(
        _ spans: [Range<Int>],
        _ rows: RowSet,
        _ isNew: [Bool],
        in name: String,
        _ groups: KeyGroupCache
    ) throws(PostgresError) -> [Int] {
        var counts: [Int] = []
        var unknown: [Int] = []
        for (index, span) in spans.enumerated() {
            if let entry = groups[group(of: span, in: rows, name)] {
                counts.append(entry.count + isNew[span].count { $0 })
            } else {
                unknown.append(index)
                counts.append(span.count)
            }
        }
        guard !unknown.isEmpty else { return counts }
        let first = unknown.map { spans[$0].lowerBound }
        let found = try connection.query(
            """
            SELECT (SELECT count(*) FROM \(name) t
                WHERE t.bucket = g.bucket AND \(hasOrg ? "t.org = g.org::integer" : "g.org = 0"))
            FROM unnest($1::timestamptz[], $2::int8[]) WITH ORDINALITY AS g (bucket, org, position)
            ORDER BY g.position
            """,
            [
                .timestamps(first.map { rows.buckets[$0] }),
                .intArray(first.map { hasOrg ? Int64(rows.ids[$0 * rows.width]) : 0 }),
            ]
        )
        for (row, index) in unknown.enumerated() { counts[index] += Int(found.int(row, 0) ?? 0) }
        return counts
    }

    /// Keeps the best keys of one group and merges the others.
    private func squeeze(
        _ rows: RowSet,
        _ span: Range<Int>,
        _ isNew: [Bool],
        in name: String,
        _ groups: inout KeyGroupCache,
        _ hashes: inout ValueHashes,
        into final: inout RowSet,
        _ taken: inout Int,
        _ result: inout Result
    ) throws(CompactionFailure) {
        let group = self.group(of: span, in: rows, name)
        let other = try database { () throws(PostgresError) in
            try loadHashes(rows, span, &hashes)
            return try otherKey(org: group.org)
        }
        // A group that has displaced keys before is full, and stays as it is unless one of the new
        // keys is better than the worst kept.
        if let entry = groups[group], let rankMax = entry.rankMax,
            span.allSatisfy({ row in
                !isNew[row] || rows.key(row) == other[...]
                    || hashes.rank(rows.key(row), definition) > rankMax
            })
        {
            try divert(rows, span, isNew, other, in: name, into: &final, &taken, &result)
            return
        }
        // All rows of the group come into memory: at most the bound and what is new.
        var all = RowSet(definition)
        try database { () throws(PostgresError) in
            let existing = try connection.query(
                """
                DELETE FROM \(name) WHERE bucket = $1
                    AND \(hasOrg ? "org" : "0") = $2::int8::integer
                RETURNING \(table.columnList)
                """,
                [.timestamp(group.bucket), .int(Int64(group.org))]
            )
            all.append(existing)
            taken += existing.rowCount
            for row in span { all.append(rows, row) }
            try loadHashes(all, 0..<all.count, &hashes)
        }
        let split = split(all, other, hashes)
        result.keysDisplaced += split.displaced
        for row in split.kept { final.append(all, row) }
        final.append(contentsOf: try merged(split.merging, name))
        groups[group] = .init(
            count: split.kept.count + (split.merging.isEmpty ? 0 : 1),
            rankMax: split.rankMax
        )
    }

    /// The rows of a group that are kept, and those that become one.
    struct Split {
        /// The rows with the best keys, ascending.
        var kept: [Int]
        /// The largest rank of these, if others were displaced.
        var rankMax: UInt64?
        /// How many were displaced.
        var displaced: Int
        /// These, and what had been displaced before, under the key of the others.
        var merging: RowSet
    }

    /// Tells the rows of a group apart; the values behind their keys are known.
    func split(_ all: RowSet, _ other: [Int32], _ hashes: ValueHashes) -> Split {
        var ranked: [(rank: UInt64, row: Int)] = []
        var merging = RowSet(definition)
        for row in 0..<all.count {
            if all.key(row) == other[...] {
                merging.append(all, row)
            } else {
                ranked.append((hashes.rank(all.key(row), definition), row))
            }
        }
        ranked.sort { $0.rank < $1.rank }
        let kept = ranked.prefix(configuration.keysPerBucketMax)
        for (_, row) in ranked.dropFirst(kept.count) { merging.append(all, row, key: other) }
        let displaced = ranked.count - kept.count
        return Split(
            kept: kept.map(\.row).sorted(),
            rankMax: displaced > 0 ? kept.last?.rank : nil,
            displaced: displaced,
            merging: merging
        )
    }

    /// Merges the new keys of a full group into its `__other__` row, and keeps the known ones.
    private func divert(
        _ rows: RowSet,
        _ span: Range<Int>,
        _ isNew: [Bool],
        _ other: [Int32],
        in name: String,
        into final: inout RowSet,
        _ taken: inout Int,
        _ result: inout Result
    ) throws(CompactionFailure) {
        var merging = RowSet(definition)
        var hasOther = false
        for row in span {
            if rows.key(row) == other[...] {
                hasOther = true
                merging.append(rows, row)
            } else if isNew[row] {
                merging.append(rows, row, key: other)
                result.keysDisplaced += 1
            } else {
                final.append(rows, row)
            }
        }
        if !hasOther {
            var wanted = RowSet(definition)
            wanted.append(merging, 0)
            let stored = try database { () throws(PostgresError) in
                try take(wanted, 0..<1, from: name)
            }
            merging.append(stored)
            taken += stored.rowCount
        }
        final.append(contentsOf: try merged(merging, name))
    }

    /// Looks up the values behind the keys of some rows.
    func loadHashes(
        _ rows: RowSet,
        _ range: Range<Int>,
        _ hashes: inout ValueHashes
    ) throws(PostgresError) {
        var ids: Set<Int32> = []
        for (place, dimension) in definition.dimensions.enumerated() where !dimension.isInteger {
            for row in range { ids.insert(rows.ids[row * rows.width + place]) }
        }
        try hashes.load(ids, on: connection)
    }

    /// The key of the row that displaced keys are merged into.
    func otherKey(org: Int32) throws(PostgresError) -> [Int32] {
        let names = definition.dimensions.filter { !$0.isInteger && $0 != .org }.map(\.name)
        try connection.query(
            """
            INSERT INTO sluice.dimension (name, value)
            SELECT n, '__other__' FROM unnest($1::text[]) n
            WHERE NOT EXISTS (
                SELECT FROM sluice.dimension d WHERE d.name = n AND d.value = '__other__')
            ORDER BY n
            ON CONFLICT DO NOTHING
            """,
            [.textArray(names)]
        )
        let found = try connection.query(
            """
            SELECT name, id FROM sluice.dimension
            WHERE value = '__other__' AND name = ANY ($1::text[])
            """,
            [.textArray(names)]
        )
        var ids: [String: Int32] = [:]
        for row in 0..<found.rowCount {
            ids[found.text(row, 0) ?? ""] = Int32(truncatingIfNeeded: found.int(row, 1) ?? 0)
        }
        return definition.dimensions.map { dimension in
            dimension == .org ? org : dimension.isInteger ? -1 : ids[dimension.name] ?? 0
        }
    }
}
