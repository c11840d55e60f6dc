import Foundation
import Query
import Testing

/// Hostile input against a real database: never a trap, never a 5xx, never a leak of internals.
@Suite("Fuzz", .timeLimit(.minutes(15)))
struct FuzzTests {
    /// Pieces that questions are put together from, sense and nonsense alike.
    static let pieces = [
        "from=", "to=", "granularity=", "tz=", "metrics=", "group_by=", "filter=", "order=",
        "limit=", "format=", "fill=", "cursor=", "compare=", "&", "=", ",", ":", "%", "%00", "%ff",
        "+", "-24h", "-0s", "now", "2026-03-10", "2026-03-10T00:00:00Z", "9998-12-31T23:59:59Z",
        "0001-01-03", "-90d", "-9999w", "1m", "5m", "15m", "1h", "1d", "1w", "1mo", "total", "auto",
        "UTC",
        "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia", "Etc/GMT-14", "requests", "errors",
        "latency_p99", "unique_keys", "unique_clients", "latency_min", "upstream_avg", "org", "api",
        "route", "status", "status_class", "application", "key", "country", "bucket", "eq", "ne",
        "in",
        "nin", "prefix", "__other__", "404", "4", "2xx", "0", "1", "10000", "10001",
        "999999999999999999999", "json", "csv", "ndjson", "'", "\"", ";", "--", "DROP TABLE x",
        "\\",
        "$1", "é", "💥", "\u{202E}", "\u{0}", "\r\n", "<script>", "../", "NaN", "null", "[]", "{}",
    ]

    static func query(_ random: inout SeededRandom) -> String {
        (0..<Int.random(in: 0...14, using: &random)).map { _ in
            pieces.randomElement(using: &random) ?? ""
        }.joined()
    }

    /// A question that is well-formed but extreme.
    static func extreme(_ random: inout SeededRandom) -> String {
        func any(_ values: [String]) -> String { values.randomElement(using: &random) ?? "" }
        let times = [
            "0001-01-03", "1582-10-10", "1883-11-18", "1969-12-31", "-24h", "now", "2038-01-19",
            "9998-12-31", "2011-12-30", "-1s",
        ]
        return [
            "from=" + any(times), "to=" + any(times),
            "granularity=" + any(["1m", "5m", "15m", "1h", "1d", "1w", "1mo", "total", "auto"]),
            "tz="
                + any([
                    "UTC", "Africa/Monrovia", "America/St_Johns", "Europe/Amsterdam", "Etc/GMT+12",
                    "Pacific/Kiritimati", "Asia/Kathmandu", "America/Juneau",
                ]),
            "metrics=" + any(["requests", "latency_p999,unique_keys", "upstream_min,error_rate"]),
            "group_by=" + any(["", "org,api", "status,status_class", "key", "country"]),
            "filter="
                + any([
                    "api:eq:", "api:prefix:", "status:prefix:", "status:in:,,,",
                    "route:nin:__other__",
                    "status:eq:999999999",
                ]),
            "limit=" + any(["1", "10000"]), "format=" + any(["json", "csv", "ndjson"]),
        ].joined(separator: "&")
    }

    /// Questions that must be answered, whatever was asked before.
    static let answered = [
        "", "from=-1h", "granularity=total", "granularity=1d&tz=Europe/Berlin&from=-30d",
        "from=1883-11-18&granularity=1mo&tz=America/St_Johns",
        "from=0001-01-03&to=9998-12-31&granularity=total&metrics=unique_keys,latency_p999",
        "from=2011-12-30&to=2012-01-02&granularity=1h&tz=Pacific/Apia",
        "group_by=org,api,version,route,method,status,outcome,region&limit=10000",
        "group_by=key,application,plan&granularity=15m&metrics=requests,unique_clients",
        "filter=api:eq:&filter=route:prefix:GET&filter=status:nin:404,503",
        "filter=route:eq:%F0%9F%92%A5%27%3B--&format=csv", "format=ndjson&order=-requests,bucket",
        "group_by=status,status_class&granularity=total&order=status&limit=1", "fill=none",
    ]

