import Query
import Rollups
import Testing

/// Which rollup and which tiers answer a question.
@Suite("Planner")
struct PlannerTests {
    static func plan(_ query: String) throws -> Plan {
        try Planner().plan(UsageRequestTests.parse(query))
    }

    /// A plan in one line: rollup, granularity, range, and the spans by tier.
    static func describe(_ query: String) throws -> String {
        let plan = try plan(query)
        let spans = plan.spans.map { span in
            "\(span.tier.rawValue) \(clock(span.from))–\(clock(span.to))"
        }
        return "\(plan.rollup.name) \(plan.granularity.rawValue): "
            + spans.joined(separator: ", ")
    }

    private static func clock(_ microseconds: Int64) -> String {
        let text = CivilTime.text(local: microseconds / 1_000_000, offset: 0, isUTC: true)
        return String(text.dropFirst(5).dropLast(4))
    }

    static let planTable: [(String, String)] = [
        // Ranges round outward to the minute; the finest tier fills ragged ends only.
        (
            "from=2026-01-01T00:00:30Z&to=2026-01-01T00:05:01Z&granularity=1m&group_by=method",
            "api 1m: 1m 01-01T00:00–01-01T00:06"
        ),
        (
            "from=2026-01-01T00:00:30Z&to=2026-01-01T00:05:01Z&granularity=total&group_by=method",
            "api total: 1m 01-01T00:00–01-01T00:06"
        ),
        (
            "from=2026-01-01&to=2026-01-02&granularity=1h&group_by=method",
            "api 1h: 15m 01-01T00:00–01-02T00:00"
        ),
        (
            "from=2026-01-01&to=2026-01-04&granularity=1d&group_by=method",
            "api 1d: 1d 01-01T00:00–01-04T00:00"
        ),
        (
            "from=2026-01-01T10:07:00Z&to=2026-01-04T20:20:00Z&granularity=1d&group_by=method",
            "api 1d: 1m 01-01T10:07–01-01T10:15, 15m 01-01T10:15–01-02T00:00, "
                + "1d 01-02T00:00–01-04T00:00, 15m 01-04T00:00–01-04T20:15, "
                + "1m 01-04T20:15–01-04T20:20"
        ),
        (
            "from=2026-01-01T10:07:00Z&to=2026-01-04T20:20:00Z&granularity=total"
                + "&tz=Asia/Kathmandu&group_by=method",
            "api total: 1m 01-01T10:07–01-01T10:15, 15m 01-01T10:15–01-02T00:00, "
                + "1d 01-02T00:00–01-04T00:00, 15m 01-04T00:00–01-04T20:15, "
                + "1m 01-04T20:15–01-04T20:20"
        ),
        (
            "from=2026-01-01&to=2026-01-08&granularity=1d&tz=Europe/Berlin&group_by=method",
            "api 1d: 15m 12-31T23:00–01-07T23:00"
        ),
        (
            "from=2026-01-01&to=2026-01-08&granularity=1h&tz=Asia/Kathmandu&group_by=method",
            "api 1h: 15m 12-31T18:15–01-07T18:15"
        ),
        (
            "from=2026-01-01&to=2026-02-01&granularity=1mo&group_by=method",
            "api 1mo: 1d 01-01T00:00–02-01T00:00"
        ),
        (
            "from=2025-12-29&to=2026-01-12&granularity=1w&group_by=method",
            "api 1w: 1d 12-29T00:00–01-12T00:00"
        ),
        (
            "from=2026-01-01T00:00:00Z&to=2026-01-01T01:00:00Z&granularity=5m&group_by=method",
            "api 5m: 1m 01-01T00:00–01-01T01:00"
        ),
        // Rollup `consumer` has no minutes: ranges round outward to the quarter of an hour.
        (
            "from=2026-01-01T00:07:00Z&to=2026-01-01T00:53:00Z&group_by=plan&granularity=15m",
            "consumer 15m: 15m 01-01T00:00–01-01T01:00"
        ),
        (
            "from=2026-01-01T00:07:00Z&to=2026-01-03T00:53:00Z&filter=key:eq:k&granularity=1d",
            "consumer 1d: 1d 01-01T00:00–01-03T00:00, 15m 01-03T00:00–01-03T01:00"
        ),
        (
            "from=2026-01-01&to=2026-01-02&group_by=status_class,plan&granularity=total",
            "consumer total: 1d 01-01T00:00–01-02T00:00"
        ),
        // The smallest rollup: without the route one of the small ones will do.
        (
            "from=2026-01-01&to=2026-01-04&granularity=1d&group_by=api",
            "summary 1d: 1d 01-01T00:00–01-04T00:00"
        ),
        (
            "from=2026-01-01&to=2026-01-04&granularity=1h&filter=org:eq:acme",
            "total 1h: 1h 01-01T00:00–01-04T00:00"
        ),
        (
            "from=2026-01-01&to=2026-01-04&granularity=1h&group_by=route&filter=api:eq:a",
            "route 1h: 1h 01-01T00:00–01-04T00:00"
        ),
        (
            "from=2026-01-01&to=2026-01-04&granularity=1h&group_by=status_class,outcome",
            "status 1h: 1h 01-01T00:00–01-04T00:00"
        ),
        // Ragged ends come from finer tiers.
        (
            "from=2026-01-01T00:07:00Z&to=2026-01-04T00:00:00Z&granularity=total",
            "total total: 1m 01-01T00:07–01-01T00:15, 15m 01-01T00:15–01-01T01:00, "
                + "1h 01-01T01:00–01-02T00:00, 1d 01-02T00:00–01-04T00:00"
        ),
        (
            "from=2026-01-01T00:00:00Z&to=2026-01-01T05:00:00Z",
            "total 1m: 1m 01-01T00:00–01-01T05:00"
        ),
        ("from=2026-01-01&to=2026-01-13", "total 1h: 1h 01-01T00:00–01-13T00:00"),
        // Local days of whole-hour zones come from hours; Lord Howe is half an hour off in summer.
        (
            "from=2026-01-01&to=2026-04-01&granularity=1d&tz=Europe/Berlin&group_by=api",
            "summary 1d: 1h 12-31T23:00–03-31T22:00"
        ),
        (
            "from=2026-05-01&to=2026-06-01&granularity=1d&tz=Australia/Lord_Howe",
            "total 1d: 15m 04-30T13:30–05-31T13:30"
        ),
        (
            "from=2026-01-01&to=2026-01-04&granularity=1d&group_by=user_agent",
            "client_agent 1d: 1d 01-01T00:00–01-04T00:00"
        ),
        (
            "from=2026-01-01&to=2026-01-02&granularity=5m&filter=outcome:eq:ok&group_by=upstream",
            "upstream 5m: 1m 01-01T00:00–01-02T00:00"
        ),
        (
            "from=2026-01-01T00:10:00Z&to=2026-01-01T12:00:00Z&granularity=total&group_by=country",
            "client_geo total: 15m 01-01T00:00–01-01T12:00"
        ),
        (
            "from=2026-01-01&to=2026-01-02&granularity=1h&group_by=platform&filter=api:eq:a",
            "client_geo 1h: 15m 01-01T00:00–01-02T00:00"
        ),
        // The class of a status follows from the status.
        (
            "from=2026-01-01&to=2026-01-02&group_by=status_class,method&granularity=total",
            "api total: 1d 01-01T00:00–01-02T00:00"
        ),
        (
            "from=2026-01-01&to=2026-01-02&metrics=unique_keys&granularity=total&group_by=method",
            "api total: 1d 01-01T00:00–01-02T00:00"
        ),
        (
            "from=2026-01-01&to=2026-01-02&metrics=unique_keys&group_by=plan&granularity=total",
            "consumer total: 1d 01-01T00:00–01-02T00:00"
        ),
        // auto: the finest with at most 300 buckets.
        (
            "from=2026-01-01T00:00:00Z&to=2026-01-01T05:00:00Z&group_by=method",
            "api 1m: 1m 01-01T00:00–01-01T05:00"
        ),
        (
            "from=2026-01-01T00:00:00Z&to=2026-01-01T05:01:00Z&group_by=method",
            "api 5m: 1m 01-01T00:00–01-01T05:01"
        ),
        (
            "from=2026-01-01T00:00:00Z&to=2026-01-02T02:00:00Z&group_by=method",
            "api 15m: 15m 01-01T00:00–01-02T02:00"
        ),
        ("from=2026-01-01&to=2026-01-13&group_by=method", "api 1h: 15m 01-01T00:00–01-13T00:00"),
        ("from=2026-01-01&to=2026-01-14&group_by=method", "api 1d: 1d 01-01T00:00–01-14T00:00"),
        ("from=2026-01-01&to=2027-01-01&group_by=method", "api 1w: 1d 01-01T00:00–01-01T00:00"),
        ("from=2020-01-01&to=2026-01-01&group_by=method", "api 1mo: 1d 01-01T00:00–01-01T00:00"),
        ("from=1970-01-01&to=2026-01-01&group_by=method", "api total: 1d 01-01T00:00–01-01T00:00"),
        (
            "from=2026-01-01T00:00:00Z&to=2026-01-01T01:00:00Z&group_by=plan",
            "consumer 15m: 15m 01-01T00:00–01-01T01:00"
        ),
    ]

