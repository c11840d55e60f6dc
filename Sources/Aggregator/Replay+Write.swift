import Postgres
import Rollups
import Synchronization

extension Replay {
    /// A session that writes to the generation that is being built; the next replay waits until it
    /// is gone.
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
            SET work_mem = '64MB'; SET max_parallel_maintenance_workers = 0;
            SET max_parallel_workers_per_gather = 0
            """
        )
        try ReplayLock.join(connection)
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
                if hasRuns || loadsTiers && rowCount >= limits.directRowsMin {
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

    /// Writes rows for the tiers without the way through the delta tables: nobody else writes to
    /// this generation.
    ///
    /// Tables that are new may be written by another session, which commits them under another
    /// name: here they get their own, together with the offsets that they stand for.
    private func writeTiers(_ rowCount: Int) throws(FoldFailure) {
        let isShared = isBulk && rowCount >= limits.sharedRowsMin
        let isPartial = hasRuns
        let work = ReplayWork(
            tables.enumerated().map { ($1, held.takeRows(of: $0)) },
            isShared: isShared
        )
        let configuration = configuration
        do throws(CompactionFailure) {
            let helper =
                isShared
                ? ReplayHelper(configuration.postgres) {
                    connection throws(CompactionFailure) in
                    do throws(CompactionFailure) {
                        try Replay.help(work, isPartial: isPartial, configuration, connection)
                    } catch {
                        work.cancel()
                        throw error
                    }
                } : nil
            do throws(CompactionFailure) {
                while let job = work.next(isHelper: false) {
                    switch job {
                    case .order(let table, let runs):
                        work.add(try round(table).pieces(runs, isPartial: isPartial))
                    case .write(let piece): try write(piece)
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
            throw .database(Self.postgres(error))
        }
    }

    /// Writes a piece in the transaction that counts it.
    private func write(_ piece: ReplayPiece) throws(CompactionFailure) {
        let round = round(piece.table)
        if piece.target == .partition { return try round.amend(piece, &groups, &hashes) }
        try round.database { () throws(PostgresError) in
            let name = "\(piece.table.schema).\(piece.makeName())"
            try round.stage(piece, name)
            guard !isBulk else { return }
            try connection.execute(round.attachment(of: piece.partition, piece.tier, name))
        }
    }

    /// Does what another session may do, and commits it.
    private static func help(
        _ work: ReplayWork,
        isPartial: Bool,
        _ configuration: AggregatorConfiguration,
        _ connection: PostgresConnection
    ) throws(CompactionFailure) {
        func round(_ table: RollupTable) -> CompactionRound {
            Self.round(table, configuration, connection)
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
                    work.add(try round(table).pieces(runs, isPartial: isPartial))
                case .write(let piece):
                    count += 1
                    let name = piece.table.staged("\(connection.backendPID)_\(count)")
                    try database { () throws(PostgresError) in
                        try round(piece.table).stage(piece, name)
                    }
                    work.add(StagedPiece(staged: name, piece: piece))
                }
            }
            try database { () throws(PostgresError) in try connection.commit() }
        } catch {
            connection.rollback()
            throw error
        }
    }

    /// Gives tables that another session has written their names, in the transaction that counts
    /// their rows.
    private func adopt(_ staged: [StagedPiece]) throws(CompactionFailure) {
        for entry in staged {
            do throws(PostgresError) {
                try connection.execute(
                    "ALTER TABLE \(entry.staged) RENAME TO \(entry.piece.makeName())"
                )
            } catch { throw .database(error) }
        }
    }
}
