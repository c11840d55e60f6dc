import Telemetry

/// Counts and times the requests of the query API.
struct RequestStatistics: Sendable {
    /// Series of one endpoint.
    private struct Series: Sendable {
        /// Answers by first digit of their status, from 1 to 5.
        var answers: [Counter]
        /// Time from the request's head to the whole answer.
        var duration: DurationHistogram
    }

    private let series: [String: Series]
    private let unknown: Series

    /// Registers the series of every endpoint, so that their number is fixed.
    init(_ registry: MetricsRegistry) {
        var series: [String: Series] = [:]
        for endpoint in QueryAPI.Endpoint.allCases {
            series[endpoint.rawValue] = Self.register(endpoint.rawValue, registry)
        }
        self.series = series
        unknown = Self.register("other", registry)
    }

    /// Counts one answer.
    func count(_ endpoint: QueryAPI.Endpoint?, status: Int, microseconds: Int64) {
        let series = endpoint.flatMap { self.series[$0.rawValue] } ?? unknown
        series.answers[min(max(status / 100, 1), 5) - 1].add()
        series.duration.record(microseconds: max(0, microseconds))
    }

    private static func register(_ path: String, _ registry: MetricsRegistry) -> Series {
        Series(
            answers: (1...5).map { digit in
                registry.counter(
                    "query_answers_total",
                    help: "Answers of the query API.",
                    labels: [("path", path), ("status", "\(digit)xx")]
                )
            },
            duration: registry.histogram(
                "query_duration_seconds",
                help: "Time to answer a request of the query API.",
                labels: [("path", path)]
            )
        )
    }
}
