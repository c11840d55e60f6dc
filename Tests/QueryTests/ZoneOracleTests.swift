import Foundation
import Postgres
import PostgresTesting
import Query
import Testing

/// Buckets beside those that PostgreSQL computes with `AT TIME ZONE`, an independent implementation
/// over its own copy of the time-zone database.
@Suite("Zone oracle", .timeLimit(.minutes(15)))
struct ZoneOracleTests {
    /// Zones with every oddity that the modern database has.
    static let zones = [
        "UTC", "Europe/Berlin", "Europe/London", "Europe/Lisbon", "America/New_York",
        "America/Havana", "America/Sao_Paulo", "America/Asuncion", "America/Santiago",
        "America/Caracas", "Asia/Kolkata", "Asia/Kathmandu", "Asia/Beirut", "Asia/Amman",
        "Asia/Tehran",
        "Asia/Pyongyang", "Asia/Gaza", "Africa/Casablanca", "Africa/Cairo", "Africa/Khartoum",
        "Australia/Lord_Howe", "Australia/Adelaide", "Pacific/Apia", "Pacific/Chatham",
        "Pacific/Kwajalein", "Pacific/Kiritimati", "Pacific/Norfolk", "Antarctica/Troll",
        "Atlantic/Azores", "Europe/Volgograd", "Asia/Ulaanbaatar", "America/Godthab",
    ]

    /// Starts within `[from, to)` as PostgreSQL sees them: the first instant of each key, where the
    /// key is the local date, week or month, or the local part of the day with its offset.
    static func starts(
        _ granularity: Granularity,
        _ zone: String,
        _ from: Int64,
        _ to: Int64,
        _ connection: PostgresConnection
    ) throws -> [Int64] {
        let key: String
        switch granularity {
        case .day: key = "date_trunc('day', local)"
        case .week: key = "date_trunc('week', local)"
        case .month: key = "date_trunc('month', local)"
        default:
            let width = "interval '\(granularity.seconds ?? 60) seconds'"
            key = "date_bin(\(width), local, '2000-01-01'), local - (t AT TIME ZONE 'UTC')"
        }
        // Quarter hours are fine enough: every change of offset since 2012 is at a multiple.
        let result = try connection.query(
            """
            SELECT extract(epoch FROM min(t))::bigint FROM (
              SELECT t, t AT TIME ZONE $1::text AS local
              FROM generate_series(to_timestamp($2::bigint), to_timestamp($3::bigint - 1),
                interval '15 minutes') t
            ) s GROUP BY \(key) ORDER BY 1
            """,
            [.text(zone), .int(from), .int(to)]
        )
        return (0..<result.rowCount).compactMap { result.int($0, 0) }
    }

    @Test("buckets of every granularity start where PostgreSQL says", arguments: zones)
    func oracle(_ name: String) async throws {
        try await TestDatabase.with { uri in
            let connection = try PostgresConnection(uri, applicationName: "oracle")
            let exists = try connection.query(
                "SELECT FROM pg_timezone_names WHERE name = $1::text",
                [.text(name)]
            ).rowCount
            try #require(exists == 1, "the server does not know \(name)")
            // 2015 to 2024, where all copies of the database agree.
            let spans: [(Granularity, Int64)] = [
                (.day, 400), (.week, 800), (.month, 1600), (.hour, 200), (.quarterHour, 100),
            ]
            for (granularity, days) in spans {
                var from: Int64 = 1_420_070_400
                while from < 1_704_067_200 {
                    let to = from + days * 86_400
                    let zone = try #require(Zone(name, from: from, to: to))
                    let buckets = try #require(
                        TimeBuckets(granularity, from: from, to: to, zone: zone)
                    )
                    let wanted = try Self.starts(granularity, name, from, to, connection)
                    // The oracle sees only instants within the range, so its first start is `from`.
                    let got = [from] + buckets.starts.dropFirst()
                    if got != wanted {
                        let odd = Set(got).symmetricDifference(wanted).sorted().prefix(5)
                        Issue.record("\(name) \(granularity): \(odd.map { zone.text($0) })")
                    }
                    // Short granularities only around; long ones over the whole span.
                    from += granularity.seconds == nil ? days * 86_400 : 1300 * 86_400
                }
            }
        }
    }

    @Test("Samoa's missing date is missing in PostgreSQL too")
    func missingDate() async throws {
        try await TestDatabase.with { uri in
            let connection = try PostgresConnection(uri, applicationName: "oracle")
            let from: Int64 = 1_324_000_800 / 900 * 900
            let to = from + 30 * 86_400
            for granularity in [Granularity.day, .week, .month, .hour] {
                let zone = try #require(Zone("Pacific/Apia", from: from, to: to))
                let buckets = try #require(
                    TimeBuckets(granularity, from: from, to: to, zone: zone)
                )
                let wanted = try Self.starts(granularity, "Pacific/Apia", from, to, connection)
                #expect([from] + buckets.starts.dropFirst() == wanted, "\(granularity)")
            }
        }
    }
}
