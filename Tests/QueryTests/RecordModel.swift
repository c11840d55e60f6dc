import Foundation
import Query
import Records
import Rollups

/// Seeded records over a few zones' worth of days, with every odd case in them.
struct RecordModel {
    var records: [RequestRecord]

    /// `count` records that complete between `from` and `to` (Unix seconds).
    init(seed: UInt64, count: Int, from: Int64, to: Int64) {
        var random = SeededRandom(seed: seed)
        var records: [RequestRecord] = []
        for _ in 0..<count {
            var record = RequestRecord(kind: .request)
            record.completedAt =
                Int64.random(in: (from * 1_000_000)..<(to * 1_000_000), using: &random)
            record.org = ["acme", "globex", ""].randomElement(using: &random) ?? ""
            record.api = ["orders", "catalog", "öre", "Zeta"].randomElement(using: &random) ?? ""
            record.apiVersion = ["v1", "v2", ""].randomElement(using: &random) ?? ""
            record.route =
                ["GET /a", "GET /a/{id}", "POST /b,c", "__unmatched__"]
                .randomElement(using: &random) ?? ""
            record.method = ["GET", "POST", "OTHER"].randomElement(using: &random) ?? ""
            record.status =
                ([200, 200, 200, 204, 301, 404, 429, 500, 503, nil] as [UInt32?])
                .randomElement(using: &random) ?? nil
            record.outcome =
                [.ok, .ok, .clientError, .upstreamError, .clientAborted, .gatewayError]
                .randomElement(using: &random) ?? .ok
            record.region = ["eu", "us", ""].randomElement(using: &random) ?? ""
            record.application = ["shop", "mobile", "批", ""].randomElement(using: &random) ?? ""
            record.keyID = ["k1", "k2", "k3", "k4", ""].randomElement(using: &random) ?? ""
            record.plan = ["gold", ""].randomElement(using: &random) ?? ""
            record.country = ["DE", "FR", ""].randomElement(using: &random) ?? ""
            record.platform = ["Linux", "iOS", ""].randomElement(using: &random) ?? ""
            record.userAgentFamily = ["curl", "Chrome", ""].randomElement(using: &random) ?? ""
            record.upstreamAddress =
                ["10.1.0.1:80", "10.1.0.2:80", ""]
                .randomElement(using: &random) ?? ""
            record.clientIP = "10.0.\(Int.random(in: 0...3, using: &random)).7"
            record.requestBytes = UInt64.random(in: 0...5_000, using: &random)
            record.responseBytes = UInt64.random(in: 0...50_000, using: &random)
            if Int.random(in: 0..<10, using: &random) > 0 {
                let spread = Double.random(in: 0...16, using: &random)
                record.durationUS = UInt64(Foundation.exp(spread))
                if Bool.random(using: &random) {
                    record.upstreamDurationUS = UInt64(Foundation.exp(spread) / 2)
                }
            }
            records.append(record)
        }
        self.records = records
    }

    /// The value of a dimension as the answer shows it; nil for absent.
    static func value(_ dimension: Rollups.Dimension, _ record: RequestRecord) -> String? {
        let text: String
        switch dimension {
        case .org: text = record.org
        case .api: text = record.api
        case .version: text = record.apiVersion
        case .route: text = record.route
        case .method: text = record.method
        case .status: text = record.status.map { String($0) } ?? ""
        case .statusClass: text = record.status.map { "\($0 / 100)xx" } ?? ""
        case .outcome: text = record.outcome.name
        case .region: text = record.region
        case .application: text = record.application
        case .key: text = record.keyID
        case .plan: text = record.plan
        case .country: text = record.country
        case .platform: text = record.platform
        case .userAgent: text = record.userAgentFamily
        case .upstream: text = record.upstreamAddress
        case .tag(let name): text = record.tags.first { $0.key == name }?.value ?? ""
        }
        return text.isEmpty ? nil : text
    }

