import Telemetry

/// The aggregator's series; names and labels are fixed, so their number is.
final class AggregatorMetrics: Sendable {
    /// Why a fold transaction was tried again.
    enum Retry: String, CaseIterable {
        case miss, generation, database
        case inDoubt = "in_doubt"
    }

    let recordsFolded: Counter
    let recordsDuplicate: Counter
    let rowsWritten: Counter
    let logsYielded: Counter
    let logsReset: Counter
    let checkpointFailures: Counter
    let readFailures: Counter
    let lagRecords: Gauge
    let logsFollowed: Gauge
    let logsPaused: Gauge
    let foldSeconds: DurationHistogram
    let commitSeconds: DurationHistogram
    let compactionRounds: Counter
    let compactionDeltas: Counter
    let compactionRows: Counter
    let compactionFailures: Counter
    let compactionSeconds: DurationHistogram
    let keysDisplaced: Counter
    private let deadLetters: [DeadLetterReason: Counter]
    private let retries: [Retry: Counter]

    /// Registers all series.
    init(_ registry: MetricsRegistry) {
        recordsFolded = registry.counter(
            "aggregator_records_folded_total",
            help: "Records committed to the rollups."
        )
        recordsDuplicate = registry.counter(
            "aggregator_records_duplicate_total",
            help: "Offsets dropped because somebody else had folded them."
        )
        rowsWritten = registry.counter(
            "aggregator_delta_rows_total",
            help: "Delta rows committed by folds."
        )
        logsYielded = registry.counter(
            "aggregator_logs_yielded_total",
            help: "Logs left to another aggregator."
        )
        logsReset = registry.counter(
            "aggregator_logs_reset_total",
            help: "Logs read again because the database had gone back, as after a restore."
        )
        checkpointFailures = registry.counter(
            "aggregator_checkpoint_failures_total",
            help: "Checkpoints that could not be stored."
        )
        readFailures = registry.counter(
            "aggregator_read_failures_total",
            help: "Logs that could not be read for a while."
        )
        lagRecords = registry.gauge(
            "aggregator_lag_records",
            help: "Durable offsets that are not folded yet."
        )
        logsFollowed = registry.gauge(
            "aggregator_logs_followed",
            help: "Logs that have not been folded to their end."
        )
        logsPaused = registry.gauge(
            "aggregator_logs_paused",
            help: "Logs paused because their folded set is in pieces."
        )
        foldSeconds = registry.histogram(
            "aggregator_fold_seconds",
            help: "Reading and folding one batch, waiting included."
        )
        commitSeconds = registry.histogram(
            "aggregator_commit_seconds",
            help: "Writing one batch, retries included."
        )
        compactionRounds = registry.counter(
            "aggregator_compaction_rounds_total",
            help: "Compaction rounds committed."
        )
        compactionDeltas = registry.counter(
            "aggregator_compaction_delta_rows_total",
            help: "Delta rows compacted."
        )
        compactionRows = registry.counter(
            "aggregator_compaction_rollup_rows_total",
            help: "Rollup rows written."
        )
        compactionFailures = registry.counter(
            "aggregator_compaction_failures_total",
            help: "Compaction rounds rolled back."
        )
        compactionSeconds = registry.histogram(
            "aggregator_compaction_seconds",
            help: "One compaction round."
        )
        keysDisplaced = registry.counter(
            "aggregator_keys_displaced_total",
            help: "Keys merged into __other__ by the cardinality bound."
        )
        deadLetters = Dictionary(
            uniqueKeysWithValues: DeadLetterReason.allCases.map {
                (
                    $0,
                    registry.counter(
                        "aggregator_dead_letters_total",
                        help: "Records parked, by reason.",
                        labels: [("reason", $0.rawValue)]
                    )
                )
            }
        )
        retries = Dictionary(
            uniqueKeysWithValues: Retry.allCases.map {
                (
                    $0,
                    registry.counter(
                        "aggregator_retries_total",
                        help: "Fold transactions tried again.",
                        labels: [("reason", $0.rawValue)]
                    )
                )
            }
        )
    }

    /// Counts a retry.
    func retried(_ reason: Retry) { retries[reason]?.add() }

    /// Counts dead letters that have been committed.
    func parked(_ letters: [DeadLetter]) {
        for letter in letters { deadLetters[letter.reason]?.add() }
    }
}
