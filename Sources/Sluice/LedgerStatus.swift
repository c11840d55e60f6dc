import Aggregator
import Console
import Postgres

/// What `sluice status` says of the ledger.
struct LedgerStatus: Sendable {
    /// All logs together.
    var totals: Table
    /// Logs that do not balance, that are assumed gone, or that were retired without an end.
    var logs: Table
    /// Offsets that are missing.
    var gaps: Table
    /// Gaps that an operator has accepted as lost, the latest first.
    var accepted: Table

    /// The schema that has what is asked for.
    static let schemaVersion: Int64 = 21
    /// Most rows of a table; chosen.
    private static let rowsMax = 100
    private static let counters = [
        "folded", "dead_lettered", "expired", "damaged", "filtered", "sampled", "too_large",
        "rejected", "dropped", "lost",
    ]

    /// Asks the database; blocking.
    init(_ connection: PostgresConnection) throws {
        let balance = try LedgerBalance(connection)
        let sums = Self.counters.map { "coalesce(sum(\($0)), 0)::bigint" }
        let counted = try connection.query(
            "SELECT \(sums.joined(separator: ", ")) FROM sluice.log_account"
        )
        totals = Table(
            ["balance", "logs", "appended", "accounted", "pending", "missing"] + Self.counters
        )
        totals.rows = [
            [
                .text(balance.isBalanced ? "balanced" : "NOT BALANCED"),
                .integer(balance.logCount), .integer(balance.appended),
                .integer(balance.accounted), .integer(balance.pending), .integer(balance.missing),
            ] + Self.counters.indices.map { .integer(counted.int(0, $0) ?? 0) }
        ]

        logs = Table([
            "log", "node", "state", "appended", "accounted", "pending", "missing", "unaccounted",
            "heartbeat_at",
        ])
        let found = try connection.query(
            """
            SELECT log_id::text, node, CASE WHEN accounted <> covered OR missing > 0
                THEN 'not balanced, ' || state ELSE state END,
              appended, accounted, appended - covered, missing, covered - accounted, heartbeat_at
            FROM sluice.log_account
            WHERE accounted <> covered OR missing > 0 OR state = 'assumed_gone'
            ORDER BY (accounted <> covered OR missing > 0) DESC, first_seen_at DESC, log_id
            LIMIT \(Self.rowsMax)
            """
        )
        logs.rows = (0..<found.rowCount).map { row in
            [
                .text(found.text(row, 0) ?? ""), found.text(row, 1).map(Cell.text) ?? .none,
                .text(found.text(row, 2)?.replacing("_", with: " ") ?? ""),
            ]
                + (3..<8).map { .integer(found.int(row, $0) ?? 0) }
                + [found.timestamp(row, 8).map(Cell.time) ?? .none]
        }

        accepted = Table([
            "log", "first_offset", "next_offset", "reason", "accepted_by", "accepted_at",
        ])
        let given = try connection.query(
            """
            SELECT log_id::text, first_offset, next_offset, reason, accepted_by, accepted_at
            FROM sluice.accepted_gap ORDER BY accepted_at DESC, 1, 2 LIMIT \(Self.rowsMax)
            """
        )
        accepted.rows = (0..<given.rowCount).map { row in
            [
                .text(given.text(row, 0) ?? ""), .integer(given.int(row, 1) ?? 0),
                .integer(given.int(row, 2) ?? 0), .text(given.text(row, 3) ?? ""),
                .text(given.text(row, 4) ?? ""), given.timestamp(row, 5).map(Cell.time) ?? .none,
            ]
        }

        gaps = Table(["log", "first_offset", "next_offset", "offsets"])
        gaps.rows = try LogCompleteness.gaps(connection, limit: Self.rowsMax).map { gap in
            [
                .text("\(gap.log)"), .integer(gap.offsets.lowerBound),
                .integer(gap.offsets.upperBound), .integer(Int64(gap.offsets.count)),
            ]
        }
    }
}
