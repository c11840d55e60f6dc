package import Rollups

/// A question to `/v1/usage`, checked but not yet planned.
package struct UsageRequest: Equatable, Sendable {
    /// Where the question was asked.
    package enum Kind: Equatable, Sendable {
        /// `/v1/usage`.
        case usage
        /// `/v1/top`: groups of the whole range, those with the largest first metric first.
        case top
    }

    /// Which rows are added where there were no requests.
    package enum Fill: String, CaseIterable, Sendable {
        /// None.
        case none
        /// One for every group of the answer in every bucket.
        case zero
    }

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

    /// Where the question was asked.
    package var kind: Kind

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

    /// Most rows of the answer; nil for all of them.
    package var limit: Int?

    /// The cursor of the page that is asked for; nil for the first.
    package var cursor: Cursor?

    /// Which rows are added where there were no requests.
    package var fill: Fill

    /// With which earlier window every row is compared.
    package var comparison: Comparison?

    /// Hash of everything that the client sent but cursor, limit and format.
    package var fingerprint: UInt64

    /// How the answer is written.
    package var format: Format

    /// Rows of an answer that names no limit.
    package static let limitDefault = 1_000

    /// Rows of an answer of `/v1/top` that names no limit.
    package static let topDefault = 10

    /// Most rows that may be asked for.
    package static let limitMax = 10_000
}

extension Dimension {
    /// The value of every key that the bound on cardinality merged into one.
    package static let otherValue = "__other__"

    /// Names of all dimensions, in the order of the contract.
    package static var names: [String] { allCases.map(\.name) }
}
