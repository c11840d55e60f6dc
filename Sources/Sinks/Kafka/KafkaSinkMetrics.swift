import Kafka
import Telemetry

/// What the producer says of itself.
struct KafkaSinkMetrics: Sendable {
    private let queuedMessages: Gauge
    private let transmittedBytes: Gauge
    private let roundTrip: Gauge
    /// Producers made because one before was of no use any more.
    let producersReplaced: Counter

    /// Registers the series.
    init(_ registry: MetricsRegistry) {
        queuedMessages = registry.gauge(
            "kafka_producer_queued_messages",
            help: "Messages that are not reported on yet."
        )
        transmittedBytes = registry.gauge(
            "kafka_producer_transmitted_bytes",
            help: "Bytes sent to brokers by the present producer."
        )
        roundTrip = registry.gauge(
            "kafka_producer_round_trip_p99_microseconds",
            help: "Slowest broker's answer times, 99th percentile."
        )
        producersReplaced = registry.counter(
            "kafka_producers_replaced_total",
            help: "Producers given up after a fatal error, a stall, or batches that were too large."
        )
    }

    /// Takes over what librdkafka reports every few seconds.
    func take(_ text: String) {
        guard let statistics = KafkaStatistics(text) else { return }
        queuedMessages.set(Int64(clamping: statistics.queuedMessages))
        transmittedBytes.set(Int64(clamping: statistics.transmittedBytes))
        let (seconds, attoseconds) = statistics.roundTripP99.components
        roundTrip.set(seconds &* 1_000_000 &+ attoseconds / 1_000_000_000_000)
    }
}
