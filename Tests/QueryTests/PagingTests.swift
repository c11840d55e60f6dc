import Foundation
import Postgres
import Query
import Records
import Rollups
import Testing

/// Pages, filled buckets, earlier windows, ranked groups and whole exports, against plain answers.
@Suite("Pages and windows", .timeLimit(.minutes(15)))
struct PagingTests {
    private static func json(_ rows: [[String: Any]]) throws -> [String] {
        try rows.map { row in
            String(
                decoding: try JSONSerialization.data(withJSONObject: row, options: [.sortedKeys]),
                as: UTF8.self
            )
        }
    }

    private static func with(
        seed: UInt64,
        _ body: (QueryAPI, String, RecordModel, Fixture) async throws -> Void
    ) async throws {
        Attachment.record("\(seed)", named: "seed")
        let model = RecordModel(
            seed: seed,
            count: 1_200,
            from: UsageEndToEndTests.from,
            to: UsageEndToEndTests.to
        )
        try await Fixture.with { fixture in
            try fixture.insert(Array(model.records.prefix(800)), asDeltas: false)
            try fixture.insert(Array(model.records.dropFirst(800)), asDeltas: true)
            try await body(
                fixture.api(),
                try await fixture.authorization(.admin),
                model,
                fixture
            )
        }
    }

    private static let range = "from=2026-03-27T00:00:00Z&to=2026-03-31T00:00:00Z&tz=Europe/Berlin"

    static let paged = [
        "&granularity=1d&group_by=api,route,status&metrics=requests,latency_p99",
        "&granularity=6h", "&granularity=1h&group_by=application",
        "&granularity=total&group_by=key,plan,route",
        "&granularity=1h&group_by=api,status&order=-requests&metrics=requests,errors",
        "&granularity=1d&group_by=route,region&order=latency_p90,-route&metrics=latency_p90",
        "&granularity=1h&group_by=country&fill=zero", "&granularity=1d&order=-bucket",
        "&granularity=1d&group_by=upstream,outcome&fill=zero&order=-requests,upstream",
        "&granularity=1h&group_by=org&compare=-1d",
    ]

    @Test("pages one after the other are the whole answer, whatever their size", arguments: paged)
    func pages(_ question: String) async throws {
        let question = question.replacingOccurrences(of: "6h", with: "1h")
        try await Self.with(seed: 77) { api, admin, _, _ in
            let whole = try await api.usage(Self.range + question + "&limit=10000", admin)
            try #require(whole.status == 200, "\(whole.object)")
            #expect(whole.object["next"] is NSNull)
            let wanted = try Self.json(whole.rows)
            for limit in [wanted.count, wanted.count / 2 + 1, 17] where limit > 0 {
                var pages: [String] = []
                var cursor = ""
                while true {
                    let page = try await api.usage(
                        Self.range + question + "&limit=\(limit)" + cursor,
                        admin
                    )
                    try #require(page.status == 200, "\(page.object)")
                    #expect(page.object["from"] as? String == whole.object["from"] as? String)
                    pages += try Self.json(page.rows)
                    guard let next = page.object["next"] as? String else { break }
                    #expect(page.rows.count == limit)
                    cursor = "&cursor=" + next
                    try #require(pages.count <= wanted.count)
                }
                #expect(pages == wanted, "\(question) by \(limit)")
            }
        }
    }

    @Test("a cursor holds relative times, and is refused for another question or when damaged")
    func cursors() async throws {
        try await Fixture.with { fixture in
            let records = (0..<6).map { index in
                AnswerTests.record { $0.route = "GET /\(index)" }
            }
            try fixture.insert(records, asDeltas: true)
            let api = fixture.api()
            let admin = try await fixture.authorization(.admin)
            let query = "from=-2h&granularity=1h&group_by=route&limit=2"
            let first = try await api.usage(query, admin)
            let next = try #require(first.object["next"] as? String)
            fixture.clock.advance(seconds: 7_200)
            let second = try await api.usage(query + "&cursor=" + next, admin)
            #expect(second.object["from"] as? String == first.object["from"] as? String)
            #expect(second.rows.compactMap { $0["route"] as? String } == ["GET /2", "GET /3"])
            // Format and limit may change between pages.
            let third = try await api.usage(
                "from=-2h&granularity=1h&group_by=route&limit=9&cursor=" + next,
                admin
            )
            #expect(third.rows.count == 4)
            let other = try await api.usage(query + "&metrics=errors&cursor=" + next, admin)
            #expect(other.status == 400)
            var damaged = Array(next.utf8)
            for index in damaged.indices {
                damaged = Array(next.utf8)
                damaged[index] = damaged[index] == 65 ? 66 : 65
                let text = String(decoding: damaged, as: UTF8.self)
                #expect(try await api.usage(query + "&cursor=" + text, admin).status == 400)
            }
        }
    }

