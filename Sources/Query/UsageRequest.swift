package import Rollups

/// A question to `/v1/usage`, checked but not yet planned.
package struct UsageRequest: Equatable, Sendable {
    /// How the answer is written.
    package enum Format: String, CaseIterable, Sendable {
        /// One JSON object.
        case json
        /// RFC 4180 with a header line.
        case csv
        /// One JSON object per row and line.
        case ndjson
    }

    /// What rows are sorted by.
    package enum OrderKey: Equatable, Sendable {
        /// The start of the bucket.
        case bucket
        /// The value of the group's dimension at this index of `groupBy`.
        case group(Int)
        /// The metric at this index of `metrics`.
        case metric(Int)
    }

    /// One term of an explicit order.
    package struct OrderTerm: Equatable, Sendable {
        /// What is compared.
        package var key: OrderKey
        /// Whether large values come first; unknown values come last either way.
        package var isDescending: Bool

        /// A term that compares `key`.
        package init(_ key: OrderKey, isDescending: Bool) {
            self.key = key
            self.isDescending = isDescending
        }
    }

    /// Start of the range, microseconds since the Unix epoch, not yet rounded.
    package var from: Int64

    /// End of the range, exclusive, not yet rounded.
    package var to: Int64

    /// Width of the buckets; nil for `auto`.
    package var granularity: Granularity?

    /// IANA name of the zone that buckets follow.
    package var zoneName: String

    /// What is asked for, in the order of the answer, without repetitions.
    package var metrics: [Metric]

    /// What rows are split by, in the order of the answer, without repetitions.
    package var groupBy: [Dimension]

    /// Conditions, ANDed.
    package var filters: [Filter]

    /// The explicit order; ties and an empty one fall back to bucket and groups ascending.
    package var order: [OrderTerm]

    /// Most rows of the answer.
    package var limit: Int

    /// How the answer is written.
    package var format: Format

    /// Rows of an answer that names no limit.
    package static let limitDefault = 1_000

    /// Most rows that may be asked for.
    package static let limitMax = 10_000
}

extension Dimension {
    /// The value of every key that the bound on cardinality merged into one.
    package static let otherValue = "__other__"

    /// Names of all dimensions, in the order of the contract.
    package static var names: [String] { allCases.map(\.name) }
}
