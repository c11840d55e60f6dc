import EventLog
import FileIO
import Postgres
import Records
import Rollups

extension Replay {
    /// How long live folds may be made to wait for one attempt at the switch to begin; chosen.
    private static let lockTimeout = "10s"
    private static let dayMicroseconds: Int64 = 86_400_000_000

    private var old: String { "sluice_g\(active)" }
    private var new: String { "sluice_g\(building)" }

    var tables: [RollupTable] { catalog.tables }

    /// The tables of a rollup for SQL, without schema: deltas and tiers.
    private func names(_ table: RollupTable) -> [String] { table.names.map(RollupTable.quoted) }

    /// Makes the generation and its empty tables, like those of the active one.
    func makeGeneration() throws(PostgresError) {
        try control.transaction { () throws(PostgresError) in
            try control.query(
                """
                INSERT INTO sluice.generation (id, state, definitions, horizons)
                VALUES ($1, 'building', $2, $3)
                """,
                [
                    .int(Int64(building)), .int(catalog.definitionsVersion),
                    .int(catalog.horizonsVersion),
                ]
            )
            var statements = "CREATE SCHEMA \(new);"
            for table in tables {
                for name in names(table) {
                    statements += "CREATE TABLE \(new).\(name) (LIKE \(old).\(name) INCLUDING ALL)"
                    statements +=
                        name == names(table)[0]
                        ? " WITH (autovacuum_vacuum_scale_factor = 0, "
                            + "autovacuum_vacuum_threshold = 20000);"
                        : " PARTITION BY RANGE (bucket);"
                }
            }
            try control.execute(statements + "SELECT sluice.protect_generation(\(building))")
        }
    }

    /// Drops what retired generations left.
    func dropRetired() throws(PostgresError) {
        let retired = try control.query(
            "SELECT id FROM sluice.generation WHERE state = 'retired' ORDER BY id"
        )
        for row in 0..<retired.rowCount {
            guard let id = retired.int(row, 0) else { continue }
            try drop(Int(id))
        }
    }

    func drop(_ generation: Int) throws(PostgresError) {
        try control.execute(
            """
            BEGIN;
            DROP SCHEMA IF EXISTS sluice_g\(generation) CASCADE;
            DELETE FROM sluice.source WHERE generation = \(generation);
            DELETE FROM sluice.ledger WHERE generation = \(generation);
            DELETE FROM sluice.generation WHERE id = \(generation) AND state <> 'active';
            COMMIT
            """
        )
    }

    /// Merges the deltas of the new generation into its tables.
    func compact() throws(ReplayError) {
        for table in tables {
            let round = round(table)
            do throws(CompactionFailure) {
                while try round.run(&groups, &hashes).deltaRows > 0 {
                    do throws(PostgresError) {
                        try connection.execute("VACUUM \(table.deltaTable)")
                    } catch { throw .database(error) }
                }
            } catch {
                switch error {
                case .database(let error): throw .database(error)
                case .malformed(let error, let table):
                    throw .refused("a row of \(table) is damaged: \(error)")
                }
            }
        }
    }

