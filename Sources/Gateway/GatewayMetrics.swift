internal import Records
internal import Telemetry

/// The counters of the gateway; their names are the contract with dashboards and alarms.
struct GatewayMetrics: Sendable {
    /// `gateway_requests_total{outcome}`, by raw value of the outcome.
    let requests: [Counter]
    /// `gateway_requests_in_flight`.
    let inFlight: Gauge
    /// `gateway_client_connections`.
    let clientConnections: Gauge
    /// `gateway_client_connections_refused_total`.
    let clientConnectionsRefused: Counter
    /// `gateway_upstream_connections`.
    let upstreamConnections: Gauge
    /// `gateway_upstream_retries_total`.
    let retries: Counter
    /// `gateway_log_write_seconds`.
    let logWrite: DurationHistogram
    /// `gateway_records_dropped_total{reason="log_full"}`: answered 503 without a record.
    let droppedLogFull: Counter
    /// `gateway_records_dropped_total{reason="append_failed"}`: the connection was reset.
    let droppedAppendFailed: Counter
    /// `gateway_records_dropped_total{reason="drop_new"}`: served, as configured.
    let droppedByPolicy: Counter
    /// `gateway_log_write_failures_total`.
    let logWriteFailures: Counter
    /// `gateway_responses_reset_total`.
    let responsesReset: Counter

    /// Registers the series.
    init(_ registry: MetricsRegistry) {
        requests = Outcome.allCases.map { outcome in
            registry.counter(
                "gateway_requests_total",
                help: "Requests completed, by outcome.",
                labels: [("outcome", outcome.name)]
            )
        }
        inFlight = registry.gauge(
            "gateway_requests_in_flight",
            help: "Requests begun and not yet recorded."
        )
        clientConnections = registry.gauge(
            "gateway_client_connections",
            help: "Open client connections."
        )
        clientConnectionsRefused = registry.counter(
            "gateway_client_connections_refused_total",
            help: "Client connections closed at once, because there were too many."
        )
        upstreamConnections = registry.gauge(
            "gateway_upstream_connections",
            help: "Open connections to upstreams."
        )
        retries = registry.counter(
            "gateway_upstream_retries_total",
            help: "Requests sent to an upstream once more."
        )
        logWrite = registry.histogram(
            "gateway_log_write_seconds",
            help: "Time that one write of a batch of records took."
        )
        let dropped = "gateway_records_dropped_total"
        let help = "Requests that left no record, by reason."
        droppedLogFull = registry.counter(dropped, help: help, labels: [("reason", "log_full")])
        droppedAppendFailed = registry.counter(
            dropped,
            help: help,
            labels: [("reason", "append_failed")]
        )
        droppedByPolicy = registry.counter(dropped, help: help, labels: [("reason", "drop_new")])
        logWriteFailures = registry.counter(
            "gateway_log_write_failures_total",
            help: "Failed writes of a batch of records."
        )
        responsesReset = registry.counter(
            "gateway_responses_reset_total",
            help: "Responses cut off by a reset, because they could not be completed."
        )
    }
}
