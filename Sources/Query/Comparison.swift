/// With which earlier window an answer is compared.
package enum Comparison: Equatable, Sendable {
    /// The window of the same length just before: as many months or days if the range is whole
    /// local ones, else as much time.
    case previous

    /// The window this many local days earlier.
    case days(Int64)

    /// The window this much earlier, microseconds.
    case time(Int64)

    /// What to write, for problems.
    static let advice = "write previous, or a distance such as -1h, -1d, -7d or -4w"

    /// Reads `previous` or a negative distance.
    package init?(_ text: String) {
        if text == "previous" {
            self = .previous
            return
        }
        guard case .relative(let distance) = TimeExpression(text), distance < 0 else { return nil }
        let day: Int64 = 86_400_000_000
        let isDays = text.hasSuffix("d") || text.hasSuffix("w")
        self = isDays ? .days(-distance / day) : .time(-distance)
    }

    /// The earlier window of `[from, to)`, microseconds since the Unix epoch; nil if it would
    /// begin before the year 1.
    func window(_ from: Int64, _ to: Int64, zoneName: String) -> (from: Int64, to: Int64)? {
        let earliest = CivilTime.days(year: 1, month: 1, day: 3) * 86_400_000_000
        switch self {
        case .time(let distance):
            return from - earliest >= distance ? (from - distance, to - distance) : nil
        case .days(let count):
            guard (from - earliest) / 86_400_000_000 > count else { return nil }
            return Self.shifted(from, to, zoneName) { day in day - count }
        case .previous:
            let length = to - from
            guard from - earliest > 2 * length else { return nil }
            guard let zone = Zone(zoneName, from: from / 1_000_000, to: to / 1_000_000) else {
                return nil
            }
            let days = [from, to].map { zone.day(at: $0 / 1_000_000) }
            let isWholeDays = zip([from, to], days).allSatisfy { time, day in
                zone.firstInstant(ofDay: day) * 1_000_000 == time
            }
            guard isWholeDays else { return (from - length, from) }
            let dates = days.map { CivilTime.date(days: $0) }
            let months = (dates[1].year - dates[0].year) * 12 + dates[1].month - dates[0].month
            if dates[0].day == 1, dates[1].day == 1, months > 0 {
                return Self.shifted(from, to, zoneName, margin: months * 31) { day in
                    let date = CivilTime.date(days: day)
                    let month = date.year * 12 + date.month - 1 - months
                    let year = CivilTime.floorDivide(month, 12)
                    return CivilTime.days(year: year, month: month - year * 12 + 1, day: 1)
                }
            }
            return Self.shifted(from, to, zoneName) { day in day - (days[1] - days[0]) }
        }
    }

    /// Moves both ends by their local dates, keeping the local time of day.
    private static func shifted(
        _ from: Int64,
        _ to: Int64,
        _ zoneName: String,
        margin: Int64 = 0,
        _ move: (Int64) -> Int64
    ) -> (from: Int64, to: Int64)? {
        guard let zone = Zone(zoneName, from: from / 1_000_000, to: to / 1_000_000) else {
            return nil
        }
        let days = [from, to].map { zone.day(at: $0 / 1_000_000) }
        let moved = days.map(move)
        let first = (moved[0] - margin) * 86_400
        guard let earlier = Zone(zoneName, from: first, to: moved[1] * 86_400) else { return nil }
        var ends: [Int64] = []
        for index in 0..<2 {
            let time = [from, to][index]
            let intoDay = time - zone.firstInstant(ofDay: days[index]) * 1_000_000
            ends.append(earlier.firstInstant(ofDay: moved[index]) * 1_000_000 + intoDay)
        }
        return ends[0] < ends[1] ? (ends[0], ends[1]) : nil
    }
}

/// Which bucket of the earlier window belongs to each bucket of the window.
///
/// Days, weeks and months correspond by number. Shorter buckets correspond by the local time that
/// has passed since the first bucket, so that a change of clocks in between moves nothing; of an
/// hour that occurs twice the first is taken.
struct BucketPairs {
    private var pairs: [Int: Int] = [:]

    /// Pairs the buckets of two plans of the same granularity.
    init(_ plan: Plan, _ earlier: Plan) {
        let starts = plan.buckets.starts
        let others = earlier.buckets.starts
        guard plan.granularity.seconds != nil, let first = starts.first, let other = others.first
        else {
            for index in 0..<max(1, min(starts.count, others.count)) { pairs[index] = index }
            return
        }
        var places: [Int64: Int] = [:]
        let base = other + earlier.zone.offset(at: other)
        for (index, start) in others.enumerated() {
            let passed = start + earlier.zone.offset(at: start) - base
            if places[passed] == nil { places[passed] = index }
        }
        let origin = first + plan.zone.offset(at: first)
        for (index, start) in starts.enumerated() {
            pairs[index] = places[start + plan.zone.offset(at: start) - origin]
        }
    }

    /// The number of the earlier bucket; nil if there is none.
    subscript(bucket: Int) -> Int? { pairs[bucket] }
}

/// The place of a row: its bucket and its groups.
struct RowPlace: Hashable, Sendable {
    var bucket: Int
    var groups: [Value]
}

/// Keeps the metrics of those rows that are asked for.
///
/// Owner: the thread that reads the question's rows.
final class RowPicker: RowSink {
    private let wanted: Set<RowPlace>
    private(set) var metrics: [RowPlace: [Value]] = [:]

    /// A picker of some rows.
    init(_ wanted: Set<RowPlace>) { self.wanted = wanted }

    var isDone: Bool { metrics.count == wanted.count }

    func add(_ row: UsageAnswer.Row) {
        let place = RowPlace(bucket: row.bucket, groups: row.groups)
        if wanted.contains(place) { metrics[place] = row.metrics }
    }
}
