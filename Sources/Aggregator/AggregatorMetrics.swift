import Telemetry

/// The aggregator's series; names and labels are fixed, so their number is.
final class AggregatorMetrics: Sendable {
    /// Why a fold transaction was tried again.
    enum Retry: String, CaseIterable {
        case miss, generation, database
        case inDoubt = "in_doubt"
    }

    /// What happened to partitions.
    enum Rebalance: String, CaseIterable {
        case assigned, revoked, lost
    }

    let recordsFolded: Counter
    let recordsDuplicate: Counter
    let rowsWritten: Counter
    let recordsLoaded: Counter
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
    let ledgerUnbalanced: Gauge
    let ledgerMissing: Gauge
    let ledgerUnaccounted: Gauge
    let ledgerPending: Gauge
    let logsAssumedGone: Gauge
    let ledgerReviews: Counter
    let messages: Counter
    let messagesMissing: Counter
    let untrusted: Counter
    let rewinds: Counter
    let consumerErrors: Counter
    let lagMessages: Gauge
    let lagMessagesMax: Gauge
    let partitionsAssigned: Gauge
    private let rebalances: [Rebalance: Counter]
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
        recordsLoaded = registry.counter(
            "aggregator_raw_records_total",
            help: "Raw records loaded."
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
        ledgerUnbalanced = registry.gauge(
            "aggregator_ledger_unbalanced_logs",
            help: "Logs whose ledger does not balance or which have gaps; of the compactor alone."
        )
        ledgerMissing = registry.gauge(
            "aggregator_ledger_missing_offsets",
            help: "Offsets older than a minute that are neither folded nor skipped."
        )
        ledgerUnaccounted = registry.gauge(
            "aggregator_ledger_unaccounted_offsets",
            help: "Offsets by which the ledger's counters and the folded sets differ."
        )
        ledgerPending = registry.gauge(
            "aggregator_ledger_pending_offsets",
            help: "Offsets below the known ends that are not folded."
        )
        logsAssumedGone = registry.gauge(
            "aggregator_logs_assumed_gone",
            help: "Logs without an end that were silent for 24 hours."
        )
        ledgerReviews = registry.counter(
            "aggregator_ledger_reviews_total",
            help: "Looks at the ledger of the whole database, by the compactor."
        )
        messages = registry.counter(
            "aggregator_kafka_messages_total",
            help: "Messages received from assigned partitions."
        )
        messagesMissing = registry.counter(
            "aggregator_kafka_messages_missing_total",
            help: "Offsets of partitions at which there was no message."
        )
        untrusted = registry.counter(
            "aggregator_kafka_untrusted_total",
            help: "Messages parked without accounting, because they cannot be trusted."
        )
        rewinds = registry.counter(
            "aggregator_kafka_rewinds_total",
            help: "Partitions read again from their beginning."
        )
        consumerErrors = registry.counter(
            "aggregator_kafka_errors_total",
            help: "Errors reported by the consumer."
        )
        lagMessages = registry.gauge(
            "aggregator_kafka_lag_messages",
            help: "Messages not taken yet, of all assigned partitions."
        )
        lagMessagesMax = registry.gauge(
            "aggregator_kafka_lag_messages_max",
            help: "Messages not taken yet, of the assigned partition with the most."
        )
        partitionsAssigned = registry.gauge(
            "aggregator_kafka_partitions",
            help: "Partitions assigned to this aggregator."
        )
        rebalances = Dictionary(
            uniqueKeysWithValues: Rebalance.allCases.map {
                (
                    $0,
                    registry.counter(
                        "aggregator_kafka_rebalances_total",
                        help: "Changes of the assigned partitions.",
                        labels: [("change", $0.rawValue)]
                    )
                )
            }
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

    /// Counts a change of the assigned partitions.
    func rebalanced(_ change: Rebalance) { rebalances[change]?.add() }

    /// Shows the ledger of the database.
    func balanced(_ balance: LedgerBalance) {
        ledgerUnbalanced.set(balance.unbalancedCount)
        ledgerMissing.set(balance.missing)
        ledgerUnaccounted.set(balance.unaccounted)
        ledgerPending.set(balance.pending)
        logsAssumedGone.set(balance.assumedGoneCount)
    }

    /// Counts a retry.
    func retried(_ reason: Retry) { retries[reason]?.add() }

    /// Counts dead letters that have been committed.
    func parked(_ letters: [DeadLetter]) {
        for letter in letters { deadLetters[letter.reason]?.add() }
    }
}
