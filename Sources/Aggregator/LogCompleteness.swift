package import Postgres
package import Records

/// Offsets of a log that are neither a record nor skipped, although what came later was folded.
package struct OffsetGap: Equatable, Sendable, CustomStringConvertible {
    /// The log.
    package let log: LogID
    /// The offsets that are missing.
    package let offsets: Range<Int64>

    /// Offsets of a log.
    package init(log: LogID, offsets: Range<Int64>) {
        self.log = log
        self.offsets = offsets
    }

    /// The log and the half-open range.
    package var description: String { "\(log) [\(offsets.lowerBound), \(offsets.upperBound))" }
}

/// What came of retiring a log.
package enum Retirement: Equatable, Sendable {
    /// The log does not hold `complete_to` back any more.
    case retired
    /// Nothing to do: it was retired before, or its end is known.
    case alreadyClosed
    /// No aggregator has seen a log of this id.
    case unknown
}

/// Which logs are complete, which are not, and which are waited for.
package enum LogCompleteness {
    /// The gaps of the active generation, by log and offset. Blocks.
    ///
    /// An offset is missing when something above it is known for more than a minute: the end, a
    /// heartbeat that names a later next offset, or a record. While a log is being folded, what is
    /// above its last noted heartbeat of that age is still on the way.
    ///
    /// - Parameters:
    ///   - connection: The database.
    ///   - limit: Most gaps returned.
    package static func gaps(
        _ connection: PostgresConnection,
        limit: Int
    ) throws(PostgresError) -> [OffsetGap] {
        let found = try connection.query(Self.statement, [.int(Int64(limit))])
        return (0..<found.rowCount).compactMap { row in
            guard let log = found.uuid(row, 0), let first = found.int(row, 1),
                let until = found.int(row, 2), first < until
            else { return nil }
            return OffsetGap(log: LogID(high: log.high, low: log.low), offsets: first..<until)
        }
    }

    private static let statement = """
        SELECT log_id, first_offset, next_offset FROM sluice.gap ORDER BY 1, 2 LIMIT $1
        """

    /// Marks a log as gone for good, so that `complete_to` does not wait for it. Blocks.
    ///
    /// Records of it that come later still count.
    package static func retire(
        _ log: LogID,
        _ connection: PostgresConnection
    ) throws(PostgresError) -> Retirement {
        let id = PostgresValue.text(log.description)
        let retired = try connection.query(
            """
            UPDATE sluice.log SET retired_at = now()
            WHERE log_id = $1::text::uuid AND retired_at IS NULL AND ended_at IS NULL
                AND end_offset IS NULL
            """,
            [id]
        )
        if retired.affectedRows == 1 { return .retired }
        let known = try connection.query(
            "SELECT EXISTS (SELECT FROM sluice.log WHERE log_id = $1::text::uuid)",
            [id]
        )
        return known.bool(0, 0) == true ? .alreadyClosed : .unknown
    }
}
