/// Times as the query API writes them: RFC 3339 with whole seconds.
package struct BucketTime: Equatable, Sendable {
    /// Seconds since the Unix epoch.
    package var absolute: Int64

    /// The same by the clock of its zone, as if that were UTC.
    package var local: Int64

    /// Reads `2026-03-10T12:00:00+01:00`; fractions of a second are passed over.
    package init?(_ text: String) {
        let bytes = Array(text.utf8)
        guard bytes.count >= 20 else { return nil }
        func number(_ range: Range<Int>) -> Int64? {
            var value: Int64 = 0
            for byte in bytes[range] {
                guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) else { return nil }
                value = value * 10 + Int64(byte - UInt8(ascii: "0"))
            }
            return value
        }
        guard let year = number(0..<4), let month = number(5..<7), let day = number(8..<10),
            let hour = number(11..<13), let minute = number(14..<16), let second = number(17..<19)
        else { return nil }
        local =
            Self.days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second
        if bytes[bytes.count - 1] == UInt8(ascii: "Z") {
            absolute = local
            return
        }
        let sign = bytes.count - 6
        guard sign >= 19, bytes[sign] == UInt8(ascii: "+") || bytes[sign] == UInt8(ascii: "-"),
            let hours = number(sign + 1..<sign + 3), let minutes = number(sign + 4..<sign + 6)
        else { return nil }
        let offset = hours * 3_600 + minutes * 60
        absolute = local - (bytes[sign] == UInt8(ascii: "-") ? -offset : offset)
    }

    /// Months since the year 0, by the clock of its zone.
    var month: Int64 {
        var days = local / 86_400
        if local % 86_400 < 0 { days -= 1 }
        // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
        let shifted = days + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra =
            (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let marchMonth = (5 * dayOfYear + 2) / 153
        let month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0)) * 12 + month - 1
    }

    /// Days since the Unix epoch of a date; the same source, days_from_civil.
    private static func days(_ year: Int64, _ month: Int64, _ day: Int64) -> Int64 {
        let shifted = month <= 2 ? year - 1 : year
        let era = (shifted >= 0 ? shifted : shifted - 399) / 400
        let yearOfEra = shifted - era * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
            - 719_468
    }

    /// `12:53:41` of a time in seconds since the Unix epoch, in UTC.
    package static func clock(_ seconds: Int64) -> String {
        func two(_ number: Int64) -> String { number < 10 ? "0\(number)" : "\(number)" }
        let second = (seconds % 86_400 + 86_400) % 86_400
        return "\(two(second / 3_600)):\(two(second / 60 % 60)):\(two(second % 60))"
    }

    /// The place of each time on an even axis, from 0; times must ascend.
    ///
    /// Buckets that have no row leave their place free. The distance is the smallest one there is;
    /// days and longer go by the clock of their zone, months by their number, so that neither a
    /// change of clocks nor a short month shifts anything.
    package static func places(_ times: [BucketTime]) -> [Int] {
        guard let first = times.first, times.count > 1 else { return times.map { _ in 0 } }
        let day: Int64 = 86_400
        let smallest = zip(times, times.dropFirst()).map { $1.local - $0.local }.min() ?? 0
        if smallest >= 28 * day { return times.map { Int($0.month - first.month) } }
        let isDays = smallest >= day
        let distances = zip(times, times.dropFirst()).map {
            isDays ? $1.local - $0.local : $1.absolute - $0.absolute
        }
        guard let step = distances.min(), step > 0 else { return Array(times.indices) }
        return times.map { time in
            let distance = isDays ? time.local - first.local : time.absolute - first.absolute
            return Int((distance + step / 2) / step)
        }
    }
}
