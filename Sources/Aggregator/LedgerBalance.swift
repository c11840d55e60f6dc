package import Postgres
import Records

/// Whether the ledger of the active generation balances, over all logs.
package struct LedgerBalance: Equatable, Sendable {
    /// Logs that are known.
    package var logCount: Int64 = 0
    /// Logs whose counters are not their folded set, or which have gaps.
    package var unbalancedCount: Int64 = 0
    /// Offsets below the known ends.
    package var appended: Int64 = 0
    /// Offsets that the counters of the ledger have.
    package var accounted: Int64 = 0
    /// Offsets that are not folded, gaps among them.
    package var pending: Int64 = 0
    /// Offsets that lie in gaps.
    package var missing: Int64 = 0
    /// Offsets by which counters and folded sets differ.
    package var unaccounted: Int64 = 0
    /// Logs that were silent for 24 hours without an end.
    package var assumedGoneCount: Int64 = 0

    /// Nothing known.
    package init() {}

    /// Asks the database. Blocks.
    package init(_ connection: PostgresConnection) throws(PostgresError) {
        let found = try connection.query(Self.statement)
        logCount = found.int(0, 0) ?? 0
        unbalancedCount = found.int(0, 1) ?? 0
        appended = found.int(0, 2) ?? 0
        accounted = found.int(0, 3) ?? 0
        pending = found.int(0, 4) ?? 0
        missing = found.int(0, 5) ?? 0
        unaccounted = found.int(0, 6) ?? 0
        assumedGoneCount = found.int(0, 7) ?? 0
    }

    /// Whether there is nothing to look after.
    package var isBalanced: Bool { unbalancedCount == 0 }

    private static let statement = """
        SELECT count(*), count(*) FILTER (WHERE accounted <> covered OR missing > 0),
            coalesce(sum(appended), 0)::bigint, coalesce(sum(accounted), 0)::bigint,
            coalesce(sum(appended - covered), 0)::bigint, coalesce(sum(missing), 0)::bigint,
            coalesce(sum(abs(covered - accounted)), 0)::bigint,
            count(*) FILTER (WHERE state = 'assumed_gone')
        FROM sluice.log_account
        """
}