    @Test("the cheapest exact way is taken", arguments: planTable)
    func plans(_ query: String, _ expected: String) throws {
        #expect(try Self.describe(query) == expected, "\(query)")
    }

    @Test("spans follow one another over the whole range, and no boundary cuts a tier's bucket")
    func spans() throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        Attachment.record("\(seed)", named: "seed")
        var random = SeededRandom(seed: seed)
        let zones = [
            "UTC", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia",
            "America/Havana", "Asia/Beirut",
        ]
        for _ in 0..<2_000 {
            let from = Int64.random(in: 1_300_000_000...1_900_000_000, using: &random)
            let length = Int64(2).power(Int.random(in: 1...24, using: &random))
            let to = from + Int64.random(in: 1...length, using: &random)
            var granularity = Granularity.allCases.randomElement(using: &random) ?? .total
            if length > 3_000_000 { granularity = .day }
            let zone = zones.randomElement(using: &random) ?? "UTC"
            let group =
                Bool.random(using: &random) && granularity.typicalSeconds >= 900 ? "key" : "api"
            let query =
                "from=\(Self.text(from))&to=\(Self.text(to))&tz=\(zone)"
                + "&granularity=\(granularity.rawValue)&group_by=\(group)"
            let plan = try Self.plan(query)
            #expect(plan.from <= from * 1_000_000 && plan.to >= to * 1_000_000)
            #expect(plan.spans.first?.from == plan.from && plan.spans.last?.to == plan.to)
            for (left, right) in zip(plan.spans, plan.spans.dropFirst()) {
                #expect(left.to == right.from, "\(query) seed \(seed)")
            }
            for span in plan.spans {
                let step = span.tier.microseconds
                #expect(span.from % step == 0 && span.to % step == 0, "\(query)")
                for start in plan.buckets.starts.dropFirst()
                where start * 1_000_000 > span.from && start * 1_000_000 < span.to {
                    if start * 1_000_000 % step != 0 { Issue.record("\(query) cuts \(start)") }
                }
            }
        }
    }

    @Test("a rollup that is not complete over the range is only taken when there is no other")
    func incomplete() throws {
        // 2026-01-02T00:00:00Z and a day later.
        let since: Int64 = 1_767_312_000_000_000
        var planner = Planner()
        planner.completeSince = ["client_agent": since, "upstream": since + 86_400_000_000]
        func rollup(_ query: String) throws -> String {
            try planner.plan(UsageRequestTests.parse(query)).rollup.name
        }
        func from(_ day: Int) -> String { "from=2026-01-0\(day)&to=2026-01-05&granularity=1h" }
        for name in ["total", "summary", "status", "route"] {
            planner.completeSince[name] = since + 86_400_000_000
        }
        #expect(try rollup(from(3)) == "total")
        #expect(try rollup(from(3) + "&group_by=api") == "summary")
        #expect(try rollup(from(2)) == "client_agent")
        #expect(try rollup(from(1)) == "client_geo")
        #expect(try rollup(from(2) + "&group_by=outcome") == "api")
        #expect(try rollup(from(3) + "&group_by=outcome") == "status")
        #expect(try rollup(from(1) + "&group_by=upstream") == "upstream")
        #expect(try rollup(from(1) + "&group_by=user_agent") == "client_agent")
    }

    private static func text(_ seconds: Int64) -> String {
        CivilTime.text(local: seconds, offset: 0, isUTC: true)
    }

    static let refusalTable: [(String, [String])] = [
        (
            "group_by=country,route",
            ["country", "rollups:", "by-country-route", "dimensions: [country, route]"]
        ),
        ("group_by=method,application", ["dimensions: [method, application]"]),
        ("group_by=status&filter=key:eq:x", ["dimensions: [status, key]"]),
        ("group_by=user_agent,upstream,platform", ["[user_agent, upstream, platform]"]),
        ("group_by=region&metrics=unique_keys&filter=plan:eq:x", ["[region, plan, key]"]),
        ("group_by=key&granularity=1m", ["15m", "tier 1m", "[key]"]),
        ("filter=application:eq:x&granularity=5m", ["15m", "[application]"]),
    ]

    @Test("a refusal names the definition that would cover", arguments: refusalTable)
    func refusals(_ query: String, _ words: [String]) {
        let problem = #expect(throws: Problem.self) { try Self.plan(query) }
        #expect(problem?.kind == .notCovered)
        for word in words {
            #expect(problem?.detail.contains(word) == true, "\(problem?.detail ?? "")")
        }
    }

    @Test("a question with too many buckets is refused with advice")
    func tooMany() {
        let problem = #expect(throws: Problem.self) {
            try Self.plan("from=1990-01-01&to=2026-01-01&granularity=1m")
        }
        #expect(problem?.kind == .tooManyBuckets)
        #expect(problem?.kind.status == 400)
        #expect(problem?.detail.contains("coarser") == true)
    }
}

extension Int64 {
    func power(_ exponent: Int) -> Int64 {
        (0..<exponent).reduce(1) { product, _ in product * self }
    }
}
