import Postgres
import Rollups
import Synchronization

extension Replay {
    /// A session that writes to the generation that is being built.
    ///
    /// A commit that a crash of the server loses is made again: rows and offsets are one
    /// transaction, and the switch comes behind all of them. Indexes of whole partitions are sorted
    /// in memory (chosen), by one process each: two of them are made at once.
    static func session(
        _ uri: String,
        _ name: String
    ) throws(PostgresError) -> PostgresConnection {
        let connection = try PostgresConnection(uri, applicationName: name)
        try connection.execute(
            """
            SET jit = off; SET synchronous_commit = off; SET maintenance_work_mem = '256MB';
            SET max_parallel_maintenance_workers = 0
            """
        )
        return connection
    }

    /// Writes what is held and the offsets that it stands for, in one transaction.
    func writeHeld() throws(ReplayError) {
        guard held.offsetCount > 0 else { return }
        let transaction = FoldTransaction(
            connection: connection,
            catalog: catalog,
            observer: nil
        )
        let rowCount = held.rowCount
        do throws(FoldFailure) {
            try transaction.rebuild(held.wanted) { () throws(FoldFailure) in
                if loadsTiers && rowCount >= limits.directRowsMin {
                    try writeTiers(rowCount)
                } else {
                    try transaction.database { () throws(PostgresError) in try copyDeltas() }
                }
            }
        } catch {
            switch error {
            case .database(let error), .inDoubt(let error): throw .database(error)
            case .miss, .generationChanged:
                throw .refused("generation \(building) was changed by somebody else")
            }
        }
        held.removeAll()
    }

    /// Appends rows to the deltas, as a live fold does.
    private func copyDeltas() throws(PostgresError) {
        for (index, table) in tables.enumerated() {
            let runs = held.takeRows(of: index)
            guard !runs.isEmpty else { continue }
            try connection.copyIn(table.copy(into: table.deltaTable)) {
                (writer: inout CopyWriter) throws(PostgresError) in
                for rows in runs {
                    try writer.rows(rows, 0..<rows.count, columns: table.columns.count)
                }
            }
        }
    }

    /// Merges rows into the tiers without the way through the delta tables: nobody else writes to
    /// this generation.
    ///
    /// Partitions that are new may be written by another session, to tables that it commits under
    /// another name: here they get their own, together with the offsets that they stand for.
    private func writeTiers(_ rowCount: Int) throws(FoldFailure) {
        let isShared = partitions.areLeftLoose && rowCount >= limits.sharedRowsMin
        let work = ReplayWork(
            tables.enumerated().map { ($1, held.takeRows(of: $0)) },
            written: partitions.written,
            isShared: isShared
        )
        let configuration = configuration
        do throws(CompactionFailure) {
            let helper =
                isShared
                ? ReplayHelper(configuration.postgres) {
                    connection throws(CompactionFailure) in
                    do throws(CompactionFailure) {
                        try Replay.help(work, configuration, connection)
                    } catch {
                        work.cancel()
                        throw error
                    }
                } : nil
            do throws(CompactionFailure) {
                while let job = work.next(isHelper: false) {
                    switch job {
                    case .order(let table, let runs):
                        work.add(try round(table).pieces(runs, work.written))
                    case .write(let piece):
                        try round(piece.table).write(piece, &partitions, &groups, &hashes)
                    }
                }
            } catch {
                work.cancel()
                try? helper?.wait()
                throw error
            }
            try helper?.wait()
            try adopt(work.staged)
        } catch {
            switch error {
            case .database(let error): throw .database(error)
            case .malformed(let error, let table):
                throw .database(
                    PostgresError(
                        call: "Replay.write",
                        message: "a row of \(table) is damaged: \(error)"
                    )
                )
            }
        }
    }

    /// Does what another session may do, and commits it.
    private static func help(
        _ work: ReplayWork,
        _ configuration: AggregatorConfiguration,
        _ connection: PostgresConnection
    ) throws(CompactionFailure) {
        func round(_ table: RollupTable) -> CompactionRound {
            CompactionRound(
                connection: connection,
                configuration: configuration,
                table: table,
                observer: nil
            )
        }
        func database(_ body: () throws(PostgresError) -> Void) throws(CompactionFailure) {
            do throws(PostgresError) { try body() } catch { throw .database(error) }
        }
        try database { () throws(PostgresError) in
            try connection.begin("ISOLATION LEVEL READ COMMITTED")
        }
        do throws(CompactionFailure) {
            var count = 0
            while let job = work.next(isHelper: true) {
                switch job {
                case .order(let table, let runs):
                    work.add(try round(table).pieces(runs, work.written))
                case .write(let piece):
                    count += 1
                    let name = piece.table.staged("\(connection.backendPID)_\(count)")
                    try database { () throws(PostgresError) in
                        try round(piece.table).stage(piece, name)
                    }
                    work.add(StagedPartition(staged: name, piece: piece))
                }
            }
            try database { () throws(PostgresError) in try connection.commit() }
        } catch {
            connection.rollback()
            throw error
        }
    }

    /// Gives partitions that another session has written their names, in the transaction that
    /// counts their rows.
    private func adopt(_ staged: [StagedPartition]) throws(CompactionFailure) {
        for entry in staged {
            let piece = entry.piece
            let own = piece.table.name(piece.tier, piece.partition)
            do throws(PostgresError) {
                try connection.execute("ALTER TABLE \(entry.staged) RENAME TO \(own)")
            } catch { throw .database(error) }
            partitions.loose.insert(piece.name)
            partitions.written[piece.name] = piece.lastWritten
        }
    }

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
            var loose: [LoosePartition] = []
            for table in tables { loose += try round(table).loosePartitions() }
            loose.sort { $0.byteCount < $1.byteCount }
            let rest = AttachmentQueue(loose)
            let byteCount = loose.dropLast().reduce(0) { $0 + $1.byteCount }
            let isShared = byteCount >= limits.sharedRowsMin * 100
            let helper =
                isShared
                ? ReplayHelper(configuration.postgres) {
                    connection throws(CompactionFailure) in
                    do throws(PostgresError) { try rest.drain(connection) } catch {
                        throw .database(error)
                    }
                } : nil
            defer { try? helper?.wait() }
            try rest.drain(connection)
            do throws(CompactionFailure) { try helper?.wait() } catch {
                if case .database(let error) = error { throw error }
            }
        }
        partitions.loose.removeAll()
        partitions.areLeftLoose = false
    }
}

/// A table with rows that is to become a partition.
struct LoosePartition: Sendable {
    /// What makes it one.
    let statement: String
    /// How large it is.
    let byteCount: Int
}

/// Partitions that sessions attach, the largest first.
private final class AttachmentQueue: Sendable {
    private let rest: Mutex<[LoosePartition]>

    init(_ loose: [LoosePartition]) { rest = Mutex(loose) }

    /// Attaches until none is left; each statement is a transaction.
    func drain(_ connection: PostgresConnection) throws(PostgresError) {
        while let next = rest.withLock({ $0.popLast() }) {
            try connection.execute(next.statement)
        }
    }
}
