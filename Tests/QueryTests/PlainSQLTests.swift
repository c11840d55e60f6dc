import Foundation
import Postgres
import Records
import Rollups
import Testing

/// The views and functions for people with psql or Grafana (`docs/sql.md`).
@Suite("Plain SQL")
struct PlainSQLTests {
    /// Half of the records compacted, half still waiting for it.
    private func withRecords(
        _ body: (PostgresConnection, [RequestRecord]) throws -> Void
    ) async throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        Attachment.record("\(seed)", named: "seed")
        try await Fixture.with { fixture in
            let records = RecordModel(
                seed: seed,
                count: 1_200,
                from: 1_772_900_000,
                to: 1_773_144_000
            ).records
            try fixture.insert(Array(records[..<600]), asDeltas: false)
            try fixture.insert(Array(records[600...]), asDeltas: true)
            try body(
                try PostgresConnection(fixture.uri, applicationName: "plain-sql"),
                records
            )
        }
    }

    @Test("every view has every record once, under its names")
    func counts() async throws {
        try await withRecords { connection, records in
            for view in ["usage", "usage_15m", "usage_1d"] {
                let found = try connection.query(
                    """
                    SELECT coalesce(org, ''), coalesce(route, ''), coalesce(status, 0),
                        sum(requests)::bigint, sum(bytes_out)::bigint, sum(latency_count)::bigint
                    FROM sluice.\(view) GROUP BY 1, 2, 3
                    """
                )
                var tally: [String: [Int64]] = [:]
                for record in records {
                    let key = "\(record.org)|\(record.route)|\(record.status ?? 0)"
                    let old = tally[key] ?? [0, 0, 0]
                    tally[key] = [
                        old[0] + 1, old[1] + Int64(record.responseBytes),
                        old[2] + (record.durationUS == nil ? 0 : 1),
                    ]
                }
                #expect(found.rowCount == tally.count)
                for row in 0..<found.rowCount {
                    let names = [found.text(row, 0), found.text(row, 1)].map { $0 ?? "" }
                    let key = "\(names[0])|\(names[1])|\(found.int(row, 2) ?? -1)"
                    let measures = (3...5).map { found.int(row, $0) ?? -1 }
                    #expect(tally[key] == measures, "\(view) \(key)")
                }
            }
            for view in ["consumer_usage", "consumer_usage_1d"] {
                let total = try connection.query("SELECT sum(requests)::bigint FROM sluice.\(view)")
                #expect(total.int(0, 0) == Int64(records.count), "\(view)")
            }
        }
    }

    @Test("a rollup of one's own has a view of each tier, under its names, until it is dropped")
    func ownRollup() async throws {
        let own = RollupDefinition(
            user: "by-tag",
            dimensions: [.org, .tag("tenant"), .status],
            tiers: [.quarterHour, .hour, .day]
        )
        var records = RecordModel(seed: 31, count: 600, from: 1_772_900_000, to: 1_773_144_000)
            .records
        for index in records.indices where index % 3 > 0 {
            records[index].tags = [RecordTag(key: "tenant", value: "t\(index % 3)")]
        }
        try await Fixture.with { [records] fixture in
            try fixture.add(own)
            try fixture.insert(Array(records[..<300]), asDeltas: false, into: [own])
            try fixture.insert(Array(records[300...]), asDeltas: true, into: [own])
            let connection = try PostgresConnection(fixture.uri, applicationName: "plain-sql")
            var wanted: [String: [Int64]] = [:]
            for record in records {
                let tenant = record.tags.first?.value ?? ""
                let key = "\(record.org)|\(tenant)|\(record.status ?? 0)"
                let old = wanted[key] ?? [0, 0]
                wanted[key] = [old[0] + 1, old[1] + Int64(record.responseBytes)]
            }
            for (view, width) in [("usage", "15 min"), ("usage_1h", "1 h"), ("usage_1d", "1 day")] {
                let found = try connection.query(
                    """
                    SELECT concat_ws('|', coalesce(org, ''), coalesce("tag.tenant", ''),
                        coalesce(status, 0)), sum(requests)::bigint, sum(bytes_out)::bigint,
                      bool_and(bucket = date_bin('\(width)', bucket, 'epoch'))
                    FROM sluice."by-tag_\(view)" GROUP BY 1
                    """
                )
                var tally: [String: [Int64]] = [:]
                for row in 0..<found.rowCount {
                    #expect(found.bool(row, 3) == true, "\(view)")
                    tally[found.text(row, 0) ?? ""] = [
                        found.int(row, 1) ?? 0, found.int(row, 2) ?? 0,
                    ]
                }
                #expect(tally == wanted, "\(view)")
            }
            let keys = try connection.query(
                "SELECT sluice.distinct_count(keys) FROM sluice.\"by-tag_usage_1d\""
            ).double(0, 0)
            #expect(abs((keys ?? 0) - 4) < 0.5)
            try connection.query("SELECT sluice.make_views(1), sluice.drop_rollup('by-tag')")
            let left = try connection.query(
                "SELECT count(*) FROM pg_class WHERE relname LIKE 'by-tag%'"
            )
            #expect(left.int(0, 0) == 0)
        }
    }

    @Test("quantiles of merged histograms are within 1 % of percentile_disc")
    func quantiles() async throws {
        try await withRecords { connection, records in
            let durations = records.compactMap(\.durationUS).sorted()
            for quantile in [0, 0.01, 0.5, 0.9, 0.99, 0.999, 1] {
                let found = try connection.query(
                    """
                    SELECT sluice.quantile(sluice.histogram_sum(latency_hist), $1)
                    FROM sluice.usage
                    """,
                    [.double(quantile)]
                ).double(0, 0)
                let rank = max(1, Int((quantile * Double(durations.count)).rounded(.up)))
                let exact = Double(durations[rank - 1]) / 1e6
                #expect(abs((found ?? -1) / exact - 1) < 0.01, "\(quantile)")
            }
            // A merged histogram is the canonical one, byte for byte.
            let merged = try connection.query(
                "SELECT sluice.histogram_sum(latency_hist) FROM sluice.usage_1d"
            )
            let expected = LatencyHistogram.encode(records.compactMap(\.durationUS))
            #expect(merged.withBytes(0, 0) { $0.octets.copied() } == expected)
            let empty = try connection.query(
                "SELECT sluice.quantile(''::bytea, 0.5), sluice.histogram_sum(''::bytea)"
            )
            #expect(empty.isNull(0, 0))
            #expect(throws: PostgresError.self) {
                try connection.query("SELECT sluice.quantile(''::bytea, 1.5)")
            }
        }
    }

    @Test(
        "distinct counts equal those of the library, sparse and dense",
        arguments: [0, 1, 7, 900, 60_000]
    )
    func distinct(count: Int) async throws {
        try await Fixture.with { fixture in
            var random = SeededRandom(seed: 11)
            let hashes = (0..<count).map { _ in UInt64.random(in: 0...UInt64.max, using: &random) }
            let halves = [Array(hashes[..<(count / 2)]), Array(hashes[(count / 2)...])]
            let connection = try PostgresConnection(fixture.uri, applicationName: "plain-sql")
            let found = try connection.query(
                """
                SELECT sluice.distinct_count(sketch)
                FROM (VALUES ($1::bytea), ($2::bytea)) v (sketch)
                """,
                halves.map { .bytes($0.isEmpty ? [] : DistinctSketch.encode(hashes: $0)) }
            ).double(0, 0)
            let whole = hashes.isEmpty ? [] : DistinctSketch.encode(hashes: hashes)
            let expected = try DistinctSketch.estimate(whole.span)
            #expect(abs((found ?? -1) - expected) <= expected * 1e-9)
        }
    }

    @Test("every query of the Grafana dashboard runs and answers")
    func grafana() async throws {
        let url = Fixture.root.appendingPathComponent("grafana/sluice.json")
        let json = try JSONSerialization.jsonObject(with: Data(contentsOf: url))
        let dashboard = try #require(json as? [String: Any])
        let panels = try #require(dashboard["panels"] as? [[String: Any]])
        let variables =
            ((dashboard["templating"] as? [String: Any])?["list"] as? [[String: Any]]) ?? []
        let queries =
            panels.flatMap { $0["targets"] as? [[String: Any]] ?? [] }
            .compactMap { $0["rawSql"] as? String }
            + variables.filter { $0["type"] as? String == "query" }
            .compactMap { $0["query"] as? String }
        #expect(queries.count >= 8)
        try await withRecords { connection, _ in
            for query in queries {
                let sql = Self.expanded(query)
                #expect(!sql.contains("$"), "a macro is left in \(sql)")
                let answer = try connection.query(sql)
                #expect(answer.rowCount > 0, "no rows: \(sql)")
            }
        }
    }

    /// What Grafana's PostgreSQL data source makes of its macros and of the variables.
    private static func expanded(_ query: String) -> String {
        var sql = query
        for (macro, text) in [
            ("$__timeFilter(bucket)", "bucket BETWEEN '2026-03-01' AND '2026-03-20'"),
            ("$__timeGroup(bucket, $__interval)", "date_bin('15 minutes', bucket, 'epoch')"),
            ("$__timeGroup(bucket, '1d')", "date_bin('1 day', bucket, 'epoch')"),
            ("${org:sqlstring}", "'acme'"),
        ] {
            sql = sql.replacingOccurrences(of: macro, with: text)
        }
        return sql
    }
}
