import Postgres

/// Drops the buckets of rollups that are past their retention, by whole partitions.
enum RollupRetention {
    /// The first bucket of the partition that is the oldest still kept, by tier.
    private static let wanted = """
        SELECT t.rollup, t.tier, date_trunc(
            CASE t.tier WHEN '1m' THEN 'day' WHEN '1d' THEN 'year' ELSE 'month' END,
            now() - t.retain, 'UTC') AS horizon
        FROM sluice.rollup_tier t WHERE t.retain IS NOT NULL
        """

    /// Moves the horizons to the first partitions that are still kept; they never move back.
    ///
    /// The generation's row is locked, so that folds that may still write below them end first, and
    /// later ones, which find the row changed, know them.
    ///
    /// - Returns: Whether any was moved.
    static func publishHorizons(on connection: PostgresConnection) throws(PostgresError) -> Bool {
        let due = try connection.query(
            """
            SELECT EXISTS (SELECT FROM (\(wanted)) n JOIN sluice.rollup_tier t USING (rollup, tier)
                WHERE t.horizon < n.horizon)
            """
        )
        guard due.bool(0, 0) == true else { return false }
        try connection.transaction("ISOLATION LEVEL READ COMMITTED") { () throws(PostgresError) in
            try connection.execute(
                """
                UPDATE sluice.generation SET horizons = horizons + 1 WHERE state = 'active';
                UPDATE sluice.rollup_tier t SET horizon = n.horizon
                FROM (\(wanted)) n
                WHERE t.rollup = n.rollup AND t.tier = n.tier AND t.horizon < n.horizon
                """
            )
        }
        return true
    }

    /// Drops the partitions below the horizons, each as soon as nobody reads it: after a second of
    /// waiting the next call goes on.
    ///
    /// - Returns: The names of the partitions that were dropped.
    static func enforce(on connection: PostgresConnection) throws(PostgresError) -> [String] {
        _ = try publishHorizons(on: connection)
        let expired = try connection.query(
            """
            SELECT format('%I.%I', s.nspname, c.relname)
            FROM sluice.generation g
            JOIN pg_namespace s ON s.nspname = 'sluice_g' || g.id
            CROSS JOIN sluice.rollup_tier t
            JOIN pg_class p ON p.relnamespace = s.oid AND p.relname = t.rollup || '_' || t.tier
            JOIN pg_inherits i ON i.inhparent = p.oid
            JOIN pg_class c ON c.oid = i.inhrelid
            WHERE g.state = 'active' AND isfinite(t.horizon)
                AND to_date(rpad(substring(c.relname FROM '_p([0-9]{4,8})$'), 8, '0101'),
                    'YYYYMMDD')::timestamp AT TIME ZONE 'UTC' < t.horizon
            ORDER BY 1
            """
        )
        var dropped: [String] = []
        for row in 0..<expired.rowCount {
            guard let name = expired.text(row, 0) else { continue }
            do throws(PostgresError) {
                try connection.transaction { () throws(PostgresError) in
                    try connection.execute("SET LOCAL lock_timeout = '1s'; DROP TABLE \(name)")
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
