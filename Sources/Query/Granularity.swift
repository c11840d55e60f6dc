package import Rollups

/// Width of the buckets of an answer.
package enum Granularity: String, CaseIterable, Sendable {
    /// One minute.
    case minute = "1m"
    /// Five minutes of local time.
    case fiveMinutes = "5m"
    /// A quarter of an hour of local time.
    case quarterHour = "15m"
    /// An hour of local time.
    case hour = "1h"
    /// A local date.
    case day = "1d"
    /// Seven local dates from Monday.
    case week = "1w"
    /// A calendar month.
    case month = "1mo"
    /// The whole range as one; rows have no bucket.
    case total = "total"

    /// Seconds of a bucket that is a fixed part of the day, else nil.
    package var seconds: Int64? {
        switch self {
        case .minute: 60
        case .fiveMinutes: 300
        case .quarterHour: 900
        case .hour: 3600
        case .day, .week, .month, .total: nil
        }
    }

    /// Seconds that a bucket usually has, for estimates.
    package var typicalSeconds: Int64 {
        switch self {
        case .day: 86_400
        case .week: 604_800
        case .month: 2_592_000
        case .total: .max
        default: seconds ?? 60
        }
    }

    /// Widest span of time that every bucket of this width is a whole number of, in any zone; the
    /// tier must not be wider than this when it fills buckets.
    package var finestSecondsNeeded: Int64 {
        switch self {
        case .minute: 60
        case .fiveMinutes: 300
        default: 900
        }
    }

    /// Whether every bucket of this width is a whole number of a tier's: always, or because local
    /// days are those of UTC. The whole range as one goes by any tier.
    package func fits(_ tier: Tier, zone: String) -> Bool {
        if tier.microseconds <= finestSecondsNeeded * 1_000_000 { return true }
        switch self {
        case .minute, .fiveMinutes, .quarterHour: return false
        case .hour: return tier == .hour && zone == "UTC"
        case .day, .week, .month: return zone == "UTC"
        case .total: return true
        }
    }
}