    @Test("fill=zero: every group of the answer in every bucket, once and in order")
    func fill() async throws {
        try await Self.with(seed: 78) { api, admin, _, _ in
            for groups in ["", "&group_by=api,status", "&group_by=key"] {
                let query =
                    Self.range + "&granularity=1h&limit=10000" + groups
                    + "&metrics=requests,latency_p50,error_rate,unique_clients,unique_keys"
                    + (groups.isEmpty ? "" : "&filter=api:in:orders,catalog&filter=org:eq:acme")
                let plain = try await api.usage(query, admin)
                let filled = try await api.usage(query + "&fill=zero", admin)
                let names = groups.isEmpty ? [] : groups.dropFirst(10).split(separator: ",")
                func group(_ row: [String: Any]) -> String {
                    names.map { "\(row[String($0)] ?? "")" }.joined(separator: "|")
                }
                let buckets = try await api.usage(
                    Self.range + "&granularity=1h&fill=zero&filter=api:eq:nobody&limit=10000",
                    admin
                )
                // Four days and an hour less, for the clocks went forward.
                #expect(buckets.rows.count == 96)
                #expect(buckets.rows.allSatisfy { ($0["requests"] as? Int) == 0 })
                let distinct = Set(plain.rows.map(group))
                #expect(filled.rows.count == 96 * distinct.count)
                let kept = filled.rows.filter { ($0["requests"] as? Int) != 0 }
                #expect(try Self.json(kept) == Self.json(plain.rows))
                for row in filled.rows where (row["requests"] as? Int) == 0 {
                    #expect(row["latency_p50"] is NSNull && row["error_rate"] is NSNull)
                    #expect(row["unique_clients"] as? Int == 0 && row["unique_keys"] as? Int == 0)
                }
                for (index, row) in filled.rows.enumerated() {
                    let bucket = buckets.rows[index / distinct.count]["bucket"] as? String
                    #expect(row["bucket"] as? String == bucket)
                    let first = filled.rows[index % distinct.count]
                    #expect(group(row) == group(first))
                }
            }
            let total = try await api.usage(
                Self.range + "&granularity=total&fill=zero&filter=api:eq:nobody",
                admin
            )
            #expect(total.rows.count == 1)
            let none = try await api.usage(
                Self.range + "&granularity=total&fill=zero&filter=api:eq:nobody&group_by=api",
                admin
            )
            #expect(none.rows.isEmpty)
        }
    }

