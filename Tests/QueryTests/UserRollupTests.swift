import Foundation
import Query
import Records
import Rollups
import Testing

/// Questions that rollups of users answer, and tiers that are kept for a limited time.
@Suite("User-defined rollups in questions", .timeLimit(.minutes(10)))
struct UserRollupTests {
    private static let byTag = RollupDefinition(
        user: "by-tag",
        dimensions: [.org, .api, .tag("tenant"), .status]
    )
    private static let routes = RollupDefinition(
        user: "routes",
        dimensions: [.api, .version, .route]
    )

    private static func describe(_ planner: Planner, _ query: String) throws -> String {
        let plan = try planner.plan(UsageRequestTests.parse(query))
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

    @Test(
        "the smallest rollup that covers the question is taken",
        arguments: [
            ("group_by=tag.tenant", "by-tag"), ("group_by=api&filter=tag.tenant:eq:x", "by-tag"),
            ("group_by=tag.tenant,status_class", "by-tag"), ("group_by=api", "summary"),
            ("group_by=route,version", "routes"), ("group_by=route,status", "api"),
            ("metrics=unique_keys&group_by=tag.tenant", "by-tag"),
        ]
    )
    func smallest(_ query: String, _ expected: String) throws {
        let all = RollupDefinition.sorted(RollupDefinition.builtIn + [Self.byTag, Self.routes])
        let planner = Planner(rollups: all)
        let range = "from=2026-01-01&to=2026-01-02&"
        #expect(try planner.plan(UsageRequestTests.parse(range + query)).rollup.name == expected)
    }

    @Test("a refusal names the definition with the tag")
    func refusal() throws {
        let problem = #expect(throws: Problem.self) {
            try Planner().plan(UsageRequestTests.parse("group_by=tag.Team.x&filter=plan:eq:y"))
        }
        let detail = try #require(problem?.detail)
        #expect(detail.contains("dimensions: [tag.Team.x, plan]"))
        // What it names can be taken as it is.
        #expect(detail.contains("name: by-tag-team-x-plan,"))
        let named = RollupDefinition.read(
            user: "by-tag-team-x-plan",
            dimensions: ["tag.Team.x", "plan"],
            tiers: []
        )
        #expect(named.problems.isEmpty)
    }

    /// Minutes are kept since 10 January, quarters since the first, days for ever.
    static let keptTable: [(String, String)] = [
        (
            "from=2026-01-12T00:07:00Z&to=2026-01-12T00:20:00Z&granularity=1m",
            "api 1m: 1m 01-12T00:07–01-12T00:20"
        ),
        // Rounded outward to the quarter at the end where minutes are gone.
        (
            "from=2026-01-05T00:07:00Z&to=2026-01-12T00:20:00Z&granularity=1d",
            "api 1d: 1d 01-05T00:00–01-12T00:00, 15m 01-12T00:00–01-12T00:15, "
                + "1m 01-12T00:15–01-12T00:20"
        ),
        (
            "from=2026-01-05T00:07:00Z&to=2026-01-05T01:00:00Z",
            "api 15m: 15m 01-05T00:00–01-05T01:00"
        ),
        (
            "from=2025-12-20T05:00:00Z&to=2025-12-22&granularity=1d",
            "api 1d: 1d 12-20T00:00–12-22T00:00"
        ),
        (
            "from=2025-12-20T05:00:00Z&to=2026-01-12T00:20:00Z&granularity=total&tz=Asia/Tokyo",
            "api total: 1d 12-20T00:00–01-12T00:00, 15m 01-12T00:00–01-12T00:15, "
                + "1m 01-12T00:15–01-12T00:20"
        ),
    ]

    private static let kept: Planner = {
        var planner = Planner(rollups: [.api])
        planner.horizons = [
            "api": [.minute: 1_768_003_200_000_000, .quarterHour: 1_767_225_600_000_000]
        ]
        return planner
    }()

    @Test("answers come from the tiers that are kept", arguments: keptTable)
    func kept(_ query: String, _ expected: String) throws {
        #expect(try Self.describe(Self.kept, query) == expected)
    }

    @Test(
        "what no kept tier answers is refused, with since when each is kept",
        arguments: [
            "from=2026-01-05&to=2026-01-12&granularity=1m",
            "from=2025-12-20&to=2026-01-12&granularity=1h",
            "from=2025-12-20&to=2026-01-12&granularity=1d&tz=Europe/Berlin",
        ]
    )
    func dropped(_ query: String) throws {
        let problem = #expect(throws: Problem.self) { try Self.describe(Self.kept, query) }
        #expect(problem?.kind == .notCovered)
        let detail = try #require(problem?.detail)
        #expect(detail.contains("1m since 2026-01-10T00:00:00Z"), "\(detail)")
        #expect(detail.contains("15m since 2026-01-01T00:00:00Z"), "\(detail)")
    }

    @Test("questions about tags get the answers that the records themselves give")
    func endToEnd() async throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        Attachment.record("\(seed)", named: "seed")
        var model = RecordModel(
            seed: seed,
            count: 600,
            from: UsageEndToEndTests.from,
            to: UsageEndToEndTests.to
        )
        let tenants = ["", "t1", "t2", "team x"]
        for index in model.records.indices {
            let tenant = tenants[index % 4]
            guard !tenant.isEmpty else { continue }
            model.records[index].tags = [
                RecordTag(key: "other", value: "x"), RecordTag(key: "tenant", value: tenant),
                RecordTag(key: "tenant", value: "second"),
            ]
        }
        try await Fixture.with { [model] fixture in
            try fixture.add(Self.byTag)
            try fixture.insert(
                Array(model.records.prefix(400)),
                asDeltas: false,
                into: [Self.byTag]
            )
            try fixture.insert(
                Array(model.records.dropFirst(400)),
                asDeltas: true,
                into: [Self.byTag]
            )
            let api = fixture.api()
            let admin = try await fixture.authorization(.admin)
            let range = "from=2026-03-27T00:00:00Z&to=2026-03-31T00:00:00Z&granularity=1d&"
            for rest in [
                "group_by=tag.tenant", "group_by=api,tag.tenant&metrics=requests,latency_p99",
                "group_by=status_class&filter=tag.tenant:eq:t1",
                "group_by=tag.tenant,status&filter=tag.tenant:ne:t1",
                "group_by=tag.tenant&filter=tag.tenant:in:t1,team%20x",
                "filter=tag.tenant:prefix:t&metrics=unique_clients",
                "group_by=api&filter=tag.tenant:eq:",
            ] {
                try await UsageEndToEndTests.compare(
                    range + rest,
                    model,
                    api,
                    admin,
                    "seed \(seed): \(rest)",
                    planner: Planner(
                        rollups: RollupDefinition.sorted(RollupDefinition.builtIn + [Self.byTag])
                    )
                )
            }
            let meta = try Answer(
                await api.respond(APIRequest("GET", "/v1/meta", authorization: admin))
            )
            let dimensions = try #require(meta.object["dimensions"] as? [String])
            #expect(dimensions.last == "tag.tenant")
            let rollups = try #require(meta.object["rollups"] as? [[String: Any]])
            let own = try #require(rollups.first { $0["name"] as? String == "by-tag" })
            #expect(own["built_in"] as? Bool == false)
            #expect(own["tiers"] as? [String] == ["1m", "15m", "1d"])
            // Applications have no share in a rollup without their dimension.
            let scope = TokenScope.application(org: "acme", application: "shop")
            let refused = try await api.usage(
                range + "group_by=tag.tenant",
                try await fixture.authorization(scope)
            )
            #expect(refused.status == 400)
        }
    }
}
