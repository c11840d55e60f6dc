package import Postgres
import Records

/// What came of accepting a gap as lost.
package enum GapAcceptance: Equatable, Sendable {
    /// So many offsets are counted as lost from now on.
    case accepted(Int64)
    /// Not all of the offsets lie in a gap; nothing was changed.
    case noGap

    /// Puts offsets that will never come into the folded set of the active generation, and into the
    /// ledger as `lost`, with who said so and why. Blocks.
    ///
    /// A record of them that turns up later is not counted any more. A rebuild takes them over with
    /// what else was never a record.
    ///
    /// - Parameters:
    ///   - gap: The log and the offsets, all of them within one gap.
    ///   - reason: Why nobody waits for them.
    ///   - acceptedBy: Who says so.
    ///   - connection: The database.
    package static func accept(
        _ gap: OffsetGap,
        reason: String,
        by acceptedBy: String,
        _ connection: PostgresConnection
    ) throws(PostgresError) -> GapAcceptance {
        let log = PostgresValue.text(gap.log.description)
        let first = PostgresValue.int(gap.offsets.lowerBound)
        let next = PostgresValue.int(gap.offsets.upperBound)
        let count = Int64(gap.offsets.count)
        try connection.begin("ISOLATION LEVEL READ COMMITTED")
        do throws(PostgresError) {
            // In the order in which folds take their locks.
            let active = try connection.query(FoldStatements.activeGeneration + " FOR SHARE")
            let generation = PostgresValue.int(active.rowCount == 1 ? active.int(0, 0) ?? 0 : 0)
            try connection.query(makeSource, [generation, log])
            try connection.query(addLost, [generation, log, .int(count)])
            // Answers change with the rows of logs.
            try connection.query(
                "UPDATE sluice.log SET node = node WHERE log_id = $1::text::uuid",
                [log]
            )
            let added = try connection.query(addOffsets, [generation, log, first, next])
            guard added.affectedRows == 1 else {
                connection.rollback()
                return .noGap
            }
            try connection.query(
                note,
                [log, first, next, .text(reason), .text(acceptedBy)]
            )
            try connection.commit()
        } catch {
            connection.rollback()
            throw error
        }
        return .accepted(count)
    }

    private static let makeSource = """
        INSERT INTO sluice.source (generation, log_id)
        SELECT $1, log_id FROM sluice.log WHERE log_id = $2::text::uuid
        ON CONFLICT DO NOTHING
        """

    /// Under the hour of the acceptance: when they were appended nobody knows.
    private static let addLost = """
        INSERT INTO sluice.ledger AS l (generation, log_id, hour, lost)
        VALUES ($1, $2::text::uuid, date_trunc('hour', now(), 'UTC'), $3)
        ON CONFLICT (generation, log_id, hour) DO UPDATE SET lost = l.lost + excluded.lost
        """

    private static let addOffsets = """
        UPDATE sluice.source s SET folded = s.folded + int8range($3::int8, $4::int8)::int8multirange
        WHERE s.generation = $1 AND s.log_id = $2::text::uuid
            AND NOT s.folded && int8range($3::int8, $4::int8)
            AND EXISTS (SELECT FROM sluice.gap g WHERE g.generation = s.generation
                AND g.log_id = s.log_id AND g.first_offset <= $3::int8
                AND g.next_offset >= $4::int8)
        """

    private static let note = """
        INSERT INTO sluice.accepted_gap (log_id, first_offset, next_offset, reason, accepted_by)
        VALUES ($1::text::uuid, $2::int8, $3::int8, $4, $5)
        """
}
