/// What an aggregator needs to know; built once by the executable.
package struct AggregatorConfiguration: Sendable {
    /// The database: any libpq URI.
    package var postgres: String
    /// The data directory: logs in `log`, checkpoints in `checkpoints`.
    package var data: String
    /// The name under which checkpoints are kept.
    package var consumer = "aggregator"

    /// How long records wait for company before they are written.
    package var flushInterval: Duration = .milliseconds(250)
    /// Most records of one fold transaction; reached only under backlog. Chosen: large flushes
    /// merge more records per row, small ones keep retries cheap.
    package var flushRecordsMax = 250_000
    /// Most log bytes of one fold transaction; two such batches are in memory at once.
    package var flushBytesMax = 64 << 20
    /// Most distinct rows of one fold transaction, which bounds the memory of the fold itself.
    package var flushRowsMax = 150_000
    /// Most logs of one fold transaction, which bounds its locks.
    package var flushLogsMax = 512

    /// Ranges in a log's folded set beyond which the log is paused: one guarded update costs 1.6 ms
    /// at 1,000 ranges and 162 ms at 100,000.
    package var rangesPerLogMax = 1_000
    /// How far above the known end of its log an offset from a transport may be. Chosen: hours of
    /// one lane at full load; what an intruder can claim at once.
    package var offsetsAheadMax: UInt64 = 10_000_000
    /// Largest record taken from a transport; chosen: four times what a lane writes.
    package var messageBytesMax = 4 << 20
    /// Bytes kept of a message that is not trusted; chosen: what a lane writes at most.
    package var untrustedBytesMax = 1 << 20
    /// Logs of which a transport remembers what is folded; beyond, all are forgotten and asked for
    /// again. Chosen: some tens of megabytes.
    package var logsRememberedMax = 100_000
    /// Shortest time between two rewinds of a partition because of missing offsets. Chosen: an
    /// intruder can claim an offset too high, and must not keep a partition busy with the past.
    package var rewindInterval: Duration = .seconds(3_600)
    /// How long a partition may be silent where its last message is expected, before a broker is
    /// asked whether it ends below. Chosen: longer than a fetch takes.
    package var silenceMax: Duration = .seconds(3)
    /// How long until a message of a partition is read again, to see whether the topic is still the
    /// same. Chosen: one message per partition and half a minute.
    package var probeInterval: Duration = .seconds(30)
    /// Messages taken from the consumer at once, before anything else is looked at; chosen.
    package var messagesPerPollMax = 2_000
    /// How far in the future a record may complete before it goes to the dead letters.
    package var futureTolerance: Duration = .seconds(3_600)
    /// Longest wait between two attempts at one transaction, and before a yielded log is looked at.
    package var retryDelayMax: Duration = .seconds(1)
    /// After this silence inside a transaction PostgreSQL ends the session, so that a stopped
    /// aggregator does not hold its locks for ever.
    package var idleTransactionTimeout: Duration = .seconds(3)
    /// Dimension values whose ids are remembered; when full, the memory is dropped as a whole.
    package var dimensionsCachedMax = 500_000
    /// How long raw records are kept, by whole days of UTC; nil if they are not loaded at all.
    package var recordsRetain: Duration?
    /// Logs held open at once.
    package var readersMax = 256

    /// Whether this process also offers to be the compactor.
    package var compacts = true
    /// Pause between two rounds of the compactor when there is no backlog.
    package var compactionInterval: Duration = .seconds(2)
    /// Most delta rows that one round of the compactor takes of each rollup.
    package var compactionRowsMax = 200_000
    /// Keys that a bucket keeps per organisation, equal in all tiers; the rest is `__other__`.
    package var keysPerBucketMax = 100_000
    /// Delta rows deleted between two vacuums of a delta table.
    package var vacuumRowsMin = 100_000

    /// A configuration with defaults for all but the two places.
    ///
    /// - Parameters:
    ///   - postgres: The database, as a libpq URI.
    ///   - data: The data directory; only the local transport needs it.
    package init(postgres: String, data: String = "") {
        self.postgres = postgres
        self.data = data
    }
}
