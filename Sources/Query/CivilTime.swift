/// Calendar arithmetic in the proleptic Gregorian calendar, without zones.
package enum CivilTime {
    /// Days since 1970-01-01 of a date.
    ///
    /// Howard Hinnant, "chrono-compatible low-level date algorithms", `days_from_civil`.
    package static func days(year: Int64, month: Int64, day: Int64) -> Int64 {
        let shifted = month <= 2 ? year - 1 : year
        let era = (shifted >= 0 ? shifted : shifted - 399) / 400
        let yearOfEra = shifted - era * 400
        let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        return era * 146_097 + dayOfEra - 719_468
    }

    /// The date that is `days` after 1970-01-01; the inverse of `days(year:month:day:)`.
    package static func date(days: Int64) -> (year: Int64, month: Int64, day: Int64) {
        let shifted = days + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra =
            (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
        let month = shiftedMonth + (shiftedMonth < 10 ? 3 : -9)
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day)
    }

    /// Number of days in a month.
    package static func daysInMonth(year: Int64, month: Int64) -> Int64 {
        let next = month == 12 ? (year + 1, Int64(1)) : (year, month + 1)
        return days(year: next.0, month: next.1, day: 1) - days(year: year, month: month, day: 1)
    }

    /// Quotient rounded towards negative infinity.
    package static func floorDivide(_ value: Int64, _ divisor: Int64) -> Int64 {
        let quotient = value / divisor
        return value % divisor < 0 ? quotient - 1 : quotient
    }

    /// The largest multiple of `step` that is not above `value`.
    package static func floor(_ value: Int64, to step: Int64) -> Int64 {
        floorDivide(value, step) * step
    }

    /// The smallest multiple of `step` that is not below `value`.
    package static func ceiling(_ value: Int64, to step: Int64) -> Int64 {
        -floorDivide(-value, step) * step
    }

    /// Local seconds and their offset as RFC 3339 text, with `Z` if `isUTC`.
    ///
    /// - Parameters:
    ///   - local: seconds since 1970-01-01T00:00:00 of the local clock.
    ///   - offset: seconds by which the local clock is ahead of UTC.
    ///   - isUTC: whether the zone is UTC itself, not merely level with it.
    package static func text(local: Int64, offset: Int64, isUTC: Bool) -> String {
        let day = floorDivide(local, 86_400)
        let second = local - day * 86_400
        let date = date(days: day)
        var text = padded(date.year, 4) + "-" + padded(date.month, 2) + "-" + padded(date.day, 2)
        text += "T" + padded(second / 3600, 2) + ":" + padded(second / 60 % 60, 2)
        text += ":" + padded(second % 60, 2)
        if isUTC { return text + "Z" }
        let minutes = abs(offset) / 60
        let sign = offset < 0 ? "-" : "+"
        return text + sign + padded(minutes / 60, 2) + ":" + padded(minutes % 60, 2)
    }

    private static func padded(_ number: Int64, _ width: Int) -> String {
        let digits = String(number)
        return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }
}