    /// Whether a record matches, said as plainly as possible.
    static func matches(_ filter: Filter, _ record: RequestRecord) -> Bool {
        let value = value(filter.dimension, record) ?? ""
        switch filter.comparison {
        case .equal: return value == filter.values[0]
        case .notEqual: return value != filter.values[0]
        case .anyOf: return filter.values.contains(value)
        case .noneOf: return !filter.values.contains(value)
        case .prefix: return !value.isEmpty && value.hasPrefix(filter.values[0])
        }
    }

    /// The metric over `records`, computed from the records themselves.
    static func metric(_ metric: Metric, _ records: [RequestRecord]) -> Double? {
        func isError(_ record: RequestRecord) -> Bool {
            if record.outcome == .clientAborted { return false }
            let faults: [Outcome] = [
                .upstreamError, .upstreamTimeout, .upstreamUnreachable, .gatewayError,
            ]
            return (record.status ?? 0) >= 400 || faults.contains(record.outcome)
        }
        func isClientError(_ record: RequestRecord) -> Bool {
            (400..<500).contains(record.status ?? 0)
        }
        let latencies = records.compactMap(\.durationUS).sorted()
        let upstream = records.compactMap(\.upstreamDurationUS).sorted()
        func average(_ values: [UInt64]) -> Double? {
            values.isEmpty ? nil : Double(values.reduce(0, +)) / Double(values.count) / 1e6
        }
        func rank(_ perMille: Int, _ values: [UInt64]) -> Double? {
            guard !values.isEmpty else { return nil }
            let rank = Swift.max(1, (perMille * values.count + 999) / 1000)
            return Double(values[rank - 1]) / 1e6
        }
        func count(_ isCounted: (RequestRecord) -> Bool) -> Double {
            Double(records.filter(isCounted).count)
        }
        switch metric {
        case .requests: return Double(records.count)
        case .errors: return count(isError)
        case .clientErrors: return count { isError($0) && isClientError($0) }
        case .serverErrors: return count { isError($0) && !isClientError($0) }
        case .errorRate: return count(isError) / Double(records.count)
        case .aborted: return count { $0.outcome == .clientAborted }
        case .bytesIn: return Double(records.reduce(0) { $0 + $1.requestBytes })
        case .bytesOut: return Double(records.reduce(0) { $0 + $1.responseBytes })
        case .latencyAverage: return average(latencies)
        case .latencyMinimum: return latencies.first.map { Double($0) / 1e6 }
        case .latencyMaximum: return latencies.last.map { Double($0) / 1e6 }
        case .latencyP50: return rank(500, latencies)
        case .latencyP90: return rank(900, latencies)
        case .latencyP95: return rank(950, latencies)
        case .latencyP99: return rank(990, latencies)
        case .latencyP999: return rank(999, latencies)
        case .upstreamAverage: return average(upstream)
        case .upstreamMinimum: return upstream.first.map { Double($0) / 1e6 }
        case .upstreamMaximum: return upstream.last.map { Double($0) / 1e6 }
        case .upstreamP50: return rank(500, upstream)
        case .upstreamP90: return rank(900, upstream)
        case .upstreamP95: return rank(950, upstream)
        case .upstreamP99: return rank(990, upstream)
        case .upstreamP999: return rank(999, upstream)
        case .uniqueKeys: return Double(Set(records.map(\.keyID)).subtracting([""]).count)
        case .uniqueClients: return Double(Set(records.map(\.clientIP)).count)
        }
    }

    /// How far an answer may be from the model: nothing for counts, 1 % for percentiles.
    static func tolerance(_ metric: Metric) -> Double {
        switch metric {
        case .latencyP50, .latencyP90, .latencyP95, .latencyP99, .latencyP999, .upstreamP50,
            .upstreamP90, .upstreamP95, .upstreamP99, .upstreamP999:
            0.01
        case .uniqueKeys, .uniqueClients: 0.05
        case .errorRate, .latencyAverage, .upstreamAverage: 1e-12
        default: 0
        }
    }
}
