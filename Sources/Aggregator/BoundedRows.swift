import Postgres
import Rollups

/// Applies the cardinality bound to the rows of a partition that is written as a whole, which come
/// ascending: what `CompactionRound` does to a partition that is there already.
struct BoundedRows {
    private let configuration: AggregatorConfiguration
    private let table: RollupTable
    /// Asks for the values behind keys, on a session of its own, since rows are on their way on the
    /// others; made when a group has too many keys.
    private var round: CompactionRound?
    private var hashes = ValueHashes()
    /// The rows of one group: at most twice the bound, and what was added last.
    private var group: RowSet
    /// The row of its keys that are not kept.
    private var others: RowSet

    /// Begins with no rows.
    init(_ table: RollupTable, _ configuration: AggregatorConfiguration) {
        self.table = table
        self.configuration = configuration
        group = RowSet(table.definition)
        others = RowSet(table.definition)
    }

    /// Takes rows that follow those taken before, and lends those of the groups that are complete.
    mutating func add(
        _ rows: borrowing RowSet,
        _ range: Range<Int>,
        _ body: (borrowing RowSet, Range<Int>) throws(PostgresError) -> Void
    ) throws(PostgresError) {
        // Groups that are here as a whole are lent as they are, many at a time.
        var whole = range.lowerBound
        var start = range.lowerBound
        while start < range.upperBound {
            var end = start + 1
            while end < range.upperBound, isSameGroup(rows, start, rows, end) { end += 1 }
            if !group.isEmpty, !isSameGroup(group, 0, rows, start) { try finish(body) }
            let isWhole =
                group.isEmpty && end < range.upperBound
                && end - start <= configuration.keysPerBucketMax
            if !isWhole {
                if whole < start { try body(rows, whole..<start) }
                whole = end
                group.append(rows, start..<end)
                if group.count / 2 >= configuration.keysPerBucketMax { try squeeze() }
            }
            start = end
        }
        if whole < range.upperBound { try body(rows, whole..<range.upperBound) }
    }

    /// Lends the rows of the last group.
    mutating func finish(
        _ body: (borrowing RowSet, Range<Int>) throws(PostgresError) -> Void
    ) throws(PostgresError) {
        if !others.isEmpty || group.count > configuration.keysPerBucketMax { try squeeze() }
        if !group.isEmpty { try body(group, 0..<group.count) }
        if !others.isEmpty { try body(others, 0..<others.count) }
        group.removeAll(keepingCapacity: true)
        others.removeAll(keepingCapacity: true)
    }

    /// Whether two rows have the same bucket and organisation.
    private func isSameGroup(
        _ left: borrowing RowSet,
        _ a: Int,
        _ right: borrowing RowSet,
        _ b: Int
    ) -> Bool {
        guard left.buckets[a] == right.buckets[b] else { return false }
        return table.definition.dimensions.first != .org
            || left.ids[a * left.width] == right.ids[b * right.width]
    }

    /// Keeps the best keys of the group and merges the others.
    private mutating func squeeze() throws(PostgresError) {
        let round = try session()
        try round.loadHashes(group, 0..<group.count, &hashes)
        let other = try round.otherKey(org: round.hasOrg ? group.ids[0] : 0)
        let split = round.split(group, other, hashes)
        var kept = RowSet(table.definition)
        kept.reserve(split.kept.count, group.blobByteCount)
        for row in split.kept { kept.append(group, row) }
        group = kept
        others.append(contentsOf: split.merging)
        do throws(CompactionFailure) {
            others = try round.merged(others, table.deltaTable)
        } catch { throw Replay.postgres(error) }
    }

    private mutating func session() throws(PostgresError) -> CompactionRound {
        if let round { return round }
        let connection = try Replay.session(configuration.postgres, "sluice-replay-bound")
        let round = Replay.round(table, configuration, connection)
        self.round = round
        return round
    }
}
