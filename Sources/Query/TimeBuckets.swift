/// The buckets of an answer: consecutive half-open spans of time in a zone.
package struct TimeBuckets: Equatable, Sendable {
    /// Most buckets of one question; chosen: a year of minutes, 4 MB as a parameter.
    package static let countMax = 530_000

    /// Start of each bucket, Unix seconds, ascending. The first may lie before the range, since the
    /// first bucket may be partial. Empty for `total`.
    package let starts: [Int64]

    /// The buckets of width `granularity` that `[from, to)` (Unix seconds) touches, nil if they are
    /// more than `countMax`.
    package init?(
        _ granularity: Granularity,
        from: Int64,
        to: Int64,
        zone: Zone,
        countMax: Int = TimeBuckets.countMax
    ) {
        guard granularity != .total else {
            starts = []
            return
        }
        // Buckets cut short by an offset change only add to this number.
        guard (to - from) / granularity.typicalSeconds <= Int64(countMax) + 2 else { return nil }
        if let step = granularity.seconds {
            starts = Self.parts(ofDayEvery: step, from, to, zone)
        } else {
            starts = Self.dates(granularity, from, to, zone)
        }
        if starts.count > countMax { return nil }
    }

    /// Parts of the local day. A change of offset always starts a bucket, so that a repeated hour
    /// is two of them.
    private static func parts(
        ofDayEvery step: Int64,
        _ from: Int64,
        _ to: Int64,
        _ zone: Zone
    ) -> [Int64] {
        var starts: [Int64] = []
        var index = zone.period(at: from)
        var at = from
        while at < to {
            let period = zone.periods[index]
            let end = min(to, zone.end(of: index))
            var start = CivilTime.floor(at + period.offset, to: step) - period.offset
            if index > 0 { start = max(start, period.start) }
            starts.append(start)
            start = CivilTime.floor(start + period.offset, to: step) - period.offset + step
            while start < end {
                starts.append(start)
                start += step
            }
            at = end
            index += 1
        }
        return starts
    }

    /// Local dates, weeks or months: each starts at the first instant of its first date.
    private static func dates(
        _ granularity: Granularity,
        _ from: Int64,
        _ to: Int64,
        _ zone: Zone
    ) -> [Int64] {
        var day = firstDay(granularity, containing: zone.day(at: from))
        var starts: [Int64] = []
        while true {
            let start = zone.firstInstant(ofDay: day)
            if start >= to { break }
            if start <= from {
                // A date that a change of offset skipped starts where the next one does.
                starts = [start]
            } else if start != starts.last {
                starts.append(start)
            }
            day = nextDay(granularity, after: day)
        }
        return starts
    }

    private static func firstDay(_ granularity: Granularity, containing day: Int64) -> Int64 {
        switch granularity {
        case .week:
            // 1970-01-01 was a Thursday; 1970-01-05 a Monday.
            CivilTime.floor(day - 4, to: 7) + 4
        case .month:
            day - CivilTime.date(days: day).day + 1
        default:
            day
        }
    }

    private static func nextDay(_ granularity: Granularity, after day: Int64) -> Int64 {
        switch granularity {
        case .week: return day + 7
        case .month:
            let date = CivilTime.date(days: day)
            return day + CivilTime.daysInMonth(year: date.year, month: date.month)
        default: return day + 1
        }
    }
}
