import EventLog
import Records
import Synchronization
package import Telemetry

/// A duration that one thread sets and others read.
final class Age: Sendable {
    private let value = Atomic<Int64>(0)

    /// The duration.
    var microseconds: Int64 {
        get { value.load(ordering: .relaxed) }
        set { value.store(newValue, ordering: .relaxed) }
    }
}

/// The series of one sink; names and labels are fixed, so their number is.
package struct PumpMetrics: Sendable {
    let delivered: Counter
    let deliveredBytes: Counter
    let batches: Counter
    let retried: Counter
    let failures: Counter
    let checkpointFailures: Counter
    let readFailures: Counter
    let deadLetters: Counter
    let deadLetterFailures: Counter
    let lagRecords: Gauge
    let inFlightBytes: Gauge
    let inFlightBatches: Gauge
    let logsFollowed: Gauge
    let breakerState: Gauge
    let deliverySeconds: DurationHistogram
    /// How old the oldest record is that was read and is not acknowledged.
    let age = Age()
    private let fates: [(Gauge, any KeyPath<SinkAccount, UInt64> & Sendable)]
    private let appended: Gauge
    private let unaccounted: Gauge
    private let rejected: [SkipReason: Counter]
    private let skipped: [SkipReason: Counter]

    /// Registers a sink's series.
    package init(_ registry: MetricsRegistry, sink: String) {
        let labels: MetricLabels = [("sink", sink)]
        delivered = registry.counter(
            "pump_records_delivered_total",
            help: "Records that the sink has acknowledged.",
            labels: labels
        )
        deliveredBytes = registry.counter(
            "pump_bytes_delivered_total",
            help: "Bytes of acknowledged batches, as they are in the log.",
            labels: labels
        )
        batches = registry.counter(
            "pump_deliveries_total",
            help: "Calls of the sink, repetitions included.",
            labels: labels
        )
        retried = registry.counter(
            "pump_records_retried_total",
            help: "Records that had to be sent again.",
            labels: labels
        )
        failures = registry.counter(
            "pump_delivery_failures_total",
            help: "Deliveries of which at least a part has to be repeated.",
            labels: labels
        )
        checkpointFailures = registry.counter(
            "pump_checkpoint_failures_total",
            help: "Checkpoints that could not be stored.",
            labels: labels
        )
        readFailures = registry.counter(
            "pump_read_failures_total",
            help: "Logs that could not be read for a while.",
            labels: labels
        )
        deadLetters = registry.counter(
            "pump_dead_letters_total",
            help: "Refused records that were put aside in the data directory.",
            labels: labels
        )
        deadLetterFailures = registry.counter(
            "pump_dead_letters_failed_total",
            help: "Refused records that could not be put aside, every attempt counted.",
            labels: labels
        )
        lagRecords = registry.gauge(
            "pump_lag_records",
            help: "Durable offsets that the sink has not acknowledged.",
            labels: labels
        )
        inFlightBytes = registry.gauge(
            "pump_in_flight_bytes",
            help: "Bytes that are read and not acknowledged.",
            labels: labels
        )
        inFlightBatches = registry.gauge(
            "pump_in_flight_batches",
            help: "Batches that are read and not acknowledged.",
            labels: labels
        )
        logsFollowed = registry.gauge(
            "pump_logs_followed",
            help: "Logs that are not delivered to their end.",
            labels: labels
        )
        breakerState = registry.gauge(
            "pump_breaker_state",
            help: "Circuit breaker: 0 closed, 1 half open, 2 open.",
            labels: labels
        )
        deliverySeconds = registry.histogram(
            "pump_delivery_seconds",
            help: "One call of the sink.",
            labels: labels
        )
        let age = self.age
        registry.computed(
            "pump_lag_seconds",
            help: "Age of the oldest record that was read and is not acknowledged.",
            labels: labels
        ) { Double(age.microseconds) / 1_000_000 }
        let kinds: [(String, any KeyPath<SinkAccount, UInt64> & Sendable)] = [
            ("earlier", \.earlier), ("delivered", \.delivered), ("filtered", \.filtered),
            ("sampled_out", \.sampledOut), ("dead_lettered", \.deadLettered),
            ("skipped", \.skipped), ("pending", \.pending),
        ]
        fates = kinds.map { name, path in
            let gauge = registry.gauge(
                "pump_ledger_offsets",
                help: "What became of the offsets of the logs that are there; see decision 0056.",
                labels: labels + [("fate", name)]
            )
            return (gauge, path)
        }
        appended = registry.gauge(
            "pump_ledger_appended_offsets",
            help: "Durable offsets of the logs that are there: the sum of pump_ledger_offsets.",
            labels: labels
        )
        unaccounted = registry.gauge(
            "pump_ledger_unaccounted_offsets",
            help: "By how much the sink's account does not balance.",
            labels: labels
        )
        rejected = Self.byReason([.tooLarge, .rejected]) { reason in
            registry.counter(
                "pump_records_rejected_total",
                help: "Records that the sink refused for good.",
                labels: labels + [("reason", reason.rawValue)]
            )
        }
        skipped = Self.byReason(SkipReason.allCases) { reason in
            registry.counter(
                "pump_offsets_skipped_total",
                help: "Offsets that the sink was told to have no record.",
                labels: labels + [("reason", reason.rawValue)]
            )
        }
    }

    private static func byReason(
        _ reasons: [SkipReason],
        _ make: (SkipReason) -> Counter
    ) -> [SkipReason: Counter] {
        Dictionary(uniqueKeysWithValues: reasons.map { ($0, make($0)) })
    }

    /// Shows the account of all logs.
    func show(_ account: SinkAccount) {
        for (gauge, path) in fates { gauge.set(Int64(clamping: account[keyPath: path])) }
        appended.set(Int64(clamping: account.appended))
        unaccounted.set(account.unaccounted)
    }

    /// Counts records that were refused.
    func refused(_ count: Int, _ reason: SkipReason) { rejected[reason]?.add(UInt64(count)) }

    /// Counts offsets that were accounted for without a record.
    func skippedOver(_ count: UInt64, _ reason: SkipReason) { skipped[reason]?.add(count) }
}
