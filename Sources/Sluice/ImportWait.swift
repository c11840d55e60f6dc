import Console
import EventLog
import FileIO
import Postgres
import Records
import SluiceConfiguration

/// Waits until imported logs are visible in queries.
struct ImportWait: Sendable {
    /// The configuration: how records reach the aggregator, and which database it writes.
    let settings: Settings

    /// The data directory, whose processes are looked at.
    let data: DataDirectory

    /// Its logs.
    let logs: LogDirectory

    /// Longest time without a process that is needed before waiting is given up: one may be
    /// starting.
    private static let graceSeconds = 5.0

    /// Longest time without an answer of the database before waiting for it is given up.
    private static let databaseGraceSeconds = 15.0

    /// Time between two questions to the database, which rings no bell.
    private static let databaseInterval = Duration.milliseconds(250)

    /// Returns when all `targets` are counted to their ends.
    ///
    /// With the local transport the aggregator's checkpoints say so: one is stored after the
    /// commit, so everything below it can be queried; this sleeps on the bell of the log directory,
    /// which every checkpoint rings. With Kafka the aggregator may be on another machine, so the
    /// database is asked what is folded.
    func wait(for targets: [LogID], seconds: Double) async throws {
        let isLocal = settings.transport == .local
        try await blocking("import-wait") {
            var progress = try Progress(targets, logs)
            var database = FoldedLogs(uri: data.databaseURI(settings))
            let clock = SystemTimeSource()
            let started = clock.monotonicNanoseconds()
            var lastHelper = started
            func elapsed(since start: UInt64) -> Double {
                Double(clock.monotonicNanoseconds() - start) / 1e9
            }
            let total = progress.ends.count
            let bar = ProgressBar("waiting for the aggregator: logs counted", total: total)
            defer { bar.finish() }
            while true {
                let change = logs.changeCount
                if isLocal {
                    try progress.drop(countedBy: "aggregator", logs)
                } else {
                    database.ask(now: clock.monotonicNanoseconds(), &progress)
                }
                bar.update(total - progress.ends.count)
                if progress.ends.isEmpty { return }
                if hasHelper { lastHelper = clock.monotonicNanoseconds() }
                if elapsed(since: lastHelper) > Self.graceSeconds { throw noHelper }
                if let reason = database.failure,
                    elapsed(since: max(started, database.answeredAt)) > Self.databaseGraceSeconds
                {
                    throw CommandFailure.failed(
                        "everything is imported, but whether it is counted cannot be seen, because "
                            + "the database does not answer: \(reason)"
                    )
                }
                if elapsed(since: started) > seconds {
                    throw CommandFailure.failed(
                        "everything is imported, but after \(Units.seconds(seconds)) the "
                            + "aggregator has not counted \(progress.ends.count) of \(total) logs; "
                            + "it goes on: see `sluice status`, or give a longer --wait-timeout"
                    )
                }
                let timeout = isLocal ? Duration.seconds(1) : Self.databaseInterval
                logs.waitForChange(since: change, timeout: timeout)
            }
        }
    }

    /// Whether the process runs here without which nothing is ever counted: the aggregator, or with
    /// Kafka the pump.
    private var hasHelper: Bool {
        let role = settings.transport == .local ? "aggregator" : "pump"
        return ProcessRegistry(data).running().contains { $0.roles.contains(role) }
    }

    private var noHelper: CommandFailure {
        let role = settings.transport == .local ? "aggregator" : "pump"
        return .failed(
            "everything is imported, but no \(role) runs on \"\(data.path)\", so nothing is "
                + "counted yet; start `sluice up` or `sluice \(role)`"
        )
    }

    /// The logs that are still waited for, and where each ends.
    struct Progress {
        /// End offsets by log.
        var ends: [LogID: Offset] = [:]

        /// All of `targets`; a log that is gone already was deleted by retention, hence consumed.
        init(_ targets: [LogID], _ logs: LogDirectory) throws {
            for id in targets {
                guard let log = try logs.log(id) else { continue }
                let end = log.endOffset ?? log.durableOffset
                if end > .zero { ends[id] = end }
            }
        }

        /// Drops logs that a consumer's checkpoint has passed, or that retention has deleted.
        mutating func drop(countedBy consumer: String, _ logs: LogDirectory) throws {
            for (id, end) in ends {
                let isCounted = logs.checkpoint(of: consumer, in: id) >= end
                if try isCounted || logs.log(id) == nil { ends[id] = nil }
            }
        }
    }
}

/// Asks the database which logs are folded to their ends.
private struct FoldedLogs {
    /// When the database last answered, on the monotonic clock; 0 if never.
    private(set) var answeredAt: UInt64 = 0

    /// Why it did not answer the last time.
    private(set) var failure: String?

    private let uri: String
    private var connection: PostgresConnection?

    /// Asks the database at `uri`, which need not be there yet.
    init(uri: String) {
        self.uri = uri
    }

    private mutating func connect() throws(PostgresError) -> PostgresConnection {
        if let connection { return connection }
        let made = try PostgresConnection(uri, applicationName: "sluice import")
        connection = made
        return made
    }

    /// Drops what is folded to its end.
    mutating func ask(now: UInt64, _ progress: inout ImportWait.Progress) {
        do throws(PostgresError) {
            let connection = try connect()
            let ends = progress.ends.sorted { $0.key < $1.key }
            let result = try connection.query(
                """
                SELECT log_id::text
                FROM unnest($1::text[]::uuid[], $2) AS wanted (log_id, end_offset)
                JOIN sluice.source USING (log_id)
                WHERE generation = (SELECT id FROM sluice.generation WHERE state = 'active')
                  AND folded @> int8range(0, end_offset)
                """,
                [
                    .textArray(ends.map(\.key.description)),
                    .intArray(ends.map { Int64(clamping: $0.value.rawValue) }),
                ]
            )
            for row in 0..<result.rowCount {
                if let id = result.text(row, 0).flatMap({ LogID($0) }) { progress.ends[id] = nil }
            }
            failure = nil
            answeredAt = now
        } catch {
            connection = nil
            failure = String(error.message.prefix { !$0.isNewline })
        }
    }
}
