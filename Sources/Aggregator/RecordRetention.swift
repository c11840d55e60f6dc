import Postgres

/// What the database knows of raw records: whether they are loaded, and how long they are kept.
enum RecordRetention {
    /// Says that records are loaded from now on and how long they are kept, or that they are not
    /// loaded any more. Called by whoever folds, before its first fold.
    ///
    /// Where nothing has been folded yet, everything will be there. What is left when loading is
    /// turned off goes by the retention that it had.
    static func declare(
        _ retain: Duration?,
        on connection: PostgresConnection
    ) throws(PostgresError) {
        guard let retain else {
            try connection.execute(
                "UPDATE sluice.record_retention SET since = NULL WHERE since IS NOT NULL"
            )
            return
        }
        try connection.query(
            """
            UPDATE sluice.record_retention SET
                since = coalesce(since, CASE WHEN EXISTS (
                    SELECT FROM sluice.source WHERE NOT isempty(folded)
                ) THEN now() ELSE '-infinity' END),
                retain = $1::int8 * interval '1 microsecond'
            WHERE since IS NULL OR retain <> $1::int8 * interval '1 microsecond'
            """,
            [.int(retain.microseconds)]
        )
        try publishHorizon(on: connection)
    }

    /// Moves the horizon to the first day that is still kept; it never moves back.
    private static func publishHorizon(
        on connection: PostgresConnection
    ) throws(PostgresError) {
        try connection.execute(
            """
            UPDATE sluice.record_retention SET horizon = n.horizon
            FROM (SELECT date_trunc('day', now() - retain, 'UTC') AS horizon
                FROM sluice.record_retention) n
            WHERE record_retention.horizon < n.horizon
                AND (since IS NOT NULL
                    OR EXISTS (SELECT FROM pg_inherits
                        WHERE inhparent = 'sluice.records'::regclass))
            """
        )
    }

    /// Drops the partitions of days that have passed.
    ///
    /// First the horizon is published, which waits for folds that may still write below it; then
    /// partitions below are dropped, each as soon as nobody reads it: after a second of waiting the
    /// next call goes on.
    ///
    /// - Returns: The names of the partitions that were dropped.
    static func enforce(on connection: PostgresConnection) throws(PostgresError) -> [String] {
        try publishHorizon(on: connection)
        let expired = try connection.query(
            """
            SELECT c.relname::text
            FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
            WHERE i.inhparent = 'sluice.records'::regclass AND c.relname ~ '^records_p[0-9]{8}$'
                AND to_date(right(c.relname, 8), 'YYYYMMDD')::timestamp AT TIME ZONE 'UTC'
                    < (SELECT horizon FROM sluice.record_retention)
            ORDER BY 1
            """
        )
        var dropped: [String] = []
        for row in 0..<expired.rowCount {
            guard let name = expired.text(row, 0) else { continue }
            do throws(PostgresError) {
                try connection.transaction { () throws(PostgresError) in
                    try connection.execute(
                        "SET LOCAL lock_timeout = '1s'; DROP TABLE sluice.\(name)"
                    )
                }
            } catch {
                if error.sqlState == "55P03" { return dropped }
                throw error
            }
            dropped.append(name)
        }
        return dropped
    }
}
