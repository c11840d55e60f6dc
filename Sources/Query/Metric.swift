/// A number of an answer, as named in `metrics`.
package enum Metric: String, CaseIterable, Sendable {
    case requests
    case errors
    case clientErrors = "client_errors"
    case serverErrors = "server_errors"
    case errorRate = "error_rate"
    case aborted
    case bytesIn = "bytes_in"
    case bytesOut = "bytes_out"
    case latencyAverage = "latency_avg"
    case latencyMinimum = "latency_min"
    case latencyMaximum = "latency_max"
    case latencyP50 = "latency_p50"
    case latencyP90 = "latency_p90"
    case latencyP95 = "latency_p95"
    case latencyP99 = "latency_p99"
    case latencyP999 = "latency_p999"
    case upstreamAverage = "upstream_avg"
    case upstreamMinimum = "upstream_min"
    case upstreamMaximum = "upstream_max"
    case upstreamP50 = "upstream_p50"
    case upstreamP90 = "upstream_p90"
    case upstreamP95 = "upstream_p95"
    case upstreamP99 = "upstream_p99"
    case upstreamP999 = "upstream_p999"
    case uniqueKeys = "unique_keys"
    case uniqueClients = "unique_clients"

    /// The metrics of a question that names none.
    package static let defaults: [Metric] = [.requests, .errors]

    /// What the metric measures, for `/v1/meta`: `count`, `bytes`, `seconds` or `ratio`.
    package var unit: String {
        switch self {
        case .bytesIn, .bytesOut: "bytes"
        case .errorRate: "ratio"
        default:
            rawValue.hasPrefix("latency_") || rawValue.hasPrefix("upstream_") ? "seconds" : "count"
        }
    }

    /// Whether values of parts of a window add up to the value of the window.
    package var isAdditive: Bool {
        switch self {
        case .requests, .errors, .clientErrors, .serverErrors, .aborted, .bytesIn, .bytesOut: true
        default: false
        }
    }

    /// The quantile in thousandths and whether it is of the upstream's time, for percentiles.
    var quantile: (perMille: Int, ofUpstream: Bool)? {
        switch self {
        case .latencyP50: (500, false)
        case .latencyP90: (900, false)
        case .latencyP95: (950, false)
        case .latencyP99: (990, false)
        case .latencyP999: (999, false)
        case .upstreamP50: (500, true)
        case .upstreamP90: (900, true)
        case .upstreamP95: (950, true)
        case .upstreamP99: (990, true)
        case .upstreamP999: (999, true)
        default: nil
        }
    }
}
