package import Sinks

/// How the pump works; each sink has settings of its own in `PumpedSink`.
package struct PumpConfiguration: Sendable {
    /// How often a log's checkpoint is stored at most: two syncs each. Chosen: after a crash at
    /// most about so much is delivered twice.
    package var checkpointInterval: Duration = .seconds(1)
    /// Readers open at once for each sink; each may hold 1 MiB. Chosen: more than lanes on one
    /// machine, so that a reader of a live log stays open.
    package var readersMax = 32
    /// How long deliveries under way are waited for when the pump stops.
    package var drainLimit: Duration = .seconds(5)
    /// How often a sink is told to flush.
    package var flushInterval: Duration = .seconds(1)
    /// Ship once more to transport sinks what was appended at or after this, µs since the epoch.
    package var reshipFrom: Int64?
    /// How much the dead letters of each sink may take.
    package var deadLetters = LetterLimits()
    /// Called, on any thread, whenever a sink's circuit breaker changes its state.
    package var onStateChange: (@Sendable (_ sink: String, _ state: SinkState) -> Void)?

    /// The defaults.
    package init() {}
}

/// A sink and how records are put together for it.
package struct PumpedSink: Sendable {
    /// Its name in metrics; the consumer of its checkpoints is `sink-<name>`.
    package let name: String
    /// The sink.
    package let sink: any Sink
    /// A batch is closed once it has so many records.
    package var batchRecordsMax = 5_000
    /// A batch is closed once it has so many bytes.
    package var batchBytesMax = 1 << 20
    /// How long records wait for others that could leave with them.
    package var batchWait: Duration = .milliseconds(50)
    /// How many batches may be read but not acknowledged, waiting for a retry included. With
    /// `batchBytesMax` it bounds the memory of the sink.
    package var inFlightMax = 8
    /// The wait before the first repetition.
    package var retryDelayMin: Duration = .milliseconds(100)
    /// The longest wait between two repetitions.
    package var retryDelayMax: Duration = .seconds(30)
    /// The circuit breaker opens after so many failed deliveries in a row. Chosen.
    package var breakerThreshold = 5

    /// A sink with the default settings.
    package init(name: String, sink: any Sink) {
        self.name = name
        self.sink = sink
    }

    /// Whose checkpoints it has.
    package var consumer: String { "sink-\(name)" }
}

/// Whether deliveries to a sink are attempted.
package enum Breaker: String, Sendable, CaseIterable {
    /// They are.
    case closed
    /// They are not, until a wait is over.
    case open
    /// One is, to see whether the sink is back.
    case halfOpen = "half_open"
}

/// How a sink is doing.
package struct SinkState: Sendable, Equatable {
    /// Whether deliveries are attempted.
    package let breaker: Breaker
    /// What went wrong last; nil while the breaker is closed.
    package let reason: String?
    /// Since when, µs since the epoch.
    package let since: Int64

    /// Describes a sink's state.
    package init(breaker: Breaker, reason: String?, since: Int64) {
        self.breaker = breaker
        self.reason = reason
        self.since = since
    }
}