    @Test("compare gives the metrics of the earlier window beside each row")
    func comparison() async throws {
        try await Self.with(seed: 79) { api, admin, _, _ in
            // 2026-03-29 has 23 hours in Berlin: hours before and after the change correspond by
            // the clock on the wall.
            let day = "from=2026-03-30&to=2026-03-31&tz=Europe/Berlin&granularity=1h&group_by=org"
            let metrics = "&metrics=requests,bytes_out,latency_avg"
            let answer = try await api.usage(day + metrics + "&compare=previous", admin)
            let same = try await api.usage(day + metrics + "&compare=-1d", admin)
            #expect(try Self.json(answer.rows) == Self.json(same.rows))
            let window = answer.object["compare"] as? [String: String]
            #expect(
                window == [
                    "from": "2026-03-29T00:00:00+01:00", "to": "2026-03-30T00:00:00+02:00",
                ]
            )
            let earlier = try await api.usage(
                "from=2026-03-29&to=2026-03-30&tz=Europe/Berlin&granularity=1h&group_by=org"
                    + metrics,
                admin
            )
            var byKey: [String: [String: Any]] = [:]
            for row in earlier.rows {
                let hour = ((row["bucket"] as? String) ?? "").dropFirst(11).prefix(2)
                byKey["\(hour) \(row["org"] ?? "")"] = row
            }
            var matched = 0
            for row in answer.rows {
                let hour = ((row["bucket"] as? String) ?? "").dropFirst(11).prefix(2)
                let found = byKey["\(hour) \(row["org"] ?? "")"]
                if hour == "02" {
                    // That hour did not exist.
                    #expect(row["requests_previous"] is NSNull)
                    continue
                }
                matched += found == nil ? 0 : 1
                #expect(row["requests_previous"] as? Int == found?["requests"] as? Int ?? 0)
                #expect(row["bytes_out_previous"] as? Int == found?["bytes_out"] as? Int ?? 0)
                #expect(
                    row["latency_avg_previous"] as? Double == found?["latency_avg"] as? Double
                )
            }
            #expect(matched > 20)
            let total = try await api.usage(
                "from=2026-03-29T12:00:00Z&to=2026-03-30T12:00:00Z&granularity=total&compare=-24h",
                admin
            )
            let before = try await api.usage(
                "from=2026-03-28T12:00:00Z&to=2026-03-29T12:00:00Z&granularity=total",
                admin
            )
            #expect(
                total.rows.first?["requests_previous"] as? Int
                    == before.rows.first?["requests"] as? Int
            )
        }
    }

    static let windowTable: [(String, String, String, String, String, String)] = [
        ("2026-03-01", "2026-04-01", "Europe/Berlin", "previous", "2026-02-01", "2026-03-01"),
        ("2026-01-01", "2026-04-01", "UTC", "previous", "2025-10-01", "2026-01-01"),
        ("2026-03-29", "2026-03-30", "Europe/Berlin", "previous", "2026-03-28", "2026-03-29"),
        ("2026-03-30", "2026-04-06", "Europe/Berlin", "-7d", "2026-03-23", "2026-03-30"),
        ("2026-03-10", "2026-03-12", "UTC", "-4w", "2026-02-10", "2026-02-12"),
    ]

    @Test(
        "the earlier window is as many local months or days, or as much time",
        arguments: windowTable
    )
    func windows(
        _ from: String,
        _ to: String,
        _ zone: String,
        _ compare: String,
        _ earlierFrom: String,
        _ earlierTo: String
    ) async throws {
        try await Fixture.with { fixture in
            let answer = try await fixture.api().usage(
                "from=\(from)&to=\(to)&tz=\(zone)&granularity=1d&compare=\(compare)",
                try await fixture.authorization(.admin)
            )
            let window = answer.object["compare"] as? [String: String]
            #expect(window?["from"]?.hasPrefix(earlierFrom + "T00:00:00") == true)
            #expect(window?["to"]?.hasPrefix(earlierTo + "T00:00:00") == true)
        }
    }

    @Test("top ranks groups, with how many there are and the metrics of all of them")
    func top() async throws {
        try await Self.with(seed: 80) { api, admin, model, _ in
            func ask(_ query: String) async throws -> Answer {
                try Answer(
                    await api.respond(
                        APIRequest(
                            "GET",
                            "/v1/top",
                            query: Self.range + query,
                            authorization: admin
                        )
                    )
                )
            }
            let top = try await ask("&group_by=route,status&metrics=bytes_out,requests&limit=3")
            try #require(top.status == 200, "\(top.object)")
            let all = try await api.usage(
                Self.range + "&group_by=route,status&metrics=bytes_out,requests&granularity=total"
                    + "&order=-bytes_out&limit=10000",
                admin
            )
            #expect(try Self.json(top.rows) == Self.json(Array(all.rows.prefix(3))))
            #expect(top.object["groups"] as? Int == all.rows.count)
            let total = top.object["total"] as? [String: Int]
            #expect(total?["requests"] == model.records.count)
            let cursor = try #require(top.object["next"] as? String)
            let rest = try await ask(
                "&group_by=route,status&metrics=bytes_out,requests&limit=10000&cursor=" + cursor
            )
            #expect(try Self.json(rest.rows) == Self.json(Array(all.rows.dropFirst(3))))
            #expect(rest.object["groups"] as? Int == all.rows.count)
            #expect(try await ask("").status == 400)
            #expect(try await ask("&group_by=api&granularity=1h").status == 400)
            #expect(try await ask("&group_by=api").rows.count <= 10)
        }
    }

    @Test("limit=none streams every row, the same as the answer has")
    func export() async throws {
        try await Self.with(seed: 81) { api, admin, _, _ in
            for format in ["csv", "ndjson"] {
                let query =
                    Self.range + "&granularity=1h&group_by=api,route,status&format=\(format)"
                    + "&metrics=requests,latency_p99"
                let request = { (limit: String) in
                    APIRequest(
                        "GET",
                        "/v1/usage",
                        query: query + "&limit=" + limit,
                        authorization: admin
                    )
                }
                let reply = await api.respond(request("none"))
                #expect(reply.status == 200)
                let streamed = try await #require(reply.stream).collect()
                let whole = await api.respond(request("10000"))
                #expect(!whole.headers.contains { $0.name == "Sluice-Truncated" })
                #expect(String(decoding: streamed, as: UTF8.self) == AnswerTests.text(whole))
            }
            let refused = await api.respond(
                APIRequest(
                    "GET",
                    "/v1/usage",
                    query: Self.range + "&group_by=method,key&format=csv&limit=none",
                    authorization: admin
                )
            )
            #expect(refused.status == 400 && refused.stream == nil)
        }
    }

    @Test("an answer is not sent again while nothing was folded, and is when something was")
    func validators() async throws {
        try await Self.with(seed: 82) { api, admin, _, fixture in
            func ask(_ query: String, _ tag: String? = nil, _ token: String? = nil) async
                -> APIReply
            {
                await api.respond(
                    APIRequest(
                        "GET",
                        "/v1/usage",
                        query: Self.range + query,
                        authorization: token ?? admin,
                        ifNoneMatch: tag
                    )
                )
            }
            func tag(_ reply: APIReply) -> String? {
                reply.headers.first { $0.name == "ETag" }?.value
            }
            let first = await ask("&group_by=api")
            let known = try #require(tag(first))
            let again = await ask("&group_by=api")
            #expect(again.body == first.body && tag(again) == known)
            let unchanged = await ask("&group_by=api", known)
            #expect(unchanged.status == 304 && unchanged.body.isEmpty)
            #expect(tag(await ask("&group_by=api&format=csv")) != known)
            #expect(tag(await ask("&group_by=api&limit=3")) != known)
            let acme = try await fixture.authorization(.org("acme"))
            #expect(await ask("&group_by=api", known, acme).status == 200)
            // What a fold does to the registry of logs.
            let connection = try PostgresConnection(fixture.uri, applicationName: "tests")
            try connection.execute(
                """
                INSERT INTO sluice.log (log_id, ended_at) VALUES (gen_random_uuid(), now())
                """
            )
            try fixture.insert([RequestRecord].init(repeating: Self.late, count: 3), asDeltas: true)
            let changed = await ask("&group_by=api", known)
            #expect(changed.status == 200 && tag(changed) != known)
            #expect(changed.body != first.body)
            let second = try #require(tag(changed))
            try connection.execute("UPDATE sluice.log SET last_folded_at = last_folded_at")
            #expect(await ask("&group_by=api", second).status == 200)
        }
    }

    /// A record within the range.
    private static let late: RequestRecord = {
        var record = RequestRecord(kind: .request)
        record.completedAt = UsageEndToEndTests.from * 1_000_000 + 5
        record.org = "acme"
        record.api = "late"
        return record
    }()

    @Test("a question that would read too much is refused, with what to change")
    func cost() async throws {
        try await Fixture.with { fixture in
            let connection = try PostgresConnection(fixture.uri, applicationName: "tests")
            try connection.execute(
                """
                CREATE TABLE sluice_g1.api_15m_p202603 (LIKE sluice_g1.api_15m);
                ALTER TABLE sluice_g1.api_15m ATTACH PARTITION sluice_g1.api_15m_p202603
                FOR VALUES FROM ('2026-03-01Z') TO ('2026-04-01Z');
                INSERT INTO sluice_g1.api_15m
                SELECT d, 1, 1, 0, 0, 0, 200, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                    '', '', '', ''
                FROM generate_series('2026-03-01Z'::timestamptz, '2026-03-31Z', '1 day') d;
                ANALYZE sluice_g1.api_15m_p202603
                """
            )
            let api = fixture.api { $0.rowsReadMax = 5.5 }
            let admin = try await fixture.authorization(.admin)
            func ask(_ to: String) async throws -> Answer {
                try await api.usage(
                    "from=2026-03-02&to=2026-03-0\(to)&granularity=1h&group_by=method",
                    admin
                )
            }
            #expect(try await ask("7").status == 200)
            let refused = try await ask("8")
            #expect(refused.status == 422)
            let detail = refused.object["detail"] as? String
            #expect(detail?.contains("about 6 rows of rollup api") == true)
            #expect(detail?.contains("shorten the range") == true)
        }
    }
}
