import Foundation
import Query
import Testing

/// Buckets in zones whose clocks jump.
@Suite("Time buckets")
struct TimeBucketsTests {
    static func seconds(_ text: String) throws -> Int64 {
        guard case .instant(let microseconds)? = TimeExpression(text) else {
            throw Problem(.invalidParameter, text)
        }
        return microseconds / 1_000_000
    }

    /// One row of the table: zone, granularity, range, and the starts as local text.
    struct Row: Sendable, CustomStringConvertible {
        let zone: String
        let granularity: Granularity
        let from: String
        let to: String
        let expected: [String]
        var description: String { "\(zone) \(granularity.rawValue) \(from)" }

        init(
            _ zone: String,
            _ granularity: Granularity,
            _ from: String,
            _ to: String,
            _ expected: [String]
        ) {
            self.zone = zone
            self.granularity = granularity
            self.from = from
            self.to = to
            self.expected = expected
        }
    }

    static let table: [Row] = [
        Row(
            "UTC",
            .minute,
            "2026-01-01T00:00:00Z",
            "2026-01-01T00:02:00Z",
            ["2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"]
        ),
        Row(
            "UTC",
            .fiveMinutes,
            "2026-01-01T00:03:00Z",
            "2026-01-01T00:06:00Z",
            ["2026-01-01T00:00:00Z", "2026-01-01T00:05:00Z"]
        ),
        Row(
            "UTC",
            .hour,
            "2026-01-01T00:59:00Z",
            "2026-01-01T02:01:00Z",
            ["2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z", "2026-01-01T02:00:00Z"]
        ),
        Row(
            "UTC",
            .day,
            "2024-02-28T12:00:00Z",
            "2024-03-01T00:01:00Z",
            ["2024-02-28T00:00:00Z", "2024-02-29T00:00:00Z", "2024-03-01T00:00:00Z"]
        ),
        Row(
            "UTC",
            .week,
            "2026-01-01T00:00:00Z",
            "2026-01-12T00:00:00Z",
            ["2025-12-29T00:00:00Z", "2026-01-05T00:00:00Z"]
        ),
        Row(
            "UTC",
            .month,
            "2025-12-31T23:59:00Z",
            "2026-03-01T00:00:00Z",
            ["2025-12-01T00:00:00Z", "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"]
        ),
        Row("UTC", .total, "2025-12-31T23:59:00Z", "2026-03-01T00:00:00Z", []),
        Row(
            "Etc/UTC",
            .hour,
            "2026-01-01T00:00:00Z",
            "2026-01-01T01:00:00Z",
            ["2026-01-01T00:00:00Z"]
        ),
        // London in winter is level with UTC but is not UTC.
        Row(
            "Europe/London",
            .hour,
            "2026-01-01T00:00:00Z",
            "2026-01-01T01:00:00Z",
            ["2026-01-01T00:00:00+00:00"]
        ),
        // Berlin springs forward at 02:00: the local hour 02 does not exist.
        Row(
            "Europe/Berlin",
            .hour,
            "2026-03-29T00:00:00Z",
            "2026-03-29T03:00:00Z",
            ["2026-03-29T01:00:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-29T04:00:00+02:00"]
        ),
        // Berlin falls back at 03:00: the local hour 02 occurs twice.
        Row(
            "Europe/Berlin",
            .hour,
            "2025-10-25T23:30:00Z",
            "2025-10-26T03:00:00Z",
            [
                "2025-10-26T01:00:00+02:00", "2025-10-26T02:00:00+02:00",
                "2025-10-26T02:00:00+01:00",
                "2025-10-26T03:00:00+01:00",
            ]
        ),
        Row(
            "Europe/Berlin",
            .day,
            "2025-10-25T22:00:00Z",
            "2025-10-27T23:00:00Z",
            ["2025-10-26T00:00:00+02:00", "2025-10-27T00:00:00+01:00"]
        ),
        Row(
            "Europe/Berlin",
            .day,
            "2026-03-28T23:00:00Z",
            "2026-03-29T22:01:00Z",
            ["2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00"]
        ),
        Row(
            "Europe/Berlin",
            .month,
            "2026-03-15T00:00:00Z",
            "2026-03-31T22:01:00Z",
            ["2026-03-01T00:00:00+01:00", "2026-04-01T00:00:00+02:00"]
        ),
        Row(
            "Europe/Berlin",
            .week,
            "2026-03-29T12:00:00Z",
            "2026-03-30T12:00:00Z",
            ["2026-03-23T00:00:00+01:00", "2026-03-30T00:00:00+02:00"]
        ),
        Row(
            "America/New_York",
            .hour,
            "2025-11-02T05:00:00Z",
            "2025-11-02T08:00:00Z",
            ["2025-11-02T01:00:00-04:00", "2025-11-02T01:00:00-05:00", "2025-11-02T02:00:00-05:00"]
        ),
        Row(
            "America/New_York",
            .day,
            "2025-11-02T04:00:00Z",
            "2025-11-03T06:00:00Z",
            ["2025-11-02T00:00:00-04:00", "2025-11-03T00:00:00-05:00"]
        ),
        Row(
            "Asia/Kolkata",
            .hour,
            "2026-01-01T00:00:00Z",
            "2026-01-01T01:00:00Z",
            ["2026-01-01T05:00:00+05:30", "2026-01-01T06:00:00+05:30"]
        ),
        Row(
            "Asia/Kolkata",
            .day,
            "2025-12-31T18:30:00Z",
            "2026-01-01T18:31:00Z",
            ["2026-01-01T00:00:00+05:30", "2026-01-02T00:00:00+05:30"]
        ),
        Row(
            "Asia/Kathmandu",
            .hour,
            "2026-01-01T00:15:00Z",
            "2026-01-01T01:16:00Z",
            ["2026-01-01T06:00:00+05:45", "2026-01-01T07:00:00+05:45"]
        ),
        Row(
            "Asia/Kathmandu",
            .day,
            "2025-12-31T18:15:00Z",
            "2026-01-01T18:15:00Z",
            ["2026-01-01T00:00:00+05:45"]
        ),
        // Nepal changed from +05:30 to +05:45 at midnight of 1986: 00:00 to 00:15 do not exist.
        Row(
            "Asia/Kathmandu",
            .day,
            "1985-12-31T17:00:00Z",
            "1985-12-31T19:00:00Z",
            ["1985-12-31T00:00:00+05:30", "1986-01-01T00:15:00+05:45"]
        ),
        // Lord Howe falls back by half an hour at 02:00: 01:30 to 02:00 occur twice.
        Row(
            "Australia/Lord_Howe",
            .hour,
            "2026-04-04T14:00:00Z",
            "2026-04-04T16:30:00Z",
            ["2026-04-05T01:00:00+11:00", "2026-04-05T01:30:00+10:30", "2026-04-05T02:00:00+10:30"]
        ),
        // And springs forward by half an hour at 02:00: the hour starts at 02:30.
        Row(
            "Australia/Lord_Howe",
            .hour,
            "2025-10-04T14:30:00Z",
            "2025-10-04T17:00:00Z",
            ["2025-10-05T01:00:00+10:30", "2025-10-05T02:30:00+11:00", "2025-10-05T03:00:00+11:00"]
        ),
        Row(
            "Australia/Lord_Howe",
            .quarterHour,
            "2026-04-04T14:45:00Z",
            "2026-04-04T15:30:00Z",
            ["2026-04-05T01:45:00+11:00", "2026-04-05T01:30:00+10:30", "2026-04-05T01:45:00+10:30"]
        ),
        Row(
            "Australia/Lord_Howe",
            .day,
            "2026-04-04T13:00:00Z",
            "2026-04-05T13:31:00Z",
            ["2026-04-05T00:00:00+11:00", "2026-04-06T00:00:00+10:30"]
        ),
        // Samoa skipped 2011-12-30.
        Row(
            "Pacific/Apia",
            .day,
            "2011-12-29T10:00:00Z",
            "2011-12-31T10:01:00Z",
            ["2011-12-29T00:00:00-10:00", "2011-12-31T00:00:00+14:00", "2012-01-01T00:00:00+14:00"]
        ),
        Row(
            "Pacific/Apia",
            .hour,
            "2011-12-30T09:00:00Z",
            "2011-12-30T11:00:00Z",
            ["2011-12-29T23:00:00-10:00", "2011-12-31T00:00:00+14:00"]
        ),
        Row(
            "Pacific/Apia",
            .week,
            "2011-12-26T10:00:00Z",
            "2012-01-01T10:01:00Z",
            ["2011-12-26T00:00:00-10:00", "2012-01-02T00:00:00+14:00"]
        ),
        // Kwajalein skipped 1993-08-21; Kiritimati skipped 1994-12-31.
        Row(
            "Pacific/Kwajalein",
            .day,
            "1993-08-20T12:00:00Z",
            "1993-08-21T12:01:00Z",
            ["1993-08-20T00:00:00-12:00", "1993-08-22T00:00:00+12:00"]
        ),
        Row(
            "Pacific/Kiritimati",
            .month,
            "1994-12-31T09:00:00Z",
            "1994-12-31T11:00:00Z",
            ["1994-12-01T00:00:00-10:00", "1995-01-01T00:00:00+14:00"]
        ),
        // Havana springs forward at midnight: the date starts at 01:00.
        Row(
            "America/Havana",
            .day,
            "2026-03-07T05:00:00Z",
            "2026-03-09T04:00:00Z",
            ["2026-03-07T00:00:00-05:00", "2026-03-08T01:00:00-04:00"]
        ),
        Row(
            "America/Havana",
            .hour,
            "2026-03-08T04:00:00Z",
            "2026-03-08T06:00:00Z",
            ["2026-03-07T23:00:00-05:00", "2026-03-08T01:00:00-04:00"]
        ),
        // And falls back from 01:00 to midnight: the date has 25 hours and starts at the first.
        Row(
            "America/Havana",
            .day,
            "2025-11-02T04:00:00Z",
            "2025-11-03T05:01:00Z",
            ["2025-11-02T00:00:00-04:00", "2025-11-03T00:00:00-05:00"]
        ),
        Row(
            "America/Havana",
            .hour,
            "2025-11-02T04:00:00Z",
            "2025-11-02T06:30:00Z",
            ["2025-11-02T00:00:00-04:00", "2025-11-02T00:00:00-05:00", "2025-11-02T01:00:00-05:00"]
        ),
        // Beirut springs forward at midnight, and falls back from midnight to 23:00.
        Row(
            "Asia/Beirut",
            .day,
            "2026-03-27T22:00:00Z",
            "2026-03-29T21:00:00Z",
            ["2026-03-28T00:00:00+02:00", "2026-03-29T01:00:00+03:00"]
        ),
        Row(
            "Asia/Beirut",
            .day,
            "2025-10-24T21:00:00Z",
            "2025-10-26T22:00:00Z",
            ["2025-10-25T00:00:00+03:00", "2025-10-26T00:00:00+02:00"]
        ),
        Row(
            "Asia/Beirut",
            .hour,
            "2025-10-25T20:00:00Z",
            "2025-10-25T23:00:00Z",
            ["2025-10-25T23:00:00+03:00", "2025-10-25T23:00:00+02:00", "2025-10-26T00:00:00+02:00"]
        ),
        Row(
            "Asia/Beirut",
            .month,
            "2025-10-25T20:30:00Z",
            "2025-10-25T22:30:00Z",
            ["2025-10-01T00:00:00+03:00"]
        ),
    ]