    /// Holds live folds back, folds the rest, and switches or compares.
    func finish(
        from: Int64?,
        to: Int64?,
        verifies: Bool,
        _ progress: (UInt64, UInt64) -> Void
    ) throws(ReplayError) {
        // The days that keep their rows are known but for what retention deletes meanwhile.
        try settleRange(from: from, to: to, isFinal: false)
        if !verifies {
            loadsTiers = false
            try sql { () throws(PostgresError) in
                guard outside != nil else { return }
                try pauseCompaction()
                try keepOldRows()
            }
        }
        let copied = outside
        try sql { () throws(PostgresError) in
            try control.begin("ISOLATION LEVEL READ COMMITTED")
        }
        let began = time.monotonicNanoseconds()
        do throws(ReplayError) {
            let held = try sql { () throws(PostgresError) in
                try control.execute("SET LOCAL lock_timeout = '\(Self.lockTimeout)'")
                return try control.query(
                    """
                    SELECT definitions FROM sluice.generation
                    WHERE id = $1 AND state = 'active' FOR UPDATE
                    """,
                    [.int(Int64(active))]
                )
            }
            guard held.rowCount == 1 else {
                throw .refused("generation \(active) is not the active one any more")
            }
            guard held.int(0, 0) == catalog.definitionsVersion else {
                throw .refused(
                    "the definitions of the rollups were changed meanwhile; run it again"
                )
            }
            while try catchUp(progress) > 0 {}
            try settleRange(from: from, to: to, isFinal: true)
            if verifies {
                // From here on the snapshot stands for both, and live folds go on.
                try sql { () throws(PostgresError) in
                    try connection.begin("ISOLATION LEVEL REPEATABLE READ READ ONLY")
                    try connection.query("SELECT FROM sluice.generation")
                }
                control.rollback()
                noteHeld(since: began)
                try compare()
            } else {
                try sql { () throws(PostgresError) in
                    if outside != copied { try keepOldRows() }
                    try keepOldDeltas()
                    try switchGenerations()
                    try control.commit()
                }
            }
        } catch {
            control.rollback()
            throw error
        }
        if !verifies { noteHeld(since: began) }
        let done = verifies ? building : active
        try sql { () throws(PostgresError) in
            if verifies { connection.rollback() } else if copied != nil { try resumeCompaction() }
            try drop(done)
        }
    }

    /// Notes how long live folds were held back.
    private func noteHeld(since began: UInt64) {
        report.heldMilliseconds = (time.monotonicNanoseconds() &- began) / 1_000_000
    }

    /// Decides which days are rebuilt: those that nothing touches of which the records are gone.
    ///
    /// - Parameters:
    ///   - from: Days before this keep their rows.
    ///   - to: Days from this on keep their rows.
    ///   - isFinal: Whether everything that can be read has been; otherwise only what is known to
    ///     be gone counts.
    /// - Throws: When offsets are neither readable nor deleted by retention.
    private func settleRange(from: Int64?, to: Int64?, isFinal: Bool) throws(ReplayError) {
        report.from = from
        report.to = to
        report.tombstoned = 0
        let tombstones: [Tombstone]
        do throws(EventLogError) { tombstones = try directory.tombstones() } catch {
            throw .log(error)
        }
        for (log, all) in try remainder().wanted {
            var rest = isFinal ? all : all.intersection(passed.offsets(of: log))
            for tombstone in tombstones where tombstone.log == log {
                let offsets = tombstone.offsets.numbers
                guard rest.overlaps(offsets) else { continue }
                let before = rest.offsetCount
                rest = rest.subtracting(OffsetRanges(offsets))
                report.tombstoned += before - rest.offsetCount
                guard let latest = tombstone.eventTimeMax else { continue }
                let day = Tier.day.bucket(of: latest) + Self.dayMicroseconds
                report.from = max(report.from ?? day, day)
            }
            let unseen = rest.subtracting(passed.skipped[log] ?? OffsetRanges())
            if !unseen.isEmpty, let latest = source.latestCompletion(of: log, unseen) {
                report.tombstoned += unseen.offsetCount
                rest = rest.subtracting(unseen)
                let day = Tier.day.bucket(of: latest) + Self.dayMicroseconds
                report.from = max(report.from ?? day, day)
            }
            let lost = try lostOffsets(log)
            guard rest.offsetCount <= lost else {
                throw .refused(
                    """
                    \(rest.offsetCount) offsets of log \(log) are counted but not in \
                    \(source.name) (\(lost) were lost before they were counted); a rebuild \
                    without them would count less
                    """
                )
            }
        }
    }

    /// How many offsets of a log the active generation knows to have no record.
    private func lostOffsets(_ log: LogID) throws(ReplayError) -> UInt64 {
        let found = try sql { () throws(PostgresError) in
            try connection.query(
                """
                SELECT coalesce(sum(damaged + expired + filtered + sampled + too_large + rejected
                    + lost), 0)::int8
                FROM sluice.ledger WHERE generation = $1 AND log_id = $2::text::uuid
                """,
                [.int(Int64(active)), .text(log.description)]
            )
        }
        return UInt64(clamping: found.int(0, 0) ?? 0)
    }

