package import Rollups

/// One partition of a rollup table: 1m by day, 15m and 1h by month, 1d by year, in UTC.
package struct Partition: Equatable, Sendable {
    /// What is appended to the table's name, as `p20150517`.
    package let suffix: String
    /// The first bucket, µs since the epoch.
    package let lowerBound: Int64
    /// The first bucket of the next partition, µs since the epoch.
    package let upperBound: Int64

    /// The partition that holds a bucket of a tier.
    package init(_ tier: Tier, holding bucket: Int64) {
        let day = Tier.day.microseconds
        let days = Tier.day.bucket(of: bucket) / day
        let date = CivilDate(daysSinceEpoch: days)
        let year = Self.padded(date.year, 4)
        switch tier {
        case .minute:
            suffix = "p" + year + Self.padded(date.month, 2) + Self.padded(date.day, 2)
            lowerBound = days * day
            upperBound = (days + 1) * day
        case .quarterHour, .hour:
            suffix = "p" + year + Self.padded(date.month, 2)
            let next =
                date.month == 12
                ? CivilDate(year: date.year + 1, month: 1, day: 1)
                : CivilDate(year: date.year, month: date.month + 1, day: 1)
            lowerBound = CivilDate(year: date.year, month: date.month, day: 1).daysSinceEpoch * day
            upperBound = next.daysSinceEpoch * day
        case .day:
            suffix = "p" + year
            lowerBound = CivilDate(year: date.year, month: 1, day: 1).daysSinceEpoch * day
            upperBound = CivilDate(year: date.year + 1, month: 1, day: 1).daysSinceEpoch * day
        }
    }

    private static func padded(_ number: Int64, _ width: Int) -> String {
        let digits = String(number)
        return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }
}

/// A date of the proleptic Gregorian calendar.
package struct CivilDate: Equatable, Sendable {
    /// The year; 0 is 1 BC.
    package let year: Int64
    /// 1 to 12.
    package let month: Int64
    /// 1 to 31.
    package let day: Int64

    /// Makes a date.
    package init(year: Int64, month: Int64, day: Int64) {
        self.year = year
        self.month = month
        self.day = day
    }

    /// The date so many days after 1970-01-01 (Hinnant, "chrono-compatible low-level date
    /// algorithms", `civil_from_days`).
    package init(daysSinceEpoch: Int64) {
        let shifted = daysSinceEpoch + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra =
            (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
        month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
    }

    /// Days since 1970-01-01 (`days_from_civil`).
    package var daysSinceEpoch: Int64 {
        let shifted = month <= 2 ? year - 1 : year
        let era = (shifted >= 0 ? shifted : shifted - 399) / 400
        let yearOfEra = shifted - era * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        return era * 146_097 + dayOfEra - 719_468
    }
}