    /// Questions that must be refused as wrong, whatever was asked before.
    static let refused = [
        "from=now&to=now", "granularity=2h", "tz=Mars/Olympus", "metrics=", "metrics=happiness",
        "group_by=api,api", "group_by=host", "filter=api", "filter=status:eq:x", "order=colour",
        "limit=0", "format=xml", "frm=-1h", "from=%00", "tz=%ff", "tz=UTC&tz=UTC",
        "from=1990-01-01&granularity=1m",
    ]

    @Test("no query string and no body is answered with 5xx")
    func hostile() async throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        Attachment.record("\(seed)", named: "seed")
        try await Fixture.with { fixture in
            let model = RecordModel(
                seed: seed,
                count: 200,
                from: 1_773_000_000,
                to: 1_773_144_000
            )
            try fixture.insert(model.records, asDeltas: true)
            let api = fixture.api()
            let tokens = [
                try await fixture.authorization(.admin),
                try await fixture.authorization(.application(org: "acme", application: "shop")),
            ]
            var random = SeededRandom(seed: seed)
            for round in 0..<800 {
                let isExtreme = round % 4 == 0
                let query = isExtreme ? Self.extreme(&random) : Self.query(&random)
                let token = tokens.randomElement(using: &random)
                var request = APIRequest("GET", "/v1/usage", query: query, authorization: token)
                if round % 5 == 1 {
                    let body = Self.body(query, &random)
                    request = APIRequest("POST", "/v1/usage", authorization: token) { body }
                }
                let reply = await api.respond(request)
                let text = String(decoding: reply.body, as: UTF8.self)
                #expect(reply.status < 500, "seed \(seed): \(query) \(text)")
                if reply.status != 200 {
                    for word in ["SELECT", "sluice_g1", "PQ", "SQLSTATE"] {
                        #expect(!text.contains(word), "\(query) leaks \(word)")
                    }
                }
                // What makes sense is still understood, and what makes none still refused.
                for (known, status) in [(Self.answered, 200), (Self.refused, 400)] {
                    let query = known[round % known.count]
                    let reply = await api.respond(
                        APIRequest("GET", "/v1/usage", query: query, authorization: tokens[0])
                    )
                    #expect(reply.status == status, "seed \(seed), round \(round): \(query)")
                }
            }
        }
    }

    /// A JSON body made of the pieces of a query, sometimes broken.
    private static func body(_ query: String, _ random: inout SeededRandom) -> [UInt8] {
        var object: [String: Any] = [:]
        for pair in query.split(separator: "&") {
            let halves = pair.split(separator: "=", maxSplits: 1).map(String.init)
            let value = halves.count > 1 ? halves[1] : ""
            switch Int.random(in: 0..<6, using: &random) {
            case 0: object[halves.first ?? ""] = value.split(separator: ",").map(String.init)
            case 1: object[halves.first ?? ""] = Int(value) ?? -1
            case 2: object[halves.first ?? ""] = [[value]]
            default: object[halves.first ?? ""] = value
            }
        }
        var bytes = Array((try? JSONSerialization.data(withJSONObject: object)) ?? Data())
        if Int.random(in: 0..<4, using: &random) == 0, !bytes.isEmpty {
            bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(
                in: 0...255,
                using: &random
            )
        }
        return bytes
    }

    @Test("parsing alone survives any bytes")
    func parsing() {
        let seed = UInt64.random(in: 0...UInt64.max)
        Attachment.record("\(seed)", named: "seed")
        var random = SeededRandom(seed: seed)
        for _ in 0..<5_000 {
            let bytes = (0..<Int.random(in: 0...60, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
            let text = String(decoding: bytes, as: UTF8.self)
            _ = TimeExpression(text)
            _ = try? Filter(text)
            _ = try? Filter("api:in:" + text)
            _ = try? UsageRequest(UsageParameters(query: text), now: Fixture.now)
            _ = try? UsageParameters(json: bytes)
            let mixed = Self.query(&random)
            _ = try? Planner().plan(UsageRequest(UsageParameters(query: mixed), now: Fixture.now))
        }
    }
}
