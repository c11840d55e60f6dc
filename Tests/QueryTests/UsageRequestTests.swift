import Query
import Rollups
import Testing

/// Questions as query strings and JSON bodies, and what they mean.
@Suite("Usage requests")
struct UsageRequestTests {
    /// 2026-03-10T12:00:30Z.
    static let now: Int64 = 1_773_144_030_000_000

    static func parse(_ query: String) throws(Problem) -> UsageRequest {
        try UsageRequest(UsageParameters(query: query), now: now)
    }

    static func parse(json: String) throws(Problem) -> UsageRequest {
        try UsageRequest(UsageParameters(json: Array(json.utf8)), now: now)
    }

    /// What a query string must come to.
    static func check(
        _ query: String,
        _ field: (UsageRequest) -> some Equatable & Sendable,
        is expected: some Equatable & Sendable
    ) throws {
        let value = field(try parse(query))
        #expect("\(value)" == "\(expected)", "\(query)")
    }

    @Test("a question without parameters has the contract's defaults")
    func defaults() throws {
        let request = try Self.parse("")
        #expect(request.from == Self.now - 86_400_000_000)
        #expect(request.to == Self.now)
        #expect(request.granularity == nil)
        #expect(request.zoneName == "UTC")
        #expect(request.metrics == [.requests, .errors])
        #expect(request.groupBy == [])
        #expect(request.filters == [])
        #expect(request.order == [])
        #expect(request.limit == 1000)
        #expect(request.format == .json)
    }

