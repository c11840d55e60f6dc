import Foundation
import Postgres
import Query
import Testing

/// Raw records: `/v1/records` with `limit=none`, and questions by tag that they alone can answer.
@Suite("Records of any number", .timeLimit(.minutes(5)))
struct RecordsExportTests {
    private static let range = "from=2026-03-09T00:00:00Z&to=2026-03-11T00:00:00Z"
    private static let count = 3_000

    /// Rows of two organisations in two partitions, with text that CSV and JSON have to quote.
    private static func with(
        _ body: (QueryAPI, Fixture) async throws -> Void
    ) async throws {
        try await Fixture.with { fixture in
            let owner = try PostgresConnection(fixture.uri, applicationName: "owner")
            try owner.execute(
                """
                UPDATE sluice.record_retention SET since = '-infinity';
                SELECT sluice.make_records_partition('2026-03-09');
                SELECT sluice.make_records_partition('2026-03-10');
                INSERT INTO sluice.records (completed_at, log_id, "offset", org, application, path,
                  status, bytes_in, bytes_out, retries, tags, user_agent_string)
                SELECT timestamptz '2026-03-09T12:00:00Z' + (n / 3) * interval '20 seconds',
                  ('00000000-0000-4000-8000-00000000000' || n % 2)::uuid, n,
                  CASE n % 3 WHEN 0 THEN 'acme' ELSE 'globex' END, 'shop', '/a,"' || n,
                  200 + n % 5, n, 2 * n, 0,
                  CASE WHEN n % 7 = 0 THEN ARRAY['env=prod', 'team=a b'] END, repeat('x', 200)
                FROM generate_series(1, \(count)) n
                """
            )
            try await body(fixture.api(), fixture)
        }
    }

    private static func ask(_ api: QueryAPI, _ query: String, _ token: String) async -> APIReply {
        await api.respond(
            APIRequest("GET", "/v1/records", query: range + query, authorization: token)
        )
    }

    @Test("limit=none streams every record, the same as all pages have, to whom it belongs")
    func whole() async throws {
        try await Self.with { api, fixture in
            for scope in [
                TokenScope.admin, .org("acme"), .application(org: "globex", application: "shop"),
            ] {
                let token = try await fixture.authorization(scope)
                for rest in [
                    "&format=csv", "&format=ndjson&order=completed_at&filter=status:ne:201",
                ] {
                    let reply = await Self.ask(api, rest + "&limit=none", token)
                    #expect(reply.status == 200 && reply.body.isEmpty)
                    let streamed = try await #require(reply.stream).collect()
                    let whole = await Self.ask(api, rest + "&limit=10000", token)
                    #expect(!whole.headers.contains { $0.name == "Sluice-Truncated" })
                    #expect(streamed == whole.body, "\(scope) \(rest)")
                    #expect(streamed.count > 50_000)
                }
            }
        }
    }

    @Test("limit=none is refused where it cannot be, before the first byte")
    func refusals() async throws {
        try await Self.with { api, fixture in
            let token = try await fixture.authorization(.admin)
            for query in ["", "&format=json", "&format=csv&cursor=x", "&format=csv&filter=x:eq:1"] {
                let reply = await Self.ask(api, query + "&limit=none", token)
                #expect(reply.status == 400 && reply.stream == nil, "\(query)")
            }
            let none = try await fixture.authorization(.org("nobody"))
            let empty = await Self.ask(api, "&format=ndjson&limit=none", none)
            #expect(try await #require(empty.stream).collect().isEmpty)
            let owner = try PostgresConnection(fixture.uri, applicationName: "owner")
            try owner.execute("UPDATE sluice.record_retention SET since = NULL")
            let gone = await Self.ask(api, "&format=csv&limit=none", token)
            #expect(gone.status == 400 && gone.stream == nil)
        }
    }

    @Test("a reader that does not read holds few pieces and gets no end of the answer")
    func abandoned() async throws {
        try await Self.with { api, fixture in
            let token = try await fixture.authorization(.admin)
            let reply = await Self.ask(api, "&format=ndjson&limit=none", token)
            let stream = try #require(reply.stream)
            let channel = ExportChannel(patienceSeconds: 0)
            await #expect(throws: Problem.self) { try await stream.fill(channel) }
            #expect(await channel.next() == nil, "what is left of a part is not given out")
            // Nor is a channel that is left with pieces in it anybody's end.
            let left = ExportChannel()
            for _ in 0..<4 { #expect(left.send([1])) }
            left.close()
        }
    }
    @Test("a question by tag that no rollup covers is answered from raw records")
    func tags() async throws {
        try await Self.with { api, fixture in
            let tagged = Self.count / 7
            for (scope, part) in [(TokenScope.admin, tagged), (.org("acme"), tagged / 3)] {
                let token = try await fixture.authorization(scope)
                let grouped = try await api.usage(
                    Self.range + "&granularity=total&group_by=tag.env&metrics=requests",
                    token
                )
                #expect(grouped.object["rollup"] as? String == "records")
                let rows = grouped.rows
                #expect(rows.count == 2)
                #expect(rows[0]["tag.env"] as? String == "prod")
                #expect(rows[0]["requests"] as? Int == part)
                #expect(rows[1]["tag.env"] is NSNull)
                let all = scope == .admin ? Self.count : Self.count / 3
                #expect(rows[1]["requests"] as? Int == all - part)
                for (filter, count) in [("eq:a%20b", part), ("eq:a", 0), ("ne:x", all)] {
                    let found = try await api.usage(
                        Self.range + "&granularity=total&filter=tag.team:\(filter)",
                        token
                    )
                    let requests = found.rows.first?["requests"] as? Int ?? 0
                    #expect(requests == count, "\(filter) of \(scope)")
                }
            }
        }
    }
}
