/// The current time in the form of the `Date` field, made once per second.
package struct HTTPDate {
    /// `Sun, 06 Nov 1994 08:49:37 GMT`.
    package private(set) var text: [UInt8] = []
    private var second = Int64.min

    /// No time yet.
    package init() {}

    /// Makes the text for a time, unless it is the one that is there.
    package mutating func update(wallMicroseconds: Int64) {
        let now = wallMicroseconds / 1_000_000
        guard now != second else { return }
        second = now
        text = Self.format(now)
    }

    /// IMF-fixdate (RFC 9110 §5.6.7) of seconds since 1970; proleptic Gregorian, by Hinnant's
    /// `civil_from_days`.
    package static func format(_ seconds: Int64) -> [UInt8] {
        let days = Int((Double(seconds) / 86_400).rounded(.down))
        let ofDay = Int(seconds) - days * 86_400
        let shifted = days + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra =
            (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        let weekday = ((days % 7) + 11) % 7
        let weekdays = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
        let months = [
            "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
        ]
        func two(_ value: Int) -> String { value < 10 ? "0\(value)" : "\(value)" }
        let date = "\(weekdays[weekday]), \(two(day)) \(months[month - 1]) \(year)"
        let clock = "\(two(ofDay / 3_600)):\(two(ofDay / 60 % 60)):\(two(ofDay % 60))"
        return Array("\(date) \(clock) GMT".utf8)
    }
}