    @Test("buckets start where the local clock says", arguments: table)
    func starts(_ row: Row) throws {
        let from = try Self.seconds(row.from)
        let to = try Self.seconds(row.to)
        let zone = try #require(Zone(row.zone, from: from, to: to))
        let buckets = try #require(TimeBuckets(row.granularity, from: from, to: to, zone: zone))
        #expect(buckets.starts.map { zone.text($0) } == row.expected)
    }

    @Test("the text of a start names its instant in every zone")
    func roundTrip() throws {
        for name in TimeZone.knownTimeZoneIdentifiers where name.contains("/") {
            let from: Int64 = 1_700_000_000 / 60 * 60
            let to = from + 86_400 * 370
            let zone = try #require(Zone(name, from: from, to: to), "\(name)")
            for granularity in [Granularity.hour, .day, .week, .month] {
                let buckets = try #require(
                    TimeBuckets(granularity, from: from, to: to, zone: zone)
                )
                var previous = Int64.min
                for start in buckets.starts {
                    let read = try Self.seconds(zone.text(start))
                    if read != start || start <= previous {
                        Issue.record("\(name) \(granularity) \(zone.text(start))")
                    }
                    previous = start
                }
                let first = try #require(buckets.starts.first)
                #expect(first <= from, "\(name)")
                if buckets.starts.count > 1 { #expect(buckets.starts[1] > from) }
                #expect(previous < to)
            }
        }
    }

    @Test("too many buckets are refused before they are made")
    func bound() throws {
        let from: Int64 = -60_000_000_000
        let to: Int64 = 250_000_000_000
        let zone = try #require(Zone("Europe/Berlin", from: from, to: to))
        #expect(TimeBuckets(.minute, from: from, to: to, zone: zone) == nil)
        #expect(TimeBuckets(.hour, from: from, to: to, zone: zone) == nil)
        #expect(TimeBuckets(.month, from: from, to: to, zone: zone) != nil)
        #expect(TimeBuckets(.total, from: from, to: to, zone: zone)?.starts == [])
        #expect(
            TimeBuckets(.hour, from: 0, to: 300 * 3600, zone: zone, countMax: 300)?.starts.count
                == 300
        )
        #expect(TimeBuckets(.hour, from: 0, to: 301 * 3600, zone: zone, countMax: 300) == nil)
    }
}
