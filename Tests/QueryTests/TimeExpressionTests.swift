import Foundation
import Query
import Testing

/// Points in time as clients write them.
@Suite("Time expressions")
struct TimeExpressionTests {
    /// Text and the instant it names, in microseconds.
    static let instantTable: [(String, Int64)] = [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00z", 0),
        ("1970-01-01t00:00:00Z", 0),
        ("1970-01-01 00:00:00Z", 0),
        ("1970-01-01T00:00:01Z", 1_000_000),
        ("1970-01-01T00:00:00.5Z", 500_000),
        ("1970-01-01T00:00:00.000001Z", 1),
        ("1970-01-01T00:00:00.0000019Z", 1),
        ("1970-01-01T00:00:00.123456789012345678901234567890Z", 123_456),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1970-01-01T01:00:00 01:00", 0),
        ("1969-12-31T19:00:00-05:00", 0),
        ("1970-01-01T05:45:00+05:45", 0),
        ("1970-01-01T00:00:00-00:00", 0),
        ("1969-12-31T23:59:59Z", -1_000_000),
        ("2000-02-29T12:34:56Z", 951_827_696_000_000),
        ("2026-01-31T08:00:00Z", 1_769_846_400_000_000),
        ("2026-01-31T08:00:00.25+02:00", 1_769_839_200_250_000),
        ("2016-12-31T23:59:60Z", 1_483_228_800_000_000),
        ("2038-01-19T03:14:08Z", 2_147_483_648_000_000),
        ("1900-03-01T00:00:00Z", -2_203_891_200_000_000),
    ]

    @Test("RFC 3339 timestamps name their instant", arguments: instantTable)
    func instants(_ text: String, _ expected: Int64) {
        #expect(TimeExpression(text) == .instant(expected))
    }

    @Test(
        "distances count back from now",
        arguments: [
            ("now", 0), ("-0s", 0), ("-1s", 1), ("-90s", 90), ("-5m", 300), ("-24h", 86_400),
            ("-7d", 604_800), ("-1w", 604_800), ("-0024h", 86_400),
            ("-99999999w", 60_479_999_395_200),
        ] as [(String, Int64)]
    )
    func distances(_ text: String, _ seconds: Int64) {
        if seconds > 9_000_000_000_000 {
            #expect(TimeExpression(text) == nil, "too far to count")
        } else {
            #expect(TimeExpression(text) == .relative(-seconds * 1_000_000))
        }
    }

    @Test(
        "dates are days",
        arguments: [
            ("1970-01-01", 0), ("1970-01-02", 1), ("1969-12-31", -1), ("2000-02-29", 11_016),
            ("2024-12-31", 20_088), ("0001-01-01", -719_162), ("9999-12-31", 2_932_896),
        ] as [(String, Int64)]
    )
    func dates(_ text: String, _ day: Int64) { #expect(TimeExpression(text) == .date(day)) }

    @Test(
        "anything else is refused",
        arguments: [
            "", " ", "yesterday", "-", "-h", "-24", "-24H", "24h", "+24h", "--24h", "-24 h",
            "-1.5h",
            "-999999999h9", "-1234567890s", "-24hh", "-2y", "1", "1767225600", "2026", "2026-01",
            "2026-1-1", "2026-13-01", "2026-00-01", "2026-02-29", "2026-01-00", "2026-01-32",
            "2026-04-31", "0000-01-01", "2026-01-01T", "2026-01-01T00:00", "2026-01-01T00:00Z",
            "2026-01-01T00:00:00", "2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:61Z", "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00+1:00",
            "2026-01-01T00:00:00+0100", "2026-01-01T00:00:00+24:00", "2026-01-01T00:00:00+01:60",
            "2026-01-01T00:00:00ZZ", "2026-01-01T00:00:00Z ", " 2026-01-01T00:00:00Z",
            "2026-01-01X00:00:00Z", "2026/01/01T00:00:00Z", "2026-01-01T00-00-00Z",
            "20260101T000000Z", "2026-01-01T00:00:00+01", "２０２６-01-01T00:00:00Z",
            "2026-01-01T00:00:00,5Z", "-٣h", "9999999999-01-01", "2026-01-01T00:00:00\u{0}Z",
        ]
    )
    func refused(_ text: String) { #expect(TimeExpression(text) == nil) }

    @Test("dates and days are each other's inverse, and agree with Foundation")
    func civil() throws {
        var calendar = Calendar(identifier: .gregorian)
        calendar.timeZone = try #require(TimeZone(identifier: "UTC"))
        for day in stride(from: Int64(-135_000), through: 2_932_896, by: 11) {
            let date = CivilTime.date(days: day)
            let back = CivilTime.days(year: date.year, month: date.month, day: date.day)
            if back != day { Issue.record("day \(day)") }
            // The Gregorian calendar of Foundation is Julian before 1582.
            if day % 97 == 0 {
                let parts = calendar.dateComponents(
                    [.year, .month, .day],
                    from: Date(timeIntervalSince1970: Double(day) * 86_400)
                )
                #expect(parts.year == Int(date.year) && parts.month == Int(date.month))
                #expect(parts.day == Int(date.day))
            }
        }
    }

    @Test("rounding goes outward on both sides of the epoch")
    func rounding() {
        for value in Int64(-200)...200 {
            for step in Int64(1)...70 {
                let floor = CivilTime.floor(value, to: step)
                let ceiling = CivilTime.ceiling(value, to: step)
                if floor > value || value - floor >= step || floor % step != 0
                    || ceiling < value || ceiling - value >= step || ceiling % step != 0
                {
                    Issue.record("\(value) to \(step): \(floor), \(ceiling)")
                }
            }
        }
    }
}
