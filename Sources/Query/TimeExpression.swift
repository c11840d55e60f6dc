/// Reads the points in time that clients write: RFC 3339, a date, or a distance from now.
package enum TimeExpression: Equatable, Sendable {
    /// Microseconds since the Unix epoch.
    case instant(Int64)
    /// A distance from now in microseconds, negative for the past.
    case relative(Int64)
    /// The start of a local date, days since 1970-01-01.
    case date(Int64)

    /// What to write, for problems.
    static let advice =
        "write RFC 3339 such as 2026-01-31T08:00:00Z, a date, or a distance from now such as -24h"

    /// The point in time that `text` names, nil if it names none.
    package init?(_ text: String) {
        let bytes = Array(text.utf8)
        if text == "now" {
            self = .relative(0)
        } else if bytes.first == UInt8(ascii: "-") {
            guard let distance = Self.distance(bytes.dropFirst()) else { return nil }
            self = .relative(-distance)
        } else {
            var reader = DigitReader(bytes)
            guard let parsed = reader.timestamp() else { return nil }
            self = parsed
        }
    }

    /// Microseconds of `24h` and the like; a day has 24 hours here.
    private static func distance(_ bytes: ArraySlice<UInt8>) -> Int64? {
        guard let unit = bytes.last, (2...9).contains(bytes.count) else { return nil }
        let seconds: Int64
        switch unit {
        case UInt8(ascii: "s"): seconds = 1
        case UInt8(ascii: "m"): seconds = 60
        case UInt8(ascii: "h"): seconds = 3600
        case UInt8(ascii: "d"): seconds = 86_400
        case UInt8(ascii: "w"): seconds = 604_800
        default: return nil
        }
        var count: Int64 = 0
        for digit in bytes.dropLast() {
            guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit) else { return nil }
            count = count * 10 + Int64(digit - UInt8(ascii: "0"))
        }
        // At most 8 digits of weeks: 6 × 10^19 microseconds would not fit.
        let (product, overflow) = count.multipliedReportingOverflow(by: seconds * 1_000_000)
        return overflow ? nil : product
    }
}

/// Reads fixed-width decimal fields.
private struct DigitReader {
    private let bytes: [UInt8]
    private var at = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    private var isAtEnd: Bool { at == bytes.count }

    private mutating func take(_ wanted: UInt8...) -> UInt8? {
        guard at < bytes.count, wanted.contains(bytes[at]) else { return nil }
        at += 1
        return bytes[at - 1]
    }

    private mutating func number(_ digits: Int) -> Int64? {
        guard at + digits <= bytes.count else { return nil }
        var number: Int64 = 0
        for _ in 0..<digits {
            let digit = bytes[at]
            guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit) else { return nil }
            number = number * 10 + Int64(digit - UInt8(ascii: "0"))
            at += 1
        }
        return number
    }

    /// A full date, or a date and a time with an offset; nothing may follow.
    mutating func timestamp() -> TimeExpression? {
        guard let year = number(4), take(UInt8(ascii: "-")) != nil, let month = number(2),
            take(UInt8(ascii: "-")) != nil, let day = number(2)
        else { return nil }
        guard year >= 1, (1...12).contains(month), day >= 1,
            day <= CivilTime.daysInMonth(year: year, month: month)
        else { return nil }
        let days = CivilTime.days(year: year, month: month, day: day)
        if isAtEnd { return .date(days) }
        guard take(UInt8(ascii: "T"), UInt8(ascii: "t"), UInt8(ascii: " ")) != nil,
            let hour = number(2), take(UInt8(ascii: ":")) != nil, let minute = number(2),
            take(UInt8(ascii: ":")) != nil, let second = number(2)
        else { return nil }
        // A leap second is the first second of the next minute, as in POSIX time.
        guard hour <= 23, minute <= 59, second <= 60, let fraction = fraction(),
            let offset = offset(), isAtEnd
        else { return nil }
        let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset
        return .instant(seconds * 1_000_000 + fraction)
    }

    /// Microseconds of an optional decimal fraction; further digits are cut off.
    private mutating func fraction() -> Int64? {
        guard take(UInt8(ascii: ".")) != nil else { return 0 }
        var microseconds: Int64 = 0
        var scale: Int64 = 100_000
        let start = at
        while let digit = number(1) {
            microseconds += digit * scale
            scale /= 10
        }
        return at > start ? microseconds : nil
    }

    /// Seconds of `Z` or `±hh:mm`. A space stands for `+`, which an unescaped plus sign becomes
    /// in a query string.
    private mutating func offset() -> Int64? {
        if take(UInt8(ascii: "Z"), UInt8(ascii: "z")) != nil { return 0 }
        guard let sign = take(UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: " ")),
            let hours = number(2), take(UInt8(ascii: ":")) != nil, let minutes = number(2),
            hours <= 23, minutes <= 59
        else { return nil }
        let seconds = hours * 3600 + minutes * 60
        return sign == UInt8(ascii: "-") ? -seconds : seconds
    }
}
