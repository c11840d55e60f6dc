import Foundation
import Query
import Records
import Rollups
import Testing

/// Answers from a real database beside a plain computation over the same records.
@Suite("Usage end to end", .timeLimit(.minutes(15)))
struct UsageEndToEndTests {
    /// Around Berlin's change of clocks in 2026: 2026-03-27 to 2026-03-31.
    static let from: Int64 = 1_774_569_600
    static let to: Int64 = 1_774_915_200

    @Test("random questions get the answers that the records themselves give")
    func randomQuestions() async throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        Attachment.record("\(seed)", named: "seed")
        let model = RecordModel(seed: seed, count: 2_000, from: Self.from, to: Self.to)
        try await Fixture.with { fixture in
            try fixture.insert(Array(model.records.prefix(1_400)), asDeltas: false)
            try fixture.insert(Array(model.records.dropFirst(1_400)), asDeltas: true)
            let api = fixture.api()
            let admin = try await fixture.authorization(.admin)
            var random = SeededRandom(seed: seed &+ 1)
            for number in 0..<120 {
                let query = Self.question(&random)
                try await Self.compare(
                    query,
                    model,
                    api,
                    admin,
                    "question \(number), seed \(seed): \(query)"
                )
            }
        }
    }

    /// A random question that some rollup covers.
    static func question(_ random: inout SeededRandom) -> String {
        let rollup = RollupDefinition.builtIn.randomElement(using: &random) ?? .api
        let dimensions = rollup.dimensions + (rollup == .api ? [.statusClass] : [])
        var parts: [String] = []
        let start = Int64.random(in: from - 4_000..<to, using: &random)
        let end = Int64.random(in: start + 1...to + 4_000, using: &random)
        parts.append("from=\(CivilTime.text(local: start, offset: 0, isUTC: true))")
        parts.append("to=\(CivilTime.text(local: end, offset: 0, isUTC: true))")
        let zone = [
            "UTC", "Europe/Berlin", "Asia/Kathmandu", "Asia/Beirut", "America/New_York",
            "Australia/Lord_Howe",
        ].randomElement(using: &random)
        parts.append("tz=\(zone ?? "UTC")")
        let granularities =
            ["15m", "1h", "1d", "1w", "1mo", "total", "auto"]
            + (rollup.finestTier == .quarterHour ? [] : ["1m", "5m"])
        parts.append("granularity=\(granularities.randomElement(using: &random) ?? "total")")
        let groups = dimensions.shuffled(using: &random)
            .prefix(Int.random(in: 0...3, using: &random))
        if !groups.isEmpty {
            parts.append("group_by=" + groups.map(\.name).joined(separator: ","))
        }
        let metrics = Metric.allCases.shuffled(using: &random)
            .prefix(Int.random(in: 1...8, using: &random))
        parts.append("metrics=" + metrics.map(\.rawValue).joined(separator: ","))
        for _ in 0..<Int.random(in: 0...2, using: &random) {
            parts.append("filter=" + filter(dimensions, &random))
        }
        if Bool.random(using: &random) {
            let columns = groups.map(\.name) + metrics.map(\.rawValue) + ["bucket"]
            let chosen = columns.shuffled(using: &random).prefix(2).map {
                (Bool.random(using: &random) ? "-" : "") + $0
            }
            parts.append("order=" + chosen.joined(separator: ","))
        }
        parts.append("limit=\([1, 7, 100, 10_000].randomElement(using: &random) ?? 1)")
        return parts.joined(separator: "&")
    }

    private static func filter(_ dimensions: [Rollups.Dimension], _ random: inout SeededRandom)
        -> String
    {
        let dimension = dimensions.randomElement(using: &random) ?? .api
        let values: [String]
        switch dimension {
        case .status: values = ["200", "404", "500", "", "999"]
        case .statusClass: values = ["2xx", "4xx", "", "nonsense"]
        default:
            values = [
                "curl", "DE", "iOS", "10.1.0.2:80", "acme", "orders", "öre", "v1", "GET /a", "GET",
                "ok", "eu", "shop", "k1", "gold",
                "",
                "__unmatched__", "nobody",
            ]
        }
        let comparison = Filter.Operator.allCases.randomElement(using: &random) ?? .equal
        var text: String
        switch comparison {
        case .anyOf, .noneOf:
            text = values.shuffled(using: &random).prefix(3).joined(separator: ",")
        case .prefix:
            text =
                dimension == .status
                ? "4" : String((values.randomElement(using: &random) ?? "").prefix(2))
        default: text = values.randomElement(using: &random) ?? ""
        }
        text = text.addingPercentEncoding(withAllowedCharacters: .alphanumerics) ?? ""
        return "\(dimension.name):\(comparison.rawValue):\(text)"
    }

    /// Asks the API, computes the same from the records, and compares row by row.
    static func compare(
        _ query: String,
        _ model: RecordModel,
        _ api: QueryAPI,
        _ authorization: String,
        _ label: String,
        planner: Planner = Planner()
    ) async throws {
        let request = try UsageRequest(UsageParameters(query: query), now: Fixture.now)
        let plan = try planner.plan(request)
        let answer = try await api.usage(query, authorization)
        #expect(answer.status == 200, "\(label)")
        #expect(answer.object["from"] as? String == plan.zone.text(plan.from / 1_000_000))
        #expect(answer.object["rollup"] as? String == plan.rollup.name)
        let expected = rows(request, plan, model)
        let shown = expected.prefix(request.limit ?? .max)
        #expect(answer.rows.count == shown.count, "\(label)")
        #expect(
            (answer.object["truncated"] != nil) == (expected.count > request.limit ?? .max),
            "\(label)"
        )
        // Percentiles and estimates are not exact, so an order by them may differ from the model's.
        let isOrderExact = request.order.allSatisfy { term in
            if case .metric(let index) = term.key { return tolerance(request, index) == 0 }
            return true
        }
        guard isOrderExact || expected.count <= request.limit ?? .max else { return }
        let got = answer.rows.map { key($0, request) }
        let wanted = shown.map(\.key)
        if isOrderExact {
            #expect(got == wanted, "\(label)")
        } else {
            #expect(got.sorted() == wanted.sorted(), "\(label)")
        }
        let byKey = Dictionary(uniqueKeysWithValues: shown.map { ($0.key, $0.metrics) })
        for row in answer.rows {
            guard let metrics = byKey[key(row, request)] else { continue }
            for (metric, value) in zip(request.metrics, metrics) {
                check(row[metric.rawValue], value, metric, label)
            }
        }
    }

    private static func tolerance(_ request: UsageRequest, _ index: Int) -> Double {
        let tolerance = RecordModel.tolerance(request.metrics[index])
        return tolerance < 1e-9 ? 0 : tolerance
    }

    private static func check(_ got: Any?, _ wanted: Double?, _ metric: Metric, _ label: String) {
        guard let wanted else {
            #expect(got is NSNull, "\(metric) of \(label)")
            return
        }
        let number = (got as? NSNumber)?.doubleValue ?? .nan
        let allowed = RecordModel.tolerance(metric) * abs(wanted) + 1e-9
        #expect(abs(number - wanted) <= allowed, "\(metric) \(number), not \(wanted), of \(label)")
    }

    /// A row's bucket and groups as one text.
    private static func key(_ row: [String: Any], _ request: UsageRequest) -> String {
        var parts = [row["bucket"] as? String ?? "-"]
        for dimension in request.groupBy {
            let value = row[dimension.name]
            if dimension == .status, let number = value as? Int {
                parts.append("\(number)")
            } else {
                parts.append(value as? String ?? "null")
            }
        }
        return parts.joined(separator: "|")
    }

    /// The expected rows, in order.
    private static func rows(
        _ request: UsageRequest,
        _ plan: Plan,
        _ model: RecordModel
    ) -> [(key: String, metrics: [Double?])] {
        struct Group {
            var bucket: Int
            var values: [String?]
            var records: [RequestRecord] = []
        }
        var groups: [String: Group] = [:]
        for record in model.records
        where record.completedAt >= plan.from && record.completedAt < plan.to
            && request.filters.allSatisfy({ RecordModel.matches($0, record) })
        {
            let second = CivilTime.floorDivide(record.completedAt, 1_000_000)
            let bucket = (plan.buckets.starts.lastIndex { $0 <= second }) ?? 0
            let values = request.groupBy.map { RecordModel.value($0, record) }
            let label =
                plan.buckets.starts.isEmpty ? "-" : plan.zone.text(plan.buckets.starts[bucket])
            let key = ([label] + values.map { $0 ?? "null" }).joined(separator: "|")
            groups[key, default: Group(bucket: bucket, values: values)].records.append(record)
        }
        let rows = groups.map { key, group in
            (
                key: key, group: group,
                metrics: request.metrics.map { RecordModel.metric($0, group.records) }
            )
        }
        let sorted = rows.sorted { left, right in
            for term in request.order {
                let order: Int
                switch term.key {
                case .bucket: order = left.group.bucket - right.group.bucket
                case .group(let index):
                    let (first, second) = (left.group.values[index], right.group.values[index])
                    if first == nil || second == nil, first != second { return first != nil }
                    order = compare(first, second)
                case .metric(let index):
                    let (first, second) = (left.metrics[index], right.metrics[index])
                    if first == nil || second == nil, first != second { return first != nil }
                    order = first == second ? 0 : (first ?? 0) < (second ?? 0) ? -1 : 1
                }
                if order != 0 { return term.isDescending ? order > 0 : order < 0 }
            }
            if left.group.bucket != right.group.bucket {
                return left.group.bucket < right.group.bucket
            }
            for (first, second) in zip(left.group.values, right.group.values) where first != second
            {
                if first == nil || second == nil { return first != nil }
                return compare(first, second) < 0
            }
            return false
        }
        return sorted.map { ($0.key, $0.metrics) }
    }

    private static func compare(_ left: String?, _ right: String?) -> Int {
        let (first, second) = (left ?? "", right ?? "")
        if first == second { return 0 }
        return first.unicodeScalars.lexicographicallyPrecedes(second.unicodeScalars) ? -1 : 1
    }

    @Test("a window is the sum of its parts, however it is cut")
    func parts() async throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        Attachment.record("\(seed)", named: "seed")
        let model = RecordModel(seed: seed, count: 1_000, from: Self.from, to: Self.to)
        try await Fixture.with { fixture in
            try fixture.insert(Array(model.records.prefix(500)), asDeltas: false)
            try fixture.insert(Array(model.records.dropFirst(500)), asDeltas: true)
            let api = fixture.api()
            let admin = try await fixture.authorization(.admin)
            let additive = Metric.allCases.filter(\.isAdditive)
            let metrics =
                "&granularity=total&metrics="
                + additive.map(\.rawValue).joined(separator: ",")
            func sums(_ from: Int64, _ to: Int64, _ rest: String) async throws -> [Int] {
                let query =
                    "from=\(CivilTime.text(local: from, offset: 0, isUTC: true))"
                    + "&to=\(CivilTime.text(local: to, offset: 0, isUTC: true))" + rest
                let answer = try await api.usage(query, admin)
                return additive.map { metric in
                    answer.rows.reduce(0) { $0 + (($1[metric.rawValue] as? Int) ?? 0) }
                }
            }
            var random = SeededRandom(seed: seed &+ 2)
            for _ in 0..<8 {
                // Whole minutes, since ranges round outward.
                let ends = (0..<3).map { _ in
                    CivilTime.floor(Int64.random(in: Self.from...Self.to, using: &random), to: 60)
                }.sorted()
                guard ends[0] < ends[1], ends[1] < ends[2] else { continue }
                let whole = try await sums(ends[0], ends[2], metrics)
                let first = try await sums(ends[0], ends[1], metrics)
                let second = try await sums(ends[1], ends[2], metrics)
                #expect(whole == zip(first, second).map(+), "\(ends) seed \(seed)")
                for split in ["&group_by=status,route", "&group_by=status_class", "&group_by=api"] {
                    let parts = try await sums(ends[0], ends[2], metrics + split + "&limit=10000")
                    #expect(parts == whole, "\(split) \(ends) seed \(seed)")
                }
                let buckets = metrics.replacingOccurrences(of: "total", with: "1h")
                let hours = try await sums(ends[0], ends[2], buckets + "&tz=Asia/Kathmandu")
                #expect(hours == whole, "\(ends) seed \(seed)")
            }
        }
    }
}
