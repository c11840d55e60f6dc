import Rollups

/// What a statement reads of the rows of a rollup: the parts that metrics are computed from.
enum Measure: String, CaseIterable, Sendable {
    case requests
    case clientErrors = "client_errors"
    case serverErrors = "server_errors"
    case aborted
    case bytesIn = "bytes_in"
    case bytesOut = "bytes_out"
    case latencyCount = "latency_count"
    case latencySum = "latency_sum"
    case latencyMinimum = "latency_min"
    case latencyMaximum = "latency_max"
    case upstreamCount = "upstream_count"
    case upstreamSum = "upstream_sum"
    case upstreamMinimum = "upstream_min"
    case upstreamMaximum = "upstream_max"
    case latencyHistogram = "latency_hist"
    case upstreamHistogram = "upstream_hist"
    case clients
    case keys
    /// The ids of the key dimension, where keys are a dimension and no sketch is kept.
    case keyIdentifiers = "key"

    /// Column of the rollup's tables.
    var column: String { Statement.quote(rawValue) }

    /// Whether parts are merged here rather than added by the database.
    var isMergedInProcess: Bool {
        switch self {
        case .latencyHistogram, .upstreamHistogram, .clients, .keys, .keyIdentifiers: true
        default: false
        }
    }

    /// SQL of the aggregate over rows `u`.
    var aggregate: String {
        let column = "u." + column
        switch self {
        case .latencyMinimum: return "min(\(column)) FILTER (WHERE u.latency_count > 0)"
        case .upstreamMinimum: return "min(\(column)) FILTER (WHERE u.upstream_count > 0)"
        case .latencyMaximum: return "max(\(column)) FILTER (WHERE u.latency_count > 0)"
        case .upstreamMaximum: return "max(\(column)) FILTER (WHERE u.upstream_count > 0)"
        case .latencyHistogram, .upstreamHistogram, .clients, .keys:
            return "array_agg(\(column)) FILTER (WHERE length(\(column)) > 0)"
        case .keyIdentifiers: return "array_agg(DISTINCT \(column)) FILTER (WHERE \(column) > 0)"
        // Sums of saturated parts may pass the largest bigint: saturate again.
        default: return "least(sum(\(column)), 9223372036854775807)::bigint"
        }
    }

    /// Columns that the aggregate needs besides its own.
    var companions: [Measure] {
        switch self {
        case .latencyMinimum, .latencyMaximum: [.latencyCount]
        case .upstreamMinimum, .upstreamMaximum: [.upstreamCount]
        default: []
        }
    }
}

extension Metric {
    /// What the metric is computed from, in a rollup.
    func measures(in rollup: RollupDefinition) -> [Measure] {
        switch self {
        case .requests: [.requests]
        case .errors: [.clientErrors, .serverErrors]
        case .clientErrors: [.clientErrors]
        case .serverErrors: [.serverErrors]
        case .errorRate: [.requests, .clientErrors, .serverErrors]
        case .aborted: [.aborted]
        case .bytesIn: [.bytesIn]
        case .bytesOut: [.bytesOut]
        case .latencyAverage: [.latencyCount, .latencySum]
        case .latencyMinimum: [.latencyCount, .latencyMinimum]
        case .latencyMaximum: [.latencyCount, .latencyMaximum]
        case .latencyP50, .latencyP90, .latencyP95, .latencyP99, .latencyP999:
            [.latencyCount, .latencyMinimum, .latencyMaximum, .latencyHistogram]
        case .upstreamAverage: [.upstreamCount, .upstreamSum]
        case .upstreamMinimum: [.upstreamCount, .upstreamMinimum]
        case .upstreamMaximum: [.upstreamCount, .upstreamMaximum]
        case .upstreamP50, .upstreamP90, .upstreamP95, .upstreamP99, .upstreamP999:
            [.upstreamCount, .upstreamMinimum, .upstreamMaximum, .upstreamHistogram]
        case .uniqueClients: [.clients]
        case .uniqueKeys: rollup.countsKeys ? [.keys] : [.keyIdentifiers]
        }
    }

    /// The value of the metric for one group.
    func value(of group: GroupMeasures) -> Value {
        let counts = group.merged.counts
        switch self {
        case .requests: return .integer(counts.requests)
        case .errors: return .integer(Self.sum(counts.clientErrors, counts.serverErrors))
        case .clientErrors: return .integer(counts.clientErrors)
        case .serverErrors: return .integer(counts.serverErrors)
        case .errorRate:
            let errors = Self.sum(counts.clientErrors, counts.serverErrors)
            return counts.requests > 0
                ? .number(Double(errors) / Double(counts.requests)) : .null
        case .aborted: return .integer(counts.aborted)
        case .bytesIn: return .integer(counts.bytesIn)
        case .bytesOut: return .integer(counts.bytesOut)
        case .latencyAverage: return Self.average(counts.latency)
        case .latencyMinimum: return Self.seconds(counts.latency.min, counts.latency)
        case .latencyMaximum: return Self.seconds(counts.latency.max, counts.latency)
        case .upstreamAverage: return Self.average(counts.upstream)
        case .upstreamMinimum: return Self.seconds(counts.upstream.min, counts.upstream)
        case .upstreamMaximum: return Self.seconds(counts.upstream.max, counts.upstream)
        case .uniqueClients: return Self.count(group.merged.clients.estimate)
        case .uniqueKeys:
            return group.keyIdentifiers.isEmpty
                ? Self.count(group.merged.keys.estimate)
                : .integer(Int64(group.keyIdentifiers.count))
        default:
            guard let quantile else { return .null }
            let q = Double(quantile.perMille) / 1000
            let microseconds =
                quantile.ofUpstream
                ? group.merged.upstreamQuantile(q) : group.merged.latencyQuantile(q)
            guard let microseconds else { return .null }
            return .number(Double(microseconds) / 1_000_000)
        }
    }

    private static func sum(_ left: Int64, _ right: Int64) -> Int64 {
        let (sum, overflow) = left.addingReportingOverflow(right)
        return overflow ? .max : sum
    }

    private static func average(_ durations: Counts.Durations) -> Value {
        guard durations.count > 0 else { return .null }
        return .number(Double(durations.sum) / Double(durations.count) / 1_000_000)
    }

    private static func seconds(_ microseconds: Int64, _ durations: Counts.Durations) -> Value {
        durations.count > 0 ? .number(Double(microseconds) / 1_000_000) : .null
    }

    private static func count(_ estimate: Double) -> Value {
        .integer(estimate < 9e18 ? Int64(estimate.rounded()) : .max)
    }
}

/// Everything merged of one group of an answer.
struct GroupMeasures: Sendable {
    /// Counts, histograms and sketches.
    var merged = MeasureAccumulator()

    /// Distinct ids of keys, where keys are a dimension.
    var keyIdentifiers: Set<Int64> = []

    /// Forgets everything and keeps the capacity.
    mutating func removeAll() {
        merged.removeAll()
        keyIdentifiers.removeAll(keepingCapacity: true)
    }
}
