import Foundation

/// A time zone as a table of UTC offsets over a span of time, made once per question.
package struct Zone: Sendable {
    /// One period of constant offset.
    struct Period: Equatable, Sendable {
        /// First second of the period, Unix time; the first period reaches back without end.
        var start: Int64
        /// Seconds by which the local clock is ahead of UTC.
        var offset: Int64
    }

    /// The name as the client gave it.
    package let name: String

    /// Whether this is UTC itself, so that times are written with `Z`.
    package let isUTC: Bool

    /// Periods in order of time; never empty.
    let periods: [Period]

    /// Names of UTC in the IANA database.
    private static let namesOfUTC: Set<String> = [
        "UTC", "Etc/UTC", "UCT", "Etc/UCT", "Universal", "Etc/Universal", "Zulu", "Etc/Zulu",
    ]

    /// IANA names without a slash. Other such names are abbreviations, which mean different zones
    /// to different people, and are refused.
    private static let namesWithoutSlash: Set<String> = [
        "CET", "CST6CDT", "Cuba", "EET", "EST", "EST5EDT", "Egypt", "Eire", "GB", "GB-Eire", "GMT",
        "GMT0", "Greenwich", "HST", "Hongkong", "Iceland", "Iran", "Israel", "Jamaica", "Japan",
        "Kwajalein", "Libya", "MET", "MST", "MST7MDT", "NZ", "NZ-CHAT", "Navajo", "PRC", "PST8PDT",
        "Poland", "Portugal", "ROC", "ROK", "Singapore", "Turkey", "UCT", "UTC", "Universal",
        "W-SU",
        "WET", "Zulu",
    ]

    /// Transitions looked at most, two a year over all years that can be asked for; chosen.
    private static let transitionsMax = 24_000

    /// Whether `name` is in the time-zone database.
    package static func exists(_ name: String) -> Bool { timeZone(name) != nil }

    /// Version of the time-zone database in use, such as `2025b`.
    package static var databaseVersion: String { TimeZone.timeZoneDataVersion }

    /// The zone `name`, with offsets exact from `from` to `to` (Unix seconds) and 40 days around,
    /// the longest distance from a time to the start of its month and more; nil if unknown.
    package init?(_ name: String, from: Int64, to: Int64) {
        guard let zone = Self.timeZone(name) else { return nil }
        self.name = name
        isUTC = Self.namesOfUTC.contains(name)
        let margin: Int64 = 40 * 86_400
        var at = Date(timeIntervalSince1970: Double(from - margin))
        let end = Date(timeIntervalSince1970: Double(to + margin))
        var periods = [
            Period(start: from - margin, offset: Int64(zone.secondsFromGMT(for: at)))
        ]
        var steps = 0
        while steps < Self.transitionsMax,
            let next = zone.nextDaylightSavingTimeTransition(after: at),
            next <= end, next > at
        {
            steps += 1
            at = next
            let offset = Int64(zone.secondsFromGMT(for: next))
            // Some transitions change only the abbreviation.
            if offset != periods[periods.count - 1].offset {
                let start = Int64(next.timeIntervalSince1970.rounded())
                periods.append(Period(start: start, offset: offset))
            }
        }
        self.periods = periods
    }

    private static func timeZone(_ name: String) -> TimeZone? {
        guard name.utf8.count <= 64 else { return nil }
        guard namesWithoutSlash.contains(name) || name.contains("/") else { return nil }
        return TimeZone(identifier: name)
    }

    /// Index of the period that `time` (Unix seconds) lies in.
    func period(at time: Int64) -> Int {
        var low = 0
        var high = periods.count
        while high - low > 1 {
            let middle = (low + high) / 2
            if periods[middle].start <= time { low = middle } else { high = middle }
        }
        return low
    }

    /// Seconds by which the local clock is ahead of UTC at `time`.
    package func offset(at time: Int64) -> Int64 { periods[period(at: time)].offset }

    /// First second after the period `index`.
    func end(of index: Int) -> Int64 {
        index + 1 < periods.count ? periods[index + 1].start : .max
    }

    /// The first instant whose local time is at or after midnight of the date `day` (days since
    /// 1970-01-01): midnight itself, or what follows when that midnight does not exist.
    func firstInstant(ofDay day: Int64) -> Int64 {
        let midnight = day * 86_400
        // Offsets are within ±26 hours, so no earlier period can reach this midnight first.
        var index = period(at: midnight - 26 * 3600)
        while index + 1 < periods.count {
            let candidate = max(periods[index].start, midnight - periods[index].offset)
            if candidate < end(of: index) { return candidate }
            index += 1
        }
        return max(periods[index].start, midnight - periods[index].offset)
    }

    /// The local date (days since 1970-01-01) at `time`.
    func day(at time: Int64) -> Int64 {
        CivilTime.floorDivide(time + offset(at: time), 86_400)
    }

    /// `time` (Unix seconds) as RFC 3339 in this zone.
    package func text(_ time: Int64) -> String {
        // RFC 3339 offsets have no seconds; only the local mean times of long ago do. The text
        // names the same instant either way.
        let minutes = offset(at: time) / 60 * 60
        return CivilTime.text(local: time + minutes, offset: minutes, isUTC: isUTC)
    }
}
