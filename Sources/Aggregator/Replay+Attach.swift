import Postgres
import Rollups

/// What follows when all rows are folded: partitions are written, get their indexes, and become
/// parts of their tables.
extension Replay {
    /// Goes on with a generation that a replay has begun which was killed.
    func resume() throws(ReplayError) {
        let begun = try sql { () throws(PostgresError) in
            try dropStaged()
            hasRuns = try !storedRuns().isEmpty
            return try control.query(
                """
                SELECT EXISTS (SELECT FROM pg_class
                    WHERE relnamespace = $1::text::regnamespace AND relkind = 'r'
                        AND relname ~ '_p[0-9]+$')
                """,
                [.text("sluice_g\(building)")]
            )
        }
        // Where partitions are there, all rows had been folded, or were merged from the deltas.
        if begun.bool(0, 0) == true { try finishBulk() }
    }

    /// Drops tables that another session has written and that were not counted, since the replay
    /// was killed in between.
    private func dropStaged() throws(PostgresError) {
        let found = try connection.query(
            """
            SELECT format('%I.%I', $1::text, relname) FROM pg_class
            WHERE relnamespace = $1::text::regnamespace AND relkind = 'r'
                AND relname ~ '^staged_[0-9]+_[0-9]+$'
            """,
            [.text("sluice_g\(building)")]
        )
        for row in 0..<found.rowCount {
            if let name = found.text(row, 0) { try connection.execute("DROP TABLE \(name)") }
        }
    }

    /// Writes what is held, or merges it with what is stored, and makes the partitions parts of
    /// their tables; from here on new ones are so at once.
    func finishBulk() throws(ReplayError) {
        try writeHeld()
        try sql { () throws(PostgresError) in
            if hasRuns { try mergeRuns() }
            var loose: [LoosePartition] = []
            for table in tables { loose += try round(table).loosePartitions() }
            try share(loose, by: \.byteCount) { rest, connection throws(PostgresError) in
                while let next = rest.next() { try connection.execute(next.statement) }
            }
        }
        isBulk = false
        hasRuns = false
    }

    /// Does several things by several sessions, the largest first, each of which may commit them.
    func share<Work: Sendable>(
        _ work: [Work],
        by byteCount: (Work) -> Int,
        _ body:
            @escaping @Sendable (WorkQueue<Work>, PostgresConnection) throws(PostgresError) -> Void
    ) throws(PostgresError) {
        let ascending = work.sorted { byteCount($0) < byteCount($1) }
        let shared = ascending.dropLast().reduce(0) { $0 + byteCount($1) }
        let rest = WorkQueue(ascending)
        // A row has about 100 bytes.
        let helperCount = shared >= limits.sharedRowsMin * 100 ? limits.writersMax - 1 : 0
        let helpers = (0..<helperCount).map { _ in
            ReplayHelper(configuration.postgres) { connection throws(CompactionFailure) in
                do throws(PostgresError) { try body(rest, connection) } catch {
                    throw .database(error)
                }
            }
        }
        defer { for helper in helpers { try? helper.wait() } }
        try body(rest, connection)
        do throws(CompactionFailure) { for helper in helpers { try helper.wait() } } catch {
            throw Self.postgres(error)
        }
    }
}

/// A table with rows that is to become a partition.
struct LoosePartition: Sendable {
    /// What makes it one.
    let statement: String
    /// How large it is.
    let byteCount: Int
}
