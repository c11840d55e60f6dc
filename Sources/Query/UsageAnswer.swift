/// The answer to a question, before it is written in a format.
package struct UsageAnswer: Sendable {
    /// One row.
    package struct Row: Sendable {
        /// Number of the bucket, from 0; 0 for `total`.
        var bucket: Int
        /// Values of the groups, in the order of the question.
        var groups: [Value]
        /// Values of the metrics, in the order of the question.
        var metrics: [Value]
    }

    /// The question.
    var request: UsageRequest

    /// How it was answered.
    var plan: Plan

    /// Up to when all records are known to be counted, microseconds since the Unix epoch.
    var completeTo: Int64?

    /// Since when the rollup is complete.
    var completeSince: Int64?

    /// Rows in the order of the answer.
    var rows: [Row]

    /// Whether more rows than the limit exist.
    var isTruncated: Bool

    /// Requests in `__other__` that might have matched the filters.
    var otherRequests: Int64
}

/// Keeps the rows of an answer: the first ones, or the first in an explicit order.
struct RowCollector {
    private let order: [UsageRequest.OrderTerm]
    private let limit: Int
    private var rows: [(row: UsageAnswer.Row, sequence: Int)] = []
    private var offered = 0

    /// A collector of at most `limit` rows.
    init(order: [UsageRequest.OrderTerm], limit: Int) {
        self.order = order
        self.limit = limit
    }

    /// Whether further rows could not change the answer.
    var isDone: Bool { order.isEmpty && offered > limit }

    /// Whether some row did not fit.
    var isTruncated: Bool { offered > limit }

    /// Takes the next row in the order of the contract.
    mutating func add(_ row: UsageAnswer.Row) {
        offered += 1
        if order.isEmpty, rows.count >= limit { return }
        rows.append((row, offered))
        // Sorting now and then keeps memory bounded at a constant cost per row.
        if !order.isEmpty, rows.count >= 2 * limit + 1_000 { sort() }
    }

    /// The rows in the order of the answer.
    mutating func finish() -> [UsageAnswer.Row] {
        if !order.isEmpty { sort() }
        return rows.map(\.row)
    }

    private mutating func sort() {
        let order = order
        rows.sort { left, right in
            for term in order {
                let first = Self.cell(term.key, left.row)
                let second = Self.cell(term.key, right.row)
                let comparison = first.compare(second)
                if comparison == 0 { continue }
                if first == .null || second == .null { return comparison < 0 }
                return term.isDescending ? comparison > 0 : comparison < 0
            }
            return left.sequence < right.sequence
        }
        if rows.count > limit { rows.removeSubrange(limit...) }
    }

    private static func cell(_ key: UsageRequest.OrderKey, _ row: UsageAnswer.Row) -> Value {
        switch key {
        case .bucket: .integer(Int64(row.bucket))
        case .group(let index): row.groups[index]
        case .metric(let index): row.metrics[index]
        }
    }
}

extension Value {
    /// Negative if this value comes first: numbers, then texts by code point, then null.
    func compare(_ other: Value) -> Int {
        switch (self, other) {
        case (.null, .null): 0
        case (.null, _): 1
        case (_, .null): -1
        case (.text(let left), .text(let right)):
            // Bytes of UTF-8 sort like code points.
            left.utf8.lexicographicallyPrecedes(right.utf8)
                ? -1 : right.utf8.lexicographicallyPrecedes(left.utf8) ? 1 : 0
        case (.text, _): 1
        case (_, .text): -1
        case (.integer(let left), .integer(let right)): left < right ? -1 : left > right ? 1 : 0
        default: Self.compare(double, other.double)
        }
    }

    private static func compare(_ left: Double, _ right: Double) -> Int {
        left < right ? -1 : left > right ? 1 : 0
    }

    private var double: Double {
        switch self {
        case .integer(let number): Double(number)
        case .number(let number): number
        case .null, .text: 0
        }
    }
}