    /// Which buckets keep the rows of the old generation; nil when none does.
    var outside: String? {
        let parts = [
            report.from.map { ("<", $0) }, report.to.map { (">=", $0) },
        ].compactMap { $0 }.map {
            "bucket \($0.0) 'epoch'::timestamptz + \($0.1) * interval '1 microsecond'"
        }
        return parts.isEmpty ? nil : parts.joined(separator: " OR ")
    }

    /// Lets no compactor move deltas of the active generation, so that its tiers stay as they are;
    /// live folds go on. Waits for the round that is under way.
    private func pauseCompaction() throws(PostgresError) {
        try control.query(
            "SELECT pg_advisory_lock(\(CompactionRound.pauseLock), $1::int8::int4)",
            [.int(Int64(active))]
        )
    }

    private func resumeCompaction() throws(PostgresError) {
        try control.query(
            "SELECT pg_advisory_unlock(\(CompactionRound.pauseLock), $1::int8::int4)",
            [.int(Int64(active))]
        )
    }

    /// Replaces the rows of the buckets that are not rebuilt by those of the old generation, but
    /// for the deltas.
    private func keepOldRows() throws(PostgresError) {
        guard let outside else { return }
        let missing = try control.query(
            """
            SELECT quote_ident(p.relname), quote_ident(c.relname),
                pg_get_expr(c.relpartbound, c.oid)
            FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
            JOIN pg_class p ON p.oid = i.inhparent
            WHERE p.relnamespace = $1::text::regnamespace AND p.relkind = 'p'
                AND to_regclass($2 || '.' || quote_ident(c.relname)) IS NULL
            """,
            [.text(old), .text(new)]
        )
        for row in 0..<missing.rowCount {
            guard let parent = missing.text(row, 0), let name = missing.text(row, 1),
                let bounds = missing.text(row, 2)
            else { continue }
            try control.execute(
                """
                CREATE TABLE \(new).\(name) (LIKE \(new).\(parent) INCLUDING ALL);
                ALTER TABLE \(new).\(parent) ATTACH PARTITION \(new).\(name) \(bounds)
                """
            )
        }
        for table in tables {
            for name in names(table).dropFirst() { try copy(name, of: table, outside) }
        }
    }

    /// The same for the deltas, which live folds append to until they are held back.
    private func keepOldDeltas() throws(PostgresError) {
        guard let outside else { return }
        for table in tables {
            if let name = names(table).first { try copy(name, of: table, outside) }
        }
    }

    /// Replaces some rows of a table by those of the old generation.
    private func copy(
        _ name: String,
        of table: RollupTable,
        _ rows: String
    ) throws(PostgresError) {
        try control.execute(
            """
            DELETE FROM \(new).\(name) WHERE \(rows);
            INSERT INTO \(new).\(name) (\(table.columnList))
            SELECT \(table.columnList) FROM \(old).\(name) WHERE \(rows)
            """
        )
    }

    /// Makes the new generation the active one, with the accounting of the old one.
    private func switchGenerations() throws(PostgresError) {
        let since =
            report.from.map { "'epoch'::timestamptz + \($0) * interval '1 microsecond'" } ?? "NULL"
        let filled =
            report.to == nil
            ? """
            UPDATE sluice.rollup SET complete_since = least(complete_since, \(since))
            WHERE complete_since IS NOT NULL AND \(since) IS NOT NULL;
            UPDATE sluice.rollup SET complete_since = NULL WHERE \(since) IS NULL;
            """ : ""
        try control.execute(
            """
            INSERT INTO sluice.source (generation, log_id, folded)
            SELECT \(building), log_id, folded FROM sluice.source WHERE generation = \(active)
            ON CONFLICT (generation, log_id) DO UPDATE SET folded = excluded.folded;
            DELETE FROM sluice.ledger WHERE generation = \(building);
            UPDATE sluice.ledger SET generation = \(building) WHERE generation = \(active);
            UPDATE sluice.generation b SET horizons = a.horizons
            FROM sluice.generation a WHERE a.id = \(active) AND b.id = \(building);
            UPDATE sluice.generation SET state = 'retired' WHERE id = \(active);
            UPDATE sluice.generation SET state = 'active' WHERE id = \(building);
            \(filled)
            UPDATE sluice.log SET node = node;
            SELECT sluice.make_views(\(building))
            """
        )
    }
}
