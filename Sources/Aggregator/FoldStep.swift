package import Postgres

/// A moment of the fold at which a test may look, wait, kill the connection or fail it.
package enum FoldStep: String, CaseIterable, Sendable {
    /// Dimension values are about to be looked up and inserted.
    case dimensions
    /// The fold transaction is about to begin.
    case begin
    /// Rows of `source` are about to be made.
    case insertSources
    /// The active generation is about to be read.
    case checkGeneration
    /// Delta rows are about to be copied.
    case copyDeltas
    /// A COPY of delta rows has begun: the server waits for rows.
    case copyOpen
    /// Raw records are about to be copied, if they are kept.
    case loadRecords
    /// Dead letters are about to be copied.
    case deadLetters
    /// The ledger is about to be updated.
    case ledger
    /// What is known of the logs is about to be updated.
    case registry
    /// Transport offsets are about to be updated.
    case transportOffsets
    /// Rows of `source` are about to be locked.
    case lockSources
    /// The guarded update is about to run.
    case updateSources
    /// The transaction is about to be committed.
    case commit
    /// The transaction has been committed, but nobody has been told.
    case committed
}

/// A moment of a compaction round; as `FoldStep`.
package enum CompactionStep: String, CaseIterable, Sendable {
    /// The round is about to begin.
    case begin
    /// Deltas are about to be deleted.
    case takeDeltas
    /// Existing rows are about to be read.
    case takeRows
    /// Final rows are about to be written.
    case writeRows
    /// The round is about to be committed.
    case commit
    /// The round has been committed.
    case committed
}

/// Called on the thread that works, before each step, with the process id of the database backend;
/// an error returned is as if PostgreSQL had answered it.
package typealias FoldObserver = @Sendable (FoldStep, Int32) -> PostgresError?

/// As `FoldObserver`, for the compactor.
package typealias CompactionObserver = @Sendable (CompactionStep, Int32) -> PostgresError?

/// What tests hang into an aggregator; empty in production.
package struct AggregatorHooks: Sendable {
    /// Called before each step of a fold.
    package var fold: FoldObserver?
    /// Called before each step of a compaction round.
    package var compaction: CompactionObserver?

    /// No hooks.
    package init() {}
}
