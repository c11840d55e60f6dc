import Postgres
import Records

extension FoldTransaction {
    /// Counts parked records and removes their dead letters, both or neither.
    ///
    /// Their offsets are in `source` already, so that the removal of the letter decides who counts
    /// the record: whoever else redrives or drops it finds it gone. Rows are locked in the order of
    /// `write`.
    ///
    /// - Parameters:
    ///   - output: What the records fold to.
    ///   - ids: The database id of each value id of each dimension, by its place in the batch.
    ///   - folded: The letters that are folded, ascending.
    ///   - records: The same letters with their records, for those who keep raw records.
    ///   - logs: The logs that they lay in.
    ///   - kept: The letters that still cannot be folded, with the reason of today, ascending.
    func redrive(
        _ output: FoldOutput,
        ids: [[Int32]],
        folded: [Int64],
        records: [DeadLetter],
        logs: [LogID],
        kept: [(id: Int64, letter: DeadLetter)]
    ) throws(FoldFailure) {
        do throws(PostgresError) {
            try step(.begin)
            try connection.begin("ISOLATION LEVEL READ COMMITTED")
        } catch {
            connection.rollback()
            throw .database(error)
        }
        do throws(FoldFailure) {
            try checkGeneration()
            let removed = try database { () throws(PostgresError) in
                try step(.deadLetters)
                let gone = try connection.query(Self.removeLetters, [.intArray(folded)])
                return gone.affectedRows
            }
            guard removed == folded.count else { throw .miss([]) }
            try database { () throws(PostgresError) in
                try connection.query(
                    Self.updateReasons,
                    [
                        .intArray(kept.map(\.id)),
                        .textArray(kept.map(\.letter.reason.rawValue)),
                        .textArray(kept.map(\.letter.detail)),
                    ]
                )
                _ = try copyDeltas(output, ids)
                try step(.loadRecords)
                try RecordLoad.load(records, on: connection)
                try updateLedger(output.ledger)
                try step(.registry)
                try connection.query(Self.touchLogs, [.textArray(logs.map(\.description))])
                try updateRegistry(output.registry)
                try step(.commit)
            }
            try commit()
        } catch {
            connection.rollback()
            throw error
        }
    }

    /// Locks above a sort are taken in the order of the sort.
    private static let removeLetters = """
        WITH locked AS (
            SELECT id FROM sluice.dead_letter WHERE id = ANY ($1::int8[]) ORDER BY id FOR UPDATE
        )
        DELETE FROM sluice.dead_letter d USING locked WHERE d.id = locked.id
        """

    /// A new version of each log's row, with the same content: by these versions answers that are
    /// kept somewhere are known to be old. When records were last read from the log stays true.
    private static let touchLogs = """
        WITH locked AS (
            SELECT log_id FROM sluice.log WHERE log_id = ANY ($1::text[]::uuid[])
            ORDER BY log_id FOR NO KEY UPDATE
        )
        UPDATE sluice.log l SET node = l.node FROM locked WHERE l.log_id = locked.log_id
        """

    private static let updateReasons = """
        UPDATE sluice.dead_letter d SET reason = n.reason, detail = n.detail
        FROM unnest($1::int8[], $2::text[], $3::text[]) AS n (id, reason, detail)
        WHERE d.id = n.id AND (d.reason, d.detail) IS DISTINCT FROM (n.reason, n.detail)
        """
}
