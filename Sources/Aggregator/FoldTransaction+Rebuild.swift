import Postgres
import Records

extension FoldTransaction {
    /// Writes a batch to a generation that is being built, or nothing.
    ///
    /// Only rows and folded offsets: the ledger, dead letters and what is known of the logs are
    /// those of the active generation, and are taken over with the switch.
    ///
    /// - Parameters:
    ///   - wanted: The logs, ascending, with the offsets that the rows stand for.
    ///   - write: Writes the rows.
    func rebuild(
        _ wanted: [(log: LogID, offsets: OffsetRanges)],
        _ write: () throws(FoldFailure) -> Void
    ) throws(FoldFailure) {
        do throws(PostgresError) {
            try connection.begin("ISOLATION LEVEL READ COMMITTED")
        } catch {
            connection.rollback()
            throw .database(error)
        }
        do throws(FoldFailure) {
            try database { () throws(PostgresError) in
                try FoldStatements.insertSources(wanted.map(\.log), generation, on: connection)
            }
            let own = try database { () throws(PostgresError) in
                try connection.query(
                    "SELECT FROM sluice.generation WHERE id = $1 AND state = 'building' FOR SHARE",
                    [.int(Int64(generation))]
                )
            }
            guard own.rowCount == 1 else { throw .generationChanged(nil) }
            try write()
            _ = try updateSources(wanted)
            try commit()
        } catch {
            connection.rollback()
            throw error
        }
    }
}
