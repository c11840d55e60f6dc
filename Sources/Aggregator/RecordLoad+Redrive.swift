import Postgres
import Records
import Rollups

extension RecordLoad {
    /// Copies redriven records within the open transaction, if raw records are kept and these are
    /// young enough.
    ///
    /// A parked record was not copied when its offset was folded, though the offset counts as
    /// loaded, so no fold for another generation copies it; the removal of its letter in the same
    /// transaction is what lets this happen once.
    static func load(
        _ letters: [DeadLetter],
        on connection: PostgresConnection
    ) throws(PostgresError) {
        guard !letters.isEmpty else { return }
        let state = try connection.query(
            """
            SELECT horizon, isfinite(horizon), since IS NOT NULL FROM sluice.record_retention
            FOR SHARE
            """
        )
        guard state.bool(0, 2) == true else { return }
        let horizon = state.bool(0, 1) == true ? state.timestamp(0, 0) ?? .min : .min
        var kept: [(letter: DeadLetter, view: RecordView)] = []
        var days: Set<Int64> = []
        for letter in letters {
            guard let view = try? RecordView.decode(letter.record.span.raw),
                view.kind == .request, view.completedAt >= horizon
            else { continue }
            kept.append((letter, view))
            days.insert(Tier.day.bucket(of: view.completedAt) / Tier.day.microseconds)
        }
        guard !kept.isEmpty else { return }
        for day in days.sorted() {
            try connection.query(
                "SELECT sluice.make_records_partition(date '1970-01-01' + $1::int8::integer)",
                [.int(day)]
            )
        }
        try connection.copyIn(RecordRow.copy) { (writer: inout CopyWriter) throws(PostgresError) in
            for (letter, view) in kept {
                try RecordRow.write(
                    view,
                    letter.record.span.raw,
                    at: Offset(letter.offset),
                    of: letter.log,
                    to: &writer
                )
            }
        }
    }
}
