import Foundation
import Postgres
import Query
import Records
import Testing

/// What stands around the rows: freshness, `__other__`, limits, formats, and the plain endpoints.
@Suite("Answers", .timeLimit(.minutes(15)))
struct AnswerTests {
    static let range = "from=2026-03-10T10:00:00Z&to=2026-03-10T12:00:00Z"

    /// A request that completed at 11:00 on the day of the fixture's clock.
    static func record(_ change: (inout RequestRecord) -> Void = { _ in }) -> RequestRecord {
        var record = RequestRecord(kind: .request)
        record.completedAt = 1_773_140_400_000_000
        record.org = "acme"
        record.api = "orders"
        record.route = "GET /a"
        record.method = "GET"
        record.status = 200
        record.outcome = .ok
        change(&record)
        return record
    }

    static func text(_ reply: APIReply) -> String { String(decoding: reply.body, as: UTF8.self) }

    @Test("JSON has the contract's members in the contract's order")
    func json() async throws {
        try await Fixture.with { fixture in
            try fixture.insert(
                [
                    Self.record { $0.durationUS = 42_100 },
                    Self.record {
                        $0.api = "quote\"\\\n\u{1}é"
                        $0.status = 503
                    },
                ],
                asDeltas: true
            )
            let reply = await fixture.api().respond(
                APIRequest(
                    "GET",
                    "/v1/usage",
                    query: Self.range + "&granularity=1h&tz=Europe/Berlin&group_by=api,status"
                        + "&metrics=requests,errors,latency_p99,error_rate,latency_avg,bytes_in",
                    authorization: try await fixture.authorization(.admin)
                )
            )
            let expected = #"""
                {"from":"2026-03-10T11:00:00+01:00","to":"2026-03-10T13:00:00+01:00",\#
                "granularity":"1h","tz":"Europe/Berlin","rollup":"status","complete_to":null,\#
                "complete_since":null,"rows":[\#
                {"bucket":"2026-03-10T12:00:00+01:00","api":"orders","status":200,"requests":1,\#
                "errors":0,"latency_p99":0.0421,"error_rate":0.0,"latency_avg":0.0421,\#
                "bytes_in":0},\#
                {"bucket":"2026-03-10T12:00:00+01:00","api":"quote\"\\\n\u0001é","status":503,\#
                "requests":1,"errors":1,"latency_p99":null,"error_rate":1.0,"latency_avg":null,\#
                "bytes_in":0}],"next":null}
                """#
            #expect(Self.text(reply) == expected)
            #expect(reply.headers.contains { $0 == ("Content-Type", "application/json") })
            #expect(reply.headers.contains { $0 == ("Cache-Control", "private, no-cache") })
        }
    }

    @Test("CSV quotes as RFC 4180, NDJSON has a row per line")
    func formats() async throws {
        try await Fixture.with { fixture in
            try fixture.insert(
                [
                    Self.record { $0.route = "POST /b,c \"x\"" },
                    Self.record {
                        $0.route = ""
                        $0.status = nil
                    },
                ],
                asDeltas: true
            )
            let api = fixture.api()
            let admin = try await fixture.authorization(.admin)
            func ask(_ query: String) async -> APIReply {
                await api.respond(
                    APIRequest(
                        "GET",
                        "/v1/usage",
                        query: Self.range + "&group_by=route,status" + query,
                        authorization: admin
                    )
                )
            }
            let csv = await ask("&granularity=total&format=csv&metrics=requests,latency_avg")
            #expect(
                Self.text(csv)
                    == "route,status,requests,latency_avg\r\n"
                    + "\"POST /b,c \"\"x\"\"\",200,1,\r\n,,1,\r\n"
            )
            let hours = await ask("&granularity=1h&format=csv&metrics=requests&tz=Asia/Kathmandu")
            #expect(
                Self.text(hours) == "bucket,route,status,requests\r\n"
                    + "2026-03-10T16:00:00+05:45,\"POST /b,c \"\"x\"\"\",200,1\r\n"
                    + "2026-03-10T16:00:00+05:45,,,1\r\n"
            )
            let lines = await ask("&granularity=total&format=ndjson&metrics=requests")
            #expect(
                Self.text(lines)
                    == #"{"route":"POST /b,c \"x\"","status":200,"requests":1}"# + "\n"
                    + #"{"route":null,"status":null,"requests":1}"# + "\n"
            )
            let cut = await ask("&granularity=total&format=csv&metrics=requests&limit=1")
            #expect(cut.headers.contains { $0 == ("Sluice-Truncated", "true") })
            let none = await ask("&granularity=1h&format=csv&filter=api:eq:nobody")
            #expect(Self.text(none) == "bucket,route,status,requests,errors\r\n")
        }
    }

    @Test("complete_to stops before an offset that is missing, until it is accepted or retired")
    func missingOffsets() async throws {
        try await Fixture.with { fixture in
            let api = fixture.api()
            let admin = try await fixture.authorization(.admin)
            let connection = try PostgresConnection(fixture.uri, applicationName: "tests")
            func completeTo(after change: String) async throws -> String? {
                // Every fold writes the row of its log.
                try connection.execute(change + "; UPDATE sluice.log SET node = node")
                return try await api.usage(Self.range, admin).object["complete_to"] as? String
            }
            let log = "01234567-89ab-4cde-8f01-23456789abcd"
            let hour = try await completeTo(
                after: """
                    INSERT INTO sluice.log (log_id, heartbeat_at, next_offset)
                    VALUES ('\(log)', '2026-03-10T11:59:00Z', 100);
                    INSERT INTO sluice.source VALUES (1, '\(log)', '{[0,40),[45,100)}');
                    INSERT INTO sluice.ledger (generation, log_id, hour, folded, damaged)
                    VALUES (1, '\(log)', '2026-03-10T09:00Z', 20, 10),
                        (1, '\(log)', '2026-03-10T10:00Z', 30, 0),
                        (1, '\(log)', '2026-03-10T11:00Z', 35, 0)
                    """
            )
            #expect(hour == "2026-03-10T10:00:00Z", "40 offsets are those of the first two hours")
            let later = "noted_at = '2026-03-10T10:20Z', noted_offset = 41"
            #expect(try await completeTo(after: "UPDATE sluice.log SET \(later)") == hour)
            let noted = "UPDATE sluice.log SET noted_offset = 40"
            #expect(try await completeTo(after: noted) == "2026-03-10T10:20:00Z")
            let accepted = """
                UPDATE sluice.source SET folded = '{[0,100)}';
                INSERT INTO sluice.accepted_gap VALUES ('\(log)', 40, 45, 'a disk', 'somebody');
                INSERT INTO sluice.ledger (generation, log_id, hour, lost)
                VALUES (1, '\(log)', '2026-03-10T12:00Z', 5)
                """
            #expect(try await completeTo(after: accepted) == "2026-03-10T11:59:00Z")
            // Behind the accepted one there is another: the ledger has 55 of the 60 before it.
            let second = """
                UPDATE sluice.source SET folded = '{[0,60),[61,100)}';
                UPDATE sluice.log SET noted_at = NULL, noted_offset = NULL
                """
            #expect(try await completeTo(after: second) == hour)
            // An end that is known but not reached holds back, also when the log is not open.
            let ended = """
                UPDATE sluice.source SET folded = '{[0,100)}';
                UPDATE sluice.log SET end_offset = 101, ended_at = now(), next_offset = 101
                """
            #expect(try await completeTo(after: ended) == "2026-03-10T11:00:00Z")
            let first = "UPDATE sluice.source SET folded = '{[1,101)}'"
            #expect(try await completeTo(after: first) == nil, "nothing is known of the beginning")
            let retired = "UPDATE sluice.log SET retired_at = now()"
            #expect(try await completeTo(after: retired)?.hasPrefix("20") == true)
        }
    }

    @Test("complete_to is the earliest heartbeat of the open logs")
    func freshness() async throws {
        try await Fixture.with { fixture in
            let api = fixture.api()
            let admin = try await fixture.authorization(.admin)
            let connection = try PostgresConnection(fixture.uri, applicationName: "tests")
            func completeTo() async throws -> String? {
                try await api.usage(Self.range, admin).object["complete_to"] as? String
            }
            func now() throws -> String? {
                try connection.query(
                    """
                    SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI')
                    """
                ).text(0, 0)
            }
            func add(_ columns: String, _ values: String) throws {
                try connection.execute(
                    "INSERT INTO sluice.log (log_id, \(columns)) "
                        + "VALUES (gen_random_uuid(), \(values))"
                )
            }
            #expect(try await completeTo() == nil)
            // Ended, retired and silent logs hold nothing back.
            try add("heartbeat_at, ended_at", "'2020-01-01Z', now()")
            try add("heartbeat_at, end_offset", "'2020-01-01Z', 5")
            try connection.execute(
                "INSERT INTO sluice.source SELECT 1, log_id, '{[0,5)}' FROM sluice.log "
                    + "WHERE end_offset = 5"
            )
            try add("heartbeat_at, retired_at", "'2020-01-01Z', now()")
            try add("heartbeat_at, last_folded_at", "'2020-01-01Z', now() - interval '25 hours'")
            let before = try now()
            let complete = try await completeTo()
            let after = try now()
            #expect(
                [before, after].contains { complete?.hasPrefix($0 ?? "?") == true },
                "with no open log all is complete up to now"
            )
            try add("heartbeat_at", "'2026-03-10T11:59:58.7Z'")
            #expect(try await completeTo() == "2026-03-10T11:59:58Z")
            try add("heartbeat_at", "'2026-03-10T11:58:00Z'")
            #expect(try await completeTo() == "2026-03-10T11:58:00Z")
            // A log that has not sent a heartbeat is complete up to its start.
            try add("started_at", "'2026-03-10T11:00:00Z'")
            #expect(try await completeTo() == "2026-03-10T11:00:00Z")
            try connection.execute(
                "UPDATE sluice.rollup SET complete_since = '2026-01-01T00:00:00.5Z'"
            )
            let answer = try await api.usage(Self.range + "&tz=Europe/Berlin", admin)
            #expect(answer.object["complete_since"] as? String == "2026-01-01T01:00:01+01:00")
        }
    }

    @Test("__other__ matches only eq, and what filters leave out of it is reported")
    func other() async throws {
        try await Fixture.with { fixture in
            try fixture.insert(
                [Self.record(), Self.record { $0.route = "GET /b" }],
                asDeltas: true
            )
            try fixture.insert(
                [
                    Self.record {
                        $0.route = "__other__"
                        $0.status = 299
                    },
                    Self.record {
                        $0.route = "__other__"
                        $0.status = 299
                        $0.org = "globex"
                    },
                ],
                asDeltas: true
            )
            let connection = try PostgresConnection(fixture.uri, applicationName: "tests")
            try connection.execute(
                """
                UPDATE sluice_g1.api_delta SET status = -1 WHERE status = 299;
                UPDATE sluice_g1.status_delta SET status = -1 WHERE status = 299
                """
            )
            let api = fixture.api()
            let admin = try await fixture.authorization(.admin)
            let org = try await fixture.authorization(.org("acme"))
            func ask(_ rest: String, _ token: String) async throws -> [Int?] {
                let answer = try await api.usage(
                    Self.range + "&granularity=total&metrics=requests" + rest,
                    token
                )
                return [
                    answer.rows.reduce(0) { $0 + (($1["requests"] as? Int) ?? 0) },
                    answer.object["other_requests"] as? Int,
                ]
            }
            let table: [(String, [Int?], [Int?])] = [
                ("", [4, nil], [3, nil]),
                ("&filter=route:eq:GET /a", [1, 2], [1, 1]),
                ("&filter=route:ne:GET /a", [1, 2], [1, 1]),
                ("&filter=route:in:GET /a,__other__", [1, 2], [1, 1]),
                ("&filter=route:nin:GET /a", [1, 2], [1, 1]),
                ("&filter=route:prefix:GET", [2, 2], [2, 1]),
                ("&filter=route:prefix:__", [0, 2], [0, 1]),
                ("&filter=route:eq:__other__", [2, nil], [1, nil]),
                ("&filter=route:ne:__other__", [2, 2], [2, 1]),
                ("&filter=status:eq:200", [2, 2], [2, 1]),
                ("&filter=status:ne:200", [0, 2], [0, 1]),
                ("&filter=status:prefix:2", [2, 2], [2, 1]),
                ("&filter=status:eq:__other__", [2, nil], [1, nil]),
                ("&filter=status_class:eq:2xx", [2, 2], [2, 1]),
                ("&filter=route:eq:GET /a&filter=status:eq:200", [1, 2], [1, 1]),
                ("&filter=route:eq:GET /a&filter=api:eq:orders", [1, 2], [1, 1]),
                ("&filter=route:eq:GET /a&filter=api:eq:none", [0, nil], [0, nil]),
                ("&filter=api:eq:orders", [4, nil], [3, nil]),
                ("&filter=route:eq:GET /a&filter=org:eq:globex", [0, 1], [0, nil]),
            ]
            for (rest, ofAdmin, ofOrg) in table {
                let rest = rest.replacingOccurrences(of: " ", with: "%20")
                #expect(try await ask(rest, admin) == ofAdmin, "\(rest)")
                #expect(try await ask(rest, org) == ofOrg, "\(rest) for org")
            }
            // The merged status is last before null, and shown by its name.
            let rows = try await api.usage(
                Self.range + "&granularity=total&group_by=status,status_class",
                admin
            ).rows
            #expect(rows.map { $0["status"] as? String } == [nil, "__other__"])
            #expect(rows.map { $0["status_class"] as? String } == ["2xx", "__other__"])
        }
    }

    @Test("the active generation is read, and no other")
    func generations() async throws {
        try await Fixture.with { fixture in
            try fixture.insert([Self.record()], asDeltas: true)
            let connection = try PostgresConnection(fixture.uri, applicationName: "tests")
            let api = fixture.api()
            let admin = try await fixture.authorization(.admin)
            #expect(try await api.usage(Self.range, admin).rows.count == 1)
            try connection.execute(
                """
                ALTER SCHEMA sluice_g1 RENAME TO sluice_g7;
                UPDATE sluice.generation SET state = 'retired' WHERE id = 1;
                INSERT INTO sluice.generation (id, state) VALUES (7, 'active')
                """
            )
            #expect(try await api.usage(Self.range, admin).rows.count == 1)
            try connection.execute("UPDATE sluice.generation SET state = 'retired'")
            #expect(try await api.usage(Self.range, admin).status == 503)
        }
    }

    @Test("plain endpoints answer, and everything else is a problem document")
    func endpoints() async throws {
        try await Fixture.with { fixture in
            let api = fixture.api()
            for (path, type) in [
                ("/livez", "application/json"), ("/readyz", "application/json"),
                ("/openapi.yaml", "application/yaml"),
                ("/metrics", "text/plain; version=0.0.4; charset=utf-8"),
            ] {
                let reply = await api.respond(APIRequest("GET", path))
                #expect(reply.status == 200, "\(path)")
                #expect(reply.headers.contains { $0 == ("Content-Type", type) }, "\(path)")
            }
            let metrics = Self.text(await api.respond(APIRequest("GET", "/metrics")))
            #expect(metrics.contains("query_answers_total{path=\"/livez\",status=\"2xx\"} 1"))
            for (method, path, status) in [
                ("GET", "/nothing", 404), ("GET", "/v1/usage/", 404), ("GET", "/v1", 404),
                ("GET", "/../etc/passwd", 404), ("DELETE", "/v1/usage", 405),
                ("POST", "/livez", 405), ("PUT", "/v1/meta", 405), ("TRACE", "/nothing", 404),
                ("OPTIONS", "/v1/usage", 405),
            ] {
                let reply = await api.respond(APIRequest(method, path))
                #expect(reply.status == status, "\(method) \(path)")
                let object = try Answer(reply).object
                #expect(object["status"] as? Int == status)
                #expect((object["detail"] as? String)?.isEmpty == false)
                #expect(
                    reply.headers.contains { $0 == ("Content-Type", "application/problem+json") }
                )
                if status == 405 { #expect(reply.headers.contains { $0.name == "Allow" }) }
            }
            let admin = try await fixture.authorization(.admin)
            let long = await api.respond(
                APIRequest(
                    "GET",
                    "/v1/usage",
                    query: String(repeating: "a", count: 20_000),
                    authorization: admin
                )
            )
            #expect(long.status == 414)
            let meta = await api.respond(
                APIRequest("GET", "/v1/meta", query: "x=1", authorization: admin)
            )
            #expect(meta.status == 400)
        }
    }

    @Test("POST takes JSON only, and only in the body")
    func post() async throws {
        try await Fixture.with { fixture in
            let api = fixture.api()
            let admin = try await fixture.authorization(.admin)
            func post(
                _ body: String,
                type: String? = "application/json",
                query: String = ""
            ) async -> Int {
                await api.respond(
                    APIRequest(
                        "POST",
                        "/v1/usage",
                        query: query,
                        authorization: admin,
                        contentType: type
                    ) { Array(body.utf8) }
                ).status
            }
            #expect(await post("{}") == 200)
            #expect(await post("{}", type: nil) == 200)
            #expect(await post("{}", type: "Application/JSON; charset=utf-8") == 200)
            #expect(await post("{}", type: "text/plain") == 415)
            #expect(await post("{}", type: "application/x-www-form-urlencoded") == 415)
            #expect(await post("{}", query: "from=-1h") == 400)
            #expect(await post("") == 400)
            #expect(await post(#"{"metrics":["requests"],"granularity":"total"}"#) == 200)
            #expect(await post(#"{"metrics":["nothing"]}"#) == 400)
            #expect(await post(#"{"compare":"next"}"#) == 400)
        }
    }

    @Test("a database that is away, empty or busy is answered 503 with Retry-After")
    func unavailable() async throws {
        try await Fixture.with { fixture in
            let admin = try await fixture.authorization(.admin)
            let away = fixture.api { $0.postgresURI = "postgres://nobody@127.0.0.1:1/none" }
            for path in ["/v1/usage", "/readyz"] {
                let reply = await away.respond(APIRequest("GET", path, authorization: admin))
                #expect(reply.status == 503, "\(path)")
                #expect(reply.headers.contains { $0 == ("Retry-After", "1") })
                #expect(!Self.text(reply).contains("127.0.0.1"), "no internals in problems")
            }
            let api = fixture.api { $0.answerCacheBytes = 0 }
            #expect(try await api.usage(Self.range, admin).status == 200)
            let connection = try PostgresConnection(fixture.uri, applicationName: "tests")
            try connection.execute("DROP SCHEMA sluice_g1 CASCADE")
            let reply = await api.respond(
                APIRequest("GET", "/v1/usage", query: Self.range, authorization: admin)
            )
            #expect(reply.status == 503)
            #expect(Self.text(reply).contains("sluice migrate"))
            try connection.execute("DROP SCHEMA sluice CASCADE")
            #expect(await api.respond(APIRequest("GET", "/readyz")).status == 503)
        }
    }

    @Test("a lost connection is replaced without the client noticing")
    func reconnects() async throws {
        try await Fixture.with { fixture in
            let api = fixture.api()
            let admin = try await fixture.authorization(.admin)
            #expect(try await api.usage(Self.range, admin).status == 200)
            let connection = try PostgresConnection(fixture.uri, applicationName: "tests")
            try connection.execute(
                """
                SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
                WHERE application_name = 'sluice query' AND datname = current_database()
                """
            )
            #expect(try await api.usage(Self.range, admin).status == 200)
        }
    }

    @Test("a statement that takes too long is refused with advice")
    func timeout() async throws {
        try await Fixture.with { fixture in
            let admin = try await fixture.authorization(.admin)
            let api = fixture.api {
                $0.statementTimeoutMilliseconds = 3_000
                $0.answerCacheBytes = 0
            }
            #expect(try await api.usage(Self.range, admin).status == 200)
            let connection = try PostgresConnection(fixture.uri, applicationName: "tests")
            // The lock makes the question wait as long as it is allowed to.
            try connection.execute("BEGIN; LOCK TABLE sluice_g1.total_delta")
            let reply = await api.respond(
                APIRequest("GET", "/v1/usage", query: Self.range, authorization: admin)
            )
            try connection.execute("ROLLBACK")
            #expect(reply.status == 422)
            #expect(Self.text(reply).contains("shorten the range"))
        }
    }
}