    @Test("every granularity, metric, dimension and format is read by its name")
    func names() throws {
        for granularity in Granularity.allCases {
            let read = try Self.parse("granularity=\(granularity.rawValue)").granularity
            #expect(read == granularity)
        }
        #expect(try Self.parse("granularity=auto").granularity == nil)
        for metric in Metric.allCases {
            #expect(try Self.parse("metrics=\(metric.rawValue)").metrics == [metric])
        }
        let contract = """
            requests errors client_errors server_errors error_rate aborted bytes_in bytes_out \
            latency_avg latency_min latency_max latency_p50 latency_p90 latency_p95 latency_p99 \
            latency_p999 upstream_p50 upstream_p90 upstream_p95 upstream_p99 upstream_p999 \
            upstream_avg upstream_min upstream_max unique_keys unique_clients
            """.split(separator: " ")
        #expect(Set(contract.map(String.init)) == Set(Metric.allCases.map(\.rawValue)))
        for dimension in Dimension.allCases {
            #expect(try Self.parse("group_by=\(dimension.name)").groupBy == [dimension])
            #expect(
                try Self.parse("filter=\(dimension.name):eq:").filters
                    == [Filter(dimension, .equal, [""])]
            )
        }
        for format in UsageRequest.Format.allCases {
            #expect(try Self.parse("format=\(format.rawValue)").format == format)
        }
    }

    @Test("lists keep their order, and metrics lose repetitions")
    func lists() throws {
        try Self.check(
            "metrics=errors,requests,errors",
            { $0.metrics.map(\.rawValue) },
            is: ["errors", "requests"]
        )
        try Self.check(
            "group_by=route,api",
            { $0.groupBy.map(\.name) },
            is: ["route", "api"]
        )
        try Self.check("group_by=", { $0.groupBy.count }, is: 0)
        try Self.check("limit=1", { $0.limit ?? 0 }, is: 1)
        try Self.check("limit=10000", { $0.limit ?? 0 }, is: 10_000)
        try Self.check("limit=0010", { $0.limit ?? 0 }, is: 10)
        try Self.check("fill=none", { $0.limit ?? 0 }, is: 1000)
    }

    @Test("times are relative to now, or local to tz")
    func times() throws {
        try Self.check("from=-1h", { $0.from }, is: Self.now - 3_600_000_000)
        try Self.check("from=-2h&to=-1h", { $0.to }, is: Self.now - 3_600_000_000)
        try Self.check(
            "from=2026-03-10T00:00:00%2B01:00",
            { $0.from },
            is: 1_773_097_200_000_000
        )
        try Self.check("from=2026-03-10T00:00:00+01:00", { $0.from }, is: 1_773_097_200_000_000)
        try Self.check("from=2026-03-10", { $0.from }, is: 1_773_100_800_000_000)
        try Self.check(
            "from=2026-03-10&tz=Europe/Berlin",
            { $0.from },
            is: 1_773_097_200_000_000
        )
        // The date that Samoa skipped starts when the next one does.
        try Self.check(
            "from=2011-12-30&tz=Pacific/Apia",
            { $0.from },
            is: 1_325_239_200_000_000
        )
        try Self.check(
            "from=2011-12-31&tz=Pacific/Apia",
            { $0.from },
            is: 1_325_239_200_000_000
        )
    }

    @Test("order names columns of the answer, descending after a minus")
    func order() throws {
        let request = try Self.parse(
            "metrics=requests,errors&group_by=api,route&order=-errors,route,-bucket,errors"
        )
        #expect(
            request.order == [
                .init(.metric(1), isDescending: true),
                .init(.group(1), isDescending: false),
                .init(.bucket, isDescending: true),
            ]
        )
    }

    /// Filter text and its meaning.
    static let filterTable: [(String, Filter)] = [
        ("api:eq:orders", Filter(.api, .equal, ["orders"])),
        ("api:eq:", Filter(.api, .equal, [""])),
        ("api:ne:", Filter(.api, .notEqual, [""])),
        ("route:eq:GET /a:b/{id}", Filter(.route, .equal, ["GET /a:b/{id}"])),
        ("route:eq:a,b", Filter(.route, .equal, ["a,b"])),
        ("route:eq:a\\,b", Filter(.route, .equal, ["a\\,b"])),
        ("route:prefix:GET /", Filter(.route, .prefix, ["GET /"])),
        ("route:prefix:", Filter(.route, .prefix, [""])),
        ("api:in:a", Filter(.api, .anyOf, ["a"])),
        ("api:in:a,b,c", Filter(.api, .anyOf, ["a", "b", "c"])),
        ("api:in:", Filter(.api, .anyOf, [""])),
        ("api:in:,", Filter(.api, .anyOf, ["", ""])),
        ("api:in:a,,b", Filter(.api, .anyOf, ["a", "", "b"])),
        ("api:in:a\\,b,c", Filter(.api, .anyOf, ["a,b", "c"])),
        ("api:in:a\\\\,b", Filter(.api, .anyOf, ["a\\", "b"])),
        ("api:in:\\a", Filter(.api, .anyOf, ["a"])),
        ("api:nin:x:y,z", Filter(.api, .noneOf, ["x:y", "z"])),
        ("api:eq:__other__", Filter(.api, .equal, ["__other__"])),
        ("status:eq:404", Filter(.status, .equal, ["404"])),
        ("status:in:404,,500", Filter(.status, .anyOf, ["404", "", "500"])),
        ("status:prefix:4", Filter(.status, .prefix, ["4"])),
        ("status:eq:", Filter(.status, .equal, [""])),
        ("status:eq:__other__", Filter(.status, .equal, ["__other__"])),
        ("status_class:eq:5xx", Filter(.statusClass, .equal, ["5xx"])),
        ("user_agent:eq:Chrome", Filter(.userAgent, .equal, ["Chrome"])),
        ("api:eq:ünïcödé ✓", Filter(.api, .equal, ["ünïcödé ✓"])),
    ]

    @Test("filters split at their first two colons", arguments: filterTable)
    func filters(_ text: String, _ expected: Filter) throws {
        #expect(try Filter(text) == expected)
    }

    /// Query strings that must be refused, with the parameter named and the kind of problem.
    static let refusedTable: [(String, String?, Problem.Kind)] = [
        ("frm=-1h", "frm", .unknownParameter),
        ("From=-1h", "From", .unknownParameter),
        ("=1", "", .unknownParameter),
        ("granularity", "granularity", .invalidParameter),
        ("compare=next", "compare", .invalidParameter),
        ("compare=7d", "compare", .invalidParameter),
        ("compare=-0d", "compare", .invalidParameter),
        ("cursor=abc", "cursor", .invalidParameter),
        ("cursor=", "cursor", .invalidParameter),
        ("fill=one", "fill", .invalidParameter),
        ("fill=", "fill", .invalidParameter),
        ("limit=none", "limit", .invalidParameter),
        ("limit=none&format=csv&order=-requests", "limit", .invalidParameter),
        ("from=", "from", .invalidParameter),
        ("from=tomorrow", "from", .invalidParameter),
        ("to=never", "to", .invalidParameter),
        ("from=now", "to", .invalidParameter),
        ("from=-1h&to=-1h", "to", .invalidParameter),
        ("from=-1h&to=-2h", "to", .invalidParameter),
        ("from=0001-01-01", "from", .invalidParameter),
        ("to=9999-12-31", "to", .invalidParameter),
        ("from=-99999999d", "from", .invalidParameter),
        ("from=-1h&from=-2h", "from", .invalidParameter),
        ("granularity=2h", "granularity", .invalidParameter),
        ("granularity=1H", "granularity", .invalidParameter),
        ("granularity=", "granularity", .invalidParameter),
        ("tz=", "tz", .invalidParameter),
        ("tz=Mars/Base", "tz", .invalidParameter),
        ("tz=CEST", "tz", .invalidParameter),
        ("tz=BST", "tz", .invalidParameter),
        ("tz=GMT%2B5", "tz", .invalidParameter),
        ("tz=%2B05:00", "tz", .invalidParameter),
        ("tz=europe/berlin", "tz", .invalidParameter),
        ("tz=../../etc/passwd", "tz", .invalidParameter),
        ("tz=\(String(repeating: "Europe/", count: 100))", "tz", .invalidParameter),
        ("metrics=", "metrics", .invalidParameter),
        ("metrics=request", "metrics", .invalidParameter),
        ("metrics=requests,", "metrics", .invalidParameter),
        ("metrics=requests,%20errors", "metrics", .invalidParameter),
        ("metrics=latency_p42", "metrics", .invalidParameter),
        ("group_by=host", "group_by", .invalidParameter),
        ("group_by=api,,route", "group_by", .invalidParameter),
        ("group_by=api;drop", "group_by", .invalidParameter),
        ("group_by=route,api,route", "group_by", .invalidParameter),
        ("group_by=api,api", "group_by", .invalidParameter),
        ("filter=", "filter", .invalidParameter),
        ("filter=api", "filter", .invalidParameter),
        ("filter=api:eq", "filter", .invalidParameter),
        ("filter=api:is:x", "filter", .invalidParameter),
        ("filter=host:eq:x", "filter", .invalidParameter),
        ("filter=:eq:x", "filter", .invalidParameter),
        ("filter=api:in:a\\", "filter", .invalidParameter),
        ("filter=status:eq:abc", "filter", .invalidParameter),
        ("filter=status:eq:-1", "filter", .invalidParameter),
        ("filter=status:prefix:4x", "filter", .invalidParameter),
        ("filter=status:in:1,x", "filter", .invalidParameter),
        ("filter=status:eq:99999999999999999999", "filter", .invalidParameter),
        ("order=", "order", .invalidParameter),
        ("order=requests,", "order", .invalidParameter),
        ("order=latency_p99", "order", .invalidParameter),
        ("order=api", "order", .invalidParameter),
        ("order=--requests", "order", .invalidParameter),
        ("order=requests:desc", "order", .invalidParameter),
        ("limit=", "limit", .invalidParameter),
        ("limit=0", "limit", .invalidParameter),
        ("limit=-1", "limit", .invalidParameter),
        ("limit=10001", "limit", .invalidParameter),
        ("limit=1e3", "limit", .invalidParameter),
        ("limit=%2B5", "limit", .invalidParameter),
        ("limit=99999999999999999999", "limit", .invalidParameter),
        ("format=xml", "format", .invalidParameter),
        ("format=JSON", "format", .invalidParameter),
        ("tz=%ff", nil, .invalidParameter),
        ("tz=%", nil, .invalidParameter),
        ("tz=%4", nil, .invalidParameter),
        ("tz=%zz", nil, .invalidParameter),
        ("tz=a%00b", nil, .invalidParameter),
        ("tz=%c3%28", nil, .invalidParameter),
    ]

    @Test("what cannot be answered is refused by name", arguments: refusedTable)
    func refused(_ query: String, _ parameter: String?, _ kind: Problem.Kind) {
        let problem = #expect(throws: Problem.self) { try Self.parse(query) }
        #expect(problem?.kind == kind, "\(query)")
        #expect(problem?.parameter == parameter, "\(query)")
        #expect(problem?.detail.isEmpty == false)
    }

    @Test("an unknown parameter gets the list of the known ones")
    func known() {
        let problem = #expect(throws: Problem.self) { try Self.parse("colour=red") }
        #expect(problem?.known == UsageRequest.knownParameters)
    }

    @Test("counts of parameters, filters and values are bounded")
    func bounds() {
        for query in [
            Array(repeating: "filter=api:eq:x", count: 51).joined(separator: "&"),
            Array(repeating: "a=b", count: 300).joined(separator: "&"),
            "filter=api:in:" + Array(repeating: "x", count: 1001).joined(separator: ","),
        ] {
            #expect(throws: Problem.self) { try Self.parse(query) }
        }
    }

    @Test("a JSON body means the same as a query string")
    func json() throws {
        let expected = try Self.parse(
            "from=-7d&to=-1d&granularity=1d&tz=Europe/Berlin&metrics=requests,latency_p99"
                + "&group_by=api,route&filter=api:eq:orders&filter=status:prefix:5"
                + "&order=-requests&limit=10&format=csv"
        )
        for body in [
            """
            {"from":"-7d","to":"-1d","granularity":"1d","tz":"Europe/Berlin",
             "metrics":["requests","latency_p99"],"group_by":["api","route"],
             "filter":["api:eq:orders","status:prefix:5"],"order":["-requests"],"limit":10,
             "format":"csv"}
            """,
            """
            {"from":"-7d","to":"-1d","granularity":"1d","tz":"Europe/Berlin",
             "metrics":"requests,latency_p99","group_by":"api,route",
             "filter":["api:eq:orders","status:prefix:5"],"order":"-requests","limit":"10",
             "format":"csv"}
            """,
        ] {
            #expect(try Self.parse(json: body) == expected)
        }
        let one = try Self.parse(json: #"{"filter":"api:eq:a,b","limit":null}"#)
        #expect(one.filters == [Filter(.api, .equal, ["a,b"])])
        #expect(one.limit == 1000)
        #expect(try Self.parse(json: "{}") == Self.parse(""))
    }

    @Test(
        "bodies that are no flat JSON object are refused",
        arguments: [
            "{\"colour\":null}", "", "[]", "null", "1", "\"x\"", "{", "{]", "{\"from\":}",
            "{\"from\":{}}",
            "{\"metrics\":[[\"requests\"]]}", "{\"limit\":1.5}", "{\"limit\":true}",
            "{\"limit\":[1]}", "{\"from\":\"\\u0000\"}", "{\"tz\":\"\\ud800\"}",
            "{\"filter\":[null]}", String(repeating: "[", count: 5000),
            String(repeating: "{\"a\":", count: 5000), "\u{FEFF}{}x", "{} {}",
        ]
    )
    func badBodies(_ body: String) {
        #expect(throws: Problem.self) { try Self.parse(json: body) }
    }
}
