import Postgres

/// Keeps replays apart: one at a time, none before the sessions of one that was killed are gone.
///
/// A process that is killed leaves sessions behind which end their statement before they notice, a
/// commit perhaps. So each session that writes holds a lock of its own for as long as it lives.
/// Advisory locks of PostgreSQL are free again when their session ends, however that happens.
enum ReplayLock {
    /// Held by the replay that is running; an arbitrary number ("replay" in ASCII).
    private static let replay: Int64 = 0x72_6570_6C61_79
    /// Shared by the sessions that write for it ("replys").
    private static let sessions: Int64 = 0x72_6570_6C79_73

    /// Waits until no other replay is running, and no session of an earlier one.
    ///
    /// - Parameters:
    ///   - control: The session that holds the lock until it ends.
    ///   - patience: How long to wait for either.
    /// - Throws: `refused` with who holds the lock, when that takes longer.
    static func take(_ control: PostgresConnection, patience: Duration) throws(ReplayError) {
        do throws(PostgresError) {
            noticeDeath(control)
            try control.execute("SET lock_timeout = \(patience.milliseconds)")
            try control.query("SELECT pg_advisory_lock($1)", [.int(replay)])
            try control.query("SELECT pg_advisory_lock($1)", [.int(sessions)])
            try control.query("SELECT pg_advisory_unlock($1)", [.int(sessions)])
            try control.execute("RESET lock_timeout")
        } catch {
            guard error.isLockTimeout else { throw .database(error) }
            throw .refused(
                """
                another replay is running\(holder(control)) and did not end while this one \
                waited; try again when it has
                """
            )
        }
    }

    /// Says that a session writes for the replay, until it ends.
    static func join(_ connection: PostgresConnection) throws(PostgresError) {
        noticeDeath(connection)
        try connection.query("SELECT pg_advisory_lock_shared($1)", [.int(sessions)])
    }

    /// Lets the server look each second whether the client is still there, not only when it has
    /// something to tell it. Servers on some systems cannot, and find out later.
    private static func noticeDeath(_ connection: PostgresConnection) {
        try? connection.execute("SET client_connection_check_interval = '1s'")
    }

    /// Who holds one of the locks, for a message.
    private static func holder(_ control: PostgresConnection) -> String {
        let found = try? control.query(
            """
            SELECT pid::text, coalesce(host(client_addr), 'the server itself'),
                date_trunc('second', backend_start)::text
            FROM pg_locks JOIN pg_stat_activity USING (pid)
            WHERE locktype = 'advisory' AND granted AND objsubid = 1
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                AND (classid::int8 << 32 | objid::int8) = ANY ($1::text[]::int8[])
            ORDER BY backend_start LIMIT 1
            """,
            [.textArray([replay, sessions].map(String.init))]
        )
        guard let found, found.rowCount == 1, let pid = found.text(0, 0),
            let host = found.text(0, 1), let start = found.text(0, 2)
        else { return "" }
        return " from \(host) (session \(pid) of the database, since \(start))"
    }
}
