import Logging
import Postgres

/// Finds and ends sessions of Sluice that have stopped in the middle of a COPY.
///
/// A process that is stopped (SIGSTOP, a suspended machine) inside a transaction holds its locks.
/// Between two statements `idle_in_transaction_session_timeout` ends such a session; inside a COPY
/// no time limit of PostgreSQL does, because the server then waits for data and takes no
/// cancellation. So whoever waits for a lock in vain looks twice: a COPY whose bytes have not moved
/// in between belongs to nobody who is awake. Ending one that was only slow loses nothing: its
/// owner tries again.
struct FrozenSessions {
    /// A COPY that was seen.
    private struct Copy: Hashable {
        let backend: Int64
        /// When it began, as the database writes it: a later COPY of the session is another one.
        let startedAt: String
        let byteCount: Int64
    }

    /// COPYs of those who write rollups, either way; exports to slow readers are none of them.
    private static let copies = """
        FROM pg_stat_progress_copy copy
        JOIN pg_stat_activity session USING (pid)
        WHERE copy.datname = current_database() AND copy.type = 'PIPE'
          AND session.usename = current_user AND session.query_start IS NOT NULL
          AND session.application_name
              IN ('sluice-aggregator', 'sluice-compactor', 'sluice-replay-fold')
        """

    private static let look = """
        SELECT copy.pid::bigint, session.query_start::text, copy.bytes_processed \(copies)
        """

    /// Ends the session only if the same COPY is still where it was.
    private static let end = """
        SELECT pg_terminate_backend(copy.pid) \(copies)
          AND copy.pid = $1 AND session.query_start::text = $2 AND copy.bytes_processed = $3
        """

    /// What the last look saw.
    private var seen: Set<Copy> = []

    /// Looks once, and ends what has not moved since the last look, which is logged.
    mutating func endFrozen(
        on connection: PostgresConnection,
        _ logger: Logger
    ) throws(PostgresError) {
        let rows = try connection.query(Self.look)
        var now: Set<Copy> = []
        for row in 0..<rows.rowCount {
            guard let backend = rows.int(row, 0), let startedAt = rows.text(row, 1),
                let byteCount = rows.int(row, 2)
            else { continue }
            now.insert(Copy(backend: backend, startedAt: startedAt, byteCount: byteCount))
        }
        var count = 0
        for copy in now.intersection(seen) {
            let ended = try connection.query(
                Self.end,
                [.int(copy.backend), .text(copy.startedAt), .int(copy.byteCount)]
            )
            count += ended.rowCount
        }
        seen = now
        guard count > 0 else { return }
        logger.warning(
            "sessions that stopped in the middle of a COPY were ended",
            metadata: ["sessions": "\(count)"]
        )
    }

    /// Forgets what was seen: somebody has got the lock.
    mutating func reset() { seen.removeAll() }
}
