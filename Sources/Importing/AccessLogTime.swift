/// The time of an access log: `17/May/2015:10:05:03 +0000`.
enum AccessLogTime {
    /// Reads a time at `position`, up to the closing bracket, which follows at the new `position`.
    ///
    /// Microseconds since 1970 UTC; nil when it is no time of the calendar between the years 1 and
    /// 9999. A leap second is the second after it. A fraction of a second may follow.
    static func parse(_ bytes: Span<UInt8>, _ position: inout Int) -> Int64? {
        guard
            let day = number(bytes, &position, digits: 1...2),
            skip(bytes, &position, UInt8(ascii: "/")),
            let month = month(bytes, &position),
            skip(bytes, &position, UInt8(ascii: "/")),
            let year = number(bytes, &position, digits: 4...4),
            skip(bytes, &position, UInt8(ascii: ":")),
            let hour = number(bytes, &position, digits: 2...2),
            skip(bytes, &position, UInt8(ascii: ":")),
            let minute = number(bytes, &position, digits: 2...2),
            skip(bytes, &position, UInt8(ascii: ":")),
            let second = number(bytes, &position, digits: 2...2),
            hour < 24, minute < 60, second <= 60, year >= 1,
            day >= 1, day <= daysInMonth(month, year)
        else { return nil }
        var fraction: Int64 = 0
        if skip(bytes, &position, UInt8(ascii: ".")) {
            guard let microseconds = microseconds(bytes, &position) else { return nil }
            fraction = microseconds
        }
        guard skip(bytes, &position, UInt8(ascii: " ")), let zone = zone(bytes, &position) else {
            return nil
        }
        let days = daysSince1970(year: year, month: month, day: day)
        // Bounded by the year 9999: far from overflow.
        let seconds = ((days * 24 + Int64(hour)) * 60 + Int64(minute)) * 60 + Int64(second) - zone
        return seconds * 1_000_000 + fraction
    }

    /// An offset from UTC in seconds: `+0200`, `-0730`, `+02:00`.
    private static func zone(_ bytes: Span<UInt8>, _ position: inout Int) -> Int64? {
        guard position < bytes.count else { return nil }
        let sign = bytes[position]
        guard sign == UInt8(ascii: "+") || sign == UInt8(ascii: "-") else { return nil }
        position += 1
        guard let hours = number(bytes, &position, digits: 2...2) else { return nil }
        _ = skip(bytes, &position, UInt8(ascii: ":"))
        guard
            let minutes = number(bytes, &position, digits: 2...2), hours < 24, minutes < 60
        else { return nil }
        let seconds = Int64(hours * 3600 + minutes * 60)
        return sign == UInt8(ascii: "-") ? -seconds : seconds
    }

    /// A fraction of a second: one to nine digits, of which six count.
    private static func microseconds(_ bytes: Span<UInt8>, _ position: inout Int) -> Int64? {
        var value: Int64 = 0
        var digits = 0
        while position < bytes.count, let digit = digit(bytes[position]), digits < 9 {
            if digits < 6 { value = value * 10 + Int64(digit) }
            digits += 1
            position += 1
        }
        if digits == 0 { return nil }
        for _ in 0..<max(0, 6 - digits) { value *= 10 }
        return value
    }

    private static func number(
        _ bytes: Span<UInt8>,
        _ position: inout Int,
        digits: ClosedRange<Int>
    ) -> Int? {
        var value = 0
        var count = 0
        while position < bytes.count, count < digits.upperBound,
            let digit = digit(bytes[position])
        {
            value = value * 10 + digit
            count += 1
            position += 1
        }
        return count >= digits.lowerBound ? value : nil
    }

    @inline(__always)
    private static func digit(_ byte: UInt8) -> Int? {
        byte >= 0x30 && byte <= 0x39 ? Int(byte) - 0x30 : nil
    }

    @inline(__always)
    private static func skip(_ bytes: Span<UInt8>, _ position: inout Int, _ wanted: UInt8) -> Bool {
        guard position < bytes.count, bytes[position] == wanted else { return false }
        position += 1
        return true
    }

    /// The month of an English abbreviation, in any case.
    private static func month(_ bytes: Span<UInt8>, _ position: inout Int) -> Int? {
        guard position + 3 <= bytes.count else { return nil }
        // Bit 5 makes ASCII letters lower-case.
        let packed =
            UInt32(bytes[position] | 0x20) << 16
            | UInt32(bytes[position + 1] | 0x20) << 8 | UInt32(bytes[position + 2] | 0x20)
        let month: Int
        switch packed {
        case 0x6A616E: month = 1
        case 0x666562: month = 2
        case 0x6D6172: month = 3
        case 0x617072: month = 4
        case 0x6D6179: month = 5
        case 0x6A756E: month = 6
        case 0x6A756C: month = 7
        case 0x617567: month = 8
        case 0x736570: month = 9
        case 0x6F6374: month = 10
        case 0x6E6F76: month = 11
        case 0x646563: month = 12
        default: return nil
        }
        position += 3
        return month
    }

    private static func daysInMonth(_ month: Int, _ year: Int) -> Int {
        switch month {
        case 2: (year % 4 == 0 && year % 100 != 0) || year % 400 == 0 ? 29 : 28
        case 4, 6, 9, 11: 30
        default: 31
        }
    }

    /// Days of the Gregorian calendar since 1970-01-01; years begin in March, so that the leap day
    /// is the last.
    private static func daysSince1970(year: Int, month: Int, day: Int) -> Int64 {
        let shifted = month > 2 ? year : year - 1
        let era = shifted / 400
        let yearOfEra = shifted - era * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        return Int64(era * 146_097 + dayOfEra - 719_468)
    }
}
