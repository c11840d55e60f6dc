import Console
import Foundation

/// Asks the query API what `sluice top` shows.
struct TopClient: Sendable {
    /// Where and as whom.
    let client: QueryClient
    /// Conditions of all questions.
    let filters: [String]
    /// Most groups asked for.
    let limit: Int

    /// Groupings worth offering, in the order of their numbers.
    private static let groupings = [
        ["api"], ["api", "route"], ["application"], ["status"], ["outcome"], ["method"], ["key"],
        ["region"], ["upstream"], ["country"], ["user_agent"], ["org"],
    ]

    /// The groupings that the token may ask for.
    func groupings() async throws -> [[String]] {
        let meta = try await json("/v1/meta", [])
        let known = Set((meta["dimensions"]?.elements ?? []).compactMap(\.text))
        return Self.groupings.filter { known.isSuperset(of: $0) }
    }

    /// The answer to one question, asked at `now` (seconds since the Unix epoch).
    func answer(_ question: TopQuestion, now: Int64) async throws -> TopAnswer {
        async let minutes = minutes(now)
        let metrics =
            [question.sort.rawValue]
            + TopSort.allCases.map(\.rawValue).filter { $0 != question.sort.rawValue }
        let answer = try await json(
            "/v1/top",
            [
                ("from", "-\(question.window)s"),
                ("group_by", question.groupBy.joined(separator: ",")),
                ("metrics", metrics.joined(separator: ",")), ("limit", "\(limit)"),
            ]
        )
        guard let from = answer["from"]?.text.flatMap({ BucketTime($0) }) else {
            throw CommandFailure.failed("the query API's answer has no range")
        }
        return TopAnswer(
            from: from.absolute,
            completeTo: answer["complete_to"]?.text.flatMap { BucketTime($0)?.absolute },
            askedAt: now,
            rollup: answer["rollup"]?.text ?? "",
            groups: Int(answer["groups"]?.number ?? 0),
            total: Self.row(answer["total"] ?? .null, []),
            rows: (answer["rows"]?.elements ?? []).map { Self.row($0, question.groupBy) },
            minutes: await minutes
        )
    }

    /// Requests and errors of the whole minutes of the last hour; none where they are not kept,
    /// as for one application.
    private func minutes(_ now: Int64) async -> [(requests: Double, errors: Double)] {
        let answer = try? await json(
            "/v1/usage",
            [
                ("from", "-60m"), ("granularity", "1m"), ("metrics", "requests,errors"),
                ("fill", "zero"),
            ]
        )
        guard let answer else { return [] }
        let complete = answer["complete_to"]?.text.flatMap { BucketTime($0)?.absolute } ?? now
        return answer["rows"]?.elements.compactMap { row in
            guard let start = row["bucket"]?.text.flatMap({ BucketTime($0) }),
                start.absolute + 60 <= min(complete, now)
            else { return nil }
            return (row["requests"]?.number ?? 0, row["errors"]?.number ?? 0)
        } ?? []
    }

    private func json(
        _ path: String,
        _ parameters: [(String, String)]
    ) async throws -> JSONValue {
        let conditions = path == "/v1/meta" ? [] : filters.map { ("filter", $0) }
        let body = try await client.get(path, parameters + conditions)
        do {
            return try JSONDecoder().decode(JSONValue.self, from: Data(body.utf8))
        } catch {
            throw CommandFailure.failed("the query API at \(client.base) answers no JSON")
        }
    }

    private static func row(_ value: JSONValue, _ groupBy: [String]) -> TopRow {
        TopRow(
            labels: groupBy.map { value[$0]?.text },
            requests: value["requests"]?.number ?? 0,
            errors: value["errors"]?.number ?? 0,
            errorRate: value["error_rate"]?.number,
            p50: value["latency_p50"]?.number,
            p99: value["latency_p99"]?.number,
            bytes: value["bytes_out"]?.number ?? 0
        )
    }
}
