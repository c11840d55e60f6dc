/// Takes the rows of an answer in the order of the contract, one after the other.
protocol RowSink: AnyObject {
    /// Whether further rows could not change anything.
    var isDone: Bool { get }

    /// Takes the next row.
    func add(_ row: UsageAnswer.Row)

    /// Hears that there are no more rows.
    func end()
}

extension RowSink {
    /// Does nothing.
    func end() {}
}

/// Keeps the rows of an answer: the first ones, or the first in an explicit order, after a key.
///
/// Owner: the thread that reads the question's rows.
final class RowCollector: RowSink {
    private let order: [UsageRequest.OrderTerm]
    private let limit: Int
    private let starts: [Int64]
    private let after: RowKey?
    private var rows: [UsageAnswer.Row] = []
    /// Rows of the whole answer, those before the cursor included.
    private(set) var seen = 0
    private var offered = 0

    /// A collector of at most `limit` rows.
    ///
    /// - Parameters:
    ///   - order: The explicit order; empty for that of the contract.
    ///   - limit: Most rows kept.
    ///   - starts: Start of each bucket, Unix seconds; none for `total`.
    ///   - after: Rows up to this key are passed over.
    init(order: [UsageRequest.OrderTerm], limit: Int, starts: [Int64], after: RowKey?) {
        self.order = order
        self.limit = limit
        self.starts = starts
        self.after = after
    }

    var isDone: Bool { order.isEmpty && offered > limit }

    /// Whether some row did not fit.
    var isTruncated: Bool { offered > limit }

    func add(_ row: UsageAnswer.Row) {
        seen += 1
        if let after, Self.compare(key(row), after, order) <= 0 { return }
        offered += 1
        if order.isEmpty, rows.count >= limit { return }
        rows.append(row)
        // Sorting now and then keeps memory bounded at a constant cost per row.
        if !order.isEmpty, rows.count >= 2 * limit + 1_000 { sort() }
    }

    /// The rows in the order of the answer.
    func finish() -> [UsageAnswer.Row] {
        if !order.isEmpty { sort() }
        return rows
    }

    /// The key of a row.
    func key(_ row: UsageAnswer.Row) -> RowKey {
        RowKey(
            terms: order.map { Self.cell($0.key, row) },
            bucket: starts.isEmpty ? 0 : starts[row.bucket],
            groups: row.groups
        )
    }

    private func sort() {
        let order = order
        rows.sort { left, right in
            for term in order {
                let comparison = Self.compare(
                    Self.cell(term.key, left),
                    Self.cell(term.key, right),
                    isDescending: term.isDescending
                )
                if comparison != 0 { return comparison < 0 }
            }
            if left.bucket != right.bucket { return left.bucket < right.bucket }
            return Self.compare(left.groups, right.groups) < 0
        }
        if rows.count > limit { rows.removeSubrange(limit...) }
    }

    private static func compare(
        _ left: RowKey,
        _ right: RowKey,
        _ order: [UsageRequest.OrderTerm]
    ) -> Int {
        for (index, term) in order.enumerated() {
            let comparison = compare(
                left.terms[index],
                right.terms[index],
                isDescending: term.isDescending
            )
            if comparison != 0 { return comparison }
        }
        if left.bucket != right.bucket { return left.bucket < right.bucket ? -1 : 1 }
        return compare(left.groups, right.groups)
    }

    /// Null comes last either way.
    private static func compare(_ left: Value, _ right: Value, isDescending: Bool) -> Int {
        let comparison = left.compare(right)
        return isDescending && left != .null && right != .null ? -comparison : comparison
    }

    private static func compare(_ left: [Value], _ right: [Value]) -> Int {
        for (first, second) in zip(left, right) {
            let comparison = first.compare(second)
            if comparison != 0 { return comparison }
        }
        return 0
    }

    private static func cell(_ key: UsageRequest.OrderKey, _ row: UsageAnswer.Row) -> Value {
        switch key {
        case .bucket: .integer(Int64(row.bucket))
        case .group(let index): row.groups[index]
        case .metric(let index): row.metrics[index]
        }
    }
}

/// Adds rows of nothing, so that every group has a row in every bucket; passes on what comes.
///
/// Owner: the thread that reads the question's rows.
final class RowFiller: RowSink {
    private let groups: [[Value]]
    private let places: [[Value]: Int]
    private let bucketCount: Int
    private let empty: [Value]
    private let next: any RowSink
    /// The bucket and the group that the next row ought to have.
    private var bucket: Int
    private var group = 0

    /// A filler for groups in the order of the contract.
    ///
    /// - Parameters:
    ///   - groups: Values of every group of the answer, in order.
    ///   - buckets: The numbers of the buckets to be filled.
    ///   - empty: The metrics of nothing.
    ///   - next: Where rows go.
    init(groups: [[Value]], buckets: Range<Int>, empty: [Value], next: any RowSink) {
        self.groups = groups
        places = Dictionary(
            groups.enumerated().map { ($1, $0) },
            uniquingKeysWith: { first, _ in first }
        )
        bucketCount = buckets.upperBound
        bucket = buckets.lowerBound
        self.empty = empty
        self.next = next
    }

    var isDone: Bool { next.isDone }

    func add(_ row: UsageAnswer.Row) {
        // The groups were read in the same snapshot, so every row has one of them.
        guard let place = places[row.groups] else { return }
        fill(to: row.bucket, place)
        next.add(row)
        advance()
    }

    /// Adds what is missing at the end.
    func end() { fill(to: bucketCount, 0) }

    private func fill(to endBucket: Int, _ endGroup: Int) {
        while !next.isDone, bucket < endBucket || (bucket == endBucket && group < endGroup) {
            guard group < groups.count else { return }
            next.add(UsageAnswer.Row(bucket: bucket, groups: groups[group], metrics: empty))
            advance()
        }
    }

    private func advance() {
        group += 1
        if group == groups.count {
            group = 0
            bucket += 1
        }
    }
}
