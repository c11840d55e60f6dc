import Postgres
import Rollups

/// What follows when all rows are written: partitions get the rows beside them and their indexes,
/// and become parts of their tables.
extension Replay {
    /// Drops partitions that another session has written and that were not counted, since the
    /// replay was killed in between.
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

    /// Makes the partitions that were left loose, also by a replay that was killed, parts of their
    /// tables; from here on new ones are so at once. Their indexes are made by two sessions.
    func attachPartitions() throws(ReplayError) {
        try sql { () throws(PostgresError) in
            try dropStaged()
            try mergeLate()
            var loose: [LoosePartition] = []
            for table in tables { loose += try round(table).loosePartitions() }
            loose.sort { $0.byteCount < $1.byteCount }
            let rest = WorkQueue(loose)
            let byteCount = loose.dropLast().reduce(0) { $0 + $1.byteCount }
            let isShared = byteCount >= limits.sharedRowsMin * 100
            let helper =
                isShared
                ? ReplayHelper(configuration.postgres) {
                    connection throws(CompactionFailure) in
                    do throws(PostgresError) { try Self.attach(rest, connection) } catch {
                        throw .database(error)
                    }
                } : nil
            defer { try? helper?.wait() }
            try Self.attach(rest, connection)
            do throws(CompactionFailure) { try helper?.wait() } catch {
                throw Self.postgres(error)
            }
        }
        partitions.loose.removeAll()
        partitions.areLeftLoose = false
    }

    /// Attaches partitions until none is left; each statement is a transaction.
    private static func attach(
        _ rest: WorkQueue<LoosePartition>,
        _ connection: PostgresConnection
    ) throws(PostgresError) {
        while let next = rest.next() { try connection.execute(next.statement) }
    }
}

/// A table with rows that is to become a partition.
struct LoosePartition: Sendable {
    /// What makes it one.
    let statement: String
    /// How large it is.
    let byteCount: Int
}
