import Postgres
package import Records

/// Which dead letters are meant; what is nil or empty does not restrict.
package struct DeadLetterFilter: Sendable {
    /// Who parked it: `aggregator`, or `sink-` and the name of a sink.
    package var consumer: String?
    /// Why it was parked.
    package var reason: String?
    /// The log that the record lay in.
    package var log: LogID?
    /// These letters only.
    package var ids: [Int64] = []

    /// Every letter.
    package init() {}

    /// The condition over `sluice.dead_letter`, with the parameters 1 to 4.
    static let condition = """
        ($1::text IS NULL OR consumer = $1) AND ($2::text IS NULL OR reason = $2)
            AND ($3::text IS NULL OR log_id = $3::uuid)
            AND (cardinality($4::int8[]) = 0 OR id = ANY ($4))
        """

    /// The values of the condition's parameters.
    var parameters: [PostgresValue] {
        [
            consumer.map(PostgresValue.text) ?? .null, reason.map(PostgresValue.text) ?? .null,
            log.map { .text($0.description) } ?? .null, .intArray(ids),
        ]
    }
}

/// A dead letter as the database has it.
package struct StoredDeadLetter: Sendable {
    /// Its number, ascending in the order of parking.
    package let id: Int64
    /// Who parked it.
    package let consumer: String
    /// The log that the record lay in; the nil log for a message that was not trusted.
    package let log: LogID
    /// The offset that it lay at.
    package let offset: Int64
    /// Why it was parked.
    package let reason: String
    /// What exactly was wrong.
    package let detail: String?
    /// Bytes of the record.
    package let byteCount: Int64
    /// When the record was appended, µs since the epoch; nil if that is not known.
    package let appendedAt: Int64?
    /// When it was parked, µs since the epoch.
    package let parkedAt: Int64

    /// The columns that `init` reads.
    static let columns = """
        id, consumer, log_id, "offset", reason, detail, octet_length(record)::bigint, appended_at,
        created_at
        """

    /// Reads one row of `columns`.
    init?(_ result: PostgresResult, _ row: Int) {
        guard let id = result.int(row, 0), let log = result.uuid(row, 2) else { return nil }
        self.id = id
        consumer = result.text(row, 1) ?? ""
        self.log = LogID(high: log.high, low: log.low)
        offset = result.int(row, 3) ?? 0
        reason = result.text(row, 4) ?? ""
        detail = result.text(row, 5)
        byteCount = result.int(row, 6) ?? 0
        appendedAt = result.timestamp(row, 7)
        parkedAt = result.timestamp(row, 8) ?? 0
    }

    /// Whether its offset is accounted for, so that folding it moves it in the ledger: messages
    /// that were not trusted lie under the nil log, and the genuine record counts for them.
    package var isAccounted: Bool { log != LogID(high: 0, low: 0) }
}
