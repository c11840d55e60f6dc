import Rollups

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
        /// The integers that metrics were computed from, as far as they were asked for.
        var counts = Counts()
    }

    /// What an earlier window gives.
    struct Earlier: Sendable {
        /// Start of the window, microseconds since the Unix epoch.
        var from: Int64
        /// End of the window, exclusive.
        var to: Int64
        /// The metrics that belong to each row, in the order of rows and question.
        var metrics: [[Value]]
    }

    /// What all groups together give.
    struct Whole: Sendable {
        /// How many groups there are.
        var groups: Int
        /// The metrics over all of them, in the order of the question.
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

    /// Where the next page begins, if more rows than the limit exist.
    var next: Cursor?

    /// The earlier window, if the question asks for one.
    var comparison: Earlier?

    /// How many groups there are in all, and the metrics of everything; only of `/v1/top`.
    var whole: Whole?

    /// Requests in `__other__` that might have matched the filters.
    var otherRequests: Int64
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
