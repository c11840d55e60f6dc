import Postgres
import Records

extension QueryAPI {
    /// Most logs listed; chosen. The latest ones come first.
    private static let logsMax = 10_000
    /// Most gaps listed; chosen.
    private static let gapsMax = 1_000

    /// What became of the offsets of the active generation: one member per log, and the gaps.
    ///
    /// - Parameter log: Only this log, and its hours.
    func ledger(_ log: LogID?) async throws(Problem) -> APIReply {
        let sinks: [SinkLedger]
        do { sinks = try await configuration.sinkAccounts?() ?? [] } catch {
            throw Problem(.unavailable, "the checkpoints of this node's sinks cannot be read")
        }
        let chosen = sinks.filter { log == nil || $0.log == log }
        let body = try await database.read(as: .admin) { connection throws(QueryFailure) in
            do throws(PostgresError) {
                return try Self.ledger(log, chosen, connection)
            } catch { throw .database(error) }
        }
        return APIReply("application/json", body)
    }

    /// The parameter of `/v1/ledger`.
    static func ledgerLog(_ query: String) throws(Problem) -> LogID? {
        guard !query.isEmpty else { return nil }
        guard query.hasPrefix("log="), !query.contains("&") else {
            throw Problem(.unknownParameter, "/v1/ledger takes one parameter: log")
        }
        guard let log = LogID(String(query.dropFirst("log=".count))) else {
            throw Problem(.invalidParameter, "log is no log id; /v1/ledger lists them")
        }
        return log
    }

    private static let counters = [
        "folded", "dead_lettered", "expired", "damaged", "filtered", "sampled", "too_large",
        "rejected", "dropped", "lost",
    ]

    private static func ledger(
        _ log: LogID?,
        _ sinks: [SinkLedger],
        _ connection: PostgresConnection
    ) throws(PostgresError) -> [UInt8] {
        let chosen = [log.map { PostgresValue.text($0.description) } ?? .null]
        let totals = try connection.query(Self.totals, chosen)
        let logs = try connection.query(Self.logs, chosen)
        let gaps = try connection.query(Self.gaps, chosen)
        let accepted = try connection.query(Self.accepted, chosen)
        var writer = JSONWriter()
        writer.beginObject()
        let unbalanced = totals.int(0, 0) ?? 0
        writer.key("balanced")
        writer.value(unbalanced == 0)
        writer.member("unbalanced_logs", .integer(unbalanced))
        for (index, name) in ["appended", "pending", "missing", "unaccounted"].enumerated() {
            writer.member(name, .integer(totals.int(0, 1 + index) ?? 0))
        }
        write(gaps, &writer)
        write(accepted: accepted, &writer)
        write(logs: logs, &writer)
        writer.key("sinks")
        writer.beginArray()
        for sink in sinks.prefix(logsMax) { sink.write(&writer) }
        writer.endArray()
        if log != nil { write(hours: try connection.query(Self.hours, chosen), &writer) }
        writer.endObject()
        return writer.utf8
    }

    private static let totals = """
        SELECT count(*) FILTER (WHERE accounted <> covered OR missing > 0),
          coalesce(sum(appended), 0)::bigint, coalesce(sum(appended - covered), 0)::bigint,
          coalesce(sum(missing), 0)::bigint, coalesce(sum(abs(covered - accounted)), 0)::bigint
        FROM sluice.log_account WHERE $1::text IS NULL OR log_id = $1::text::uuid
        """

    /// Those that do not balance first, then the latest.
    private static let logs = """
        SELECT log_id, node, region, started_at, heartbeat_at, ended_at, state, appended, covered,
          accounted, missing, \(counters.joined(separator: ", "))
        FROM sluice.log_account WHERE $1::text IS NULL OR log_id = $1::text::uuid
        ORDER BY (accounted <> covered OR missing > 0) DESC, first_seen_at DESC, log_id
        LIMIT \(logsMax)
        """

    private static let gaps = """
        SELECT log_id, first_offset, next_offset FROM sluice.gap
        WHERE $1::text IS NULL OR log_id = $1::text::uuid ORDER BY 1, 2 LIMIT \(gapsMax)
        """

    private static let accepted = """
        SELECT log_id, first_offset, next_offset, reason, accepted_by, accepted_at
        FROM sluice.accepted_gap WHERE $1::text IS NULL OR log_id = $1::text::uuid
        ORDER BY accepted_at DESC, 1, 2 LIMIT \(gapsMax)
        """

    /// What is pending comes under the hour of what names it: a heartbeat, the end, or a record
    /// that was folded; it was appended then or before.
    private static let hours = """
        SELECT hour, \(counters.map { "sum(\($0))::bigint" }.joined(separator: ", ")),
          sum(pending)::bigint
        FROM (
          SELECT hour, \(counters.joined(separator: ", ")), 0 AS pending FROM sluice.ledger
          WHERE log_id = $1::text::uuid
            AND generation = (SELECT id FROM sluice.generation WHERE state = 'active')
          UNION ALL
          SELECT date_trunc('hour', coalesce(a.ended_at, a.heartbeat_at, l.last_folded_at), 'UTC'),
            \(counters.map { _ in "0" }.joined(separator: ", ")), a.appended - a.covered
          FROM sluice.log_account a JOIN sluice.log l USING (log_id)
          WHERE a.log_id = $1::text::uuid AND a.appended > a.covered
        ) h GROUP BY hour ORDER BY hour
        """

    private static func write(accepted result: PostgresResult, _ writer: inout JSONWriter) {
        writer.key("accepted_gaps")
        writer.beginArray()
        for row in 0..<result.rowCount {
            writer.beginObject()
            writer.member("log_id", result.text(row, 0))
            writer.member("first_offset", .integer(result.int(row, 1) ?? 0))
            writer.member("next_offset", .integer(result.int(row, 2) ?? 0))
            writer.member("reason", result.text(row, 3))
            writer.member("accepted_by", result.text(row, 4))
            let time = result.timestamp(row, 5)
            writer.member("accepted_at", time.map { CivilTime.utc(microseconds: $0) })
            writer.endObject()
        }
        writer.endArray()
    }

    private static func write(_ gaps: PostgresResult, _ writer: inout JSONWriter) {
        writer.key("gaps")
        writer.beginArray()
        for row in 0..<gaps.rowCount {
            writer.beginObject()
            writer.member("log_id", gaps.text(row, 0))
            writer.member("first_offset", .integer(gaps.int(row, 1) ?? 0))
            writer.member("next_offset", .integer(gaps.int(row, 2) ?? 0))
            writer.endObject()
        }
        writer.endArray()
    }

    private static func write(logs result: PostgresResult, _ writer: inout JSONWriter) {
        writer.key("logs")
        writer.beginArray()
        for row in 0..<result.rowCount {
            writer.beginObject()
            writer.member("log_id", result.text(row, 0))
            writer.member("node", result.text(row, 1))
            writer.member("region", result.text(row, 2))
            for (index, name) in ["started_at", "heartbeat_at", "ended_at"].enumerated() {
                let time = result.timestamp(row, 3 + index)
                writer.member(name, time.map { CivilTime.utc(microseconds: $0) })
            }
            writer.member("state", result.text(row, 6))
            for (index, name) in counters.enumerated() {
                writer.member(name, .integer(result.int(row, 11 + index) ?? 0))
            }
            let appended = result.int(row, 7) ?? 0
            let covered = result.int(row, 8) ?? 0
            let accounted = result.int(row, 9) ?? 0
            let missing = result.int(row, 10) ?? 0
            writer.member("appended", .integer(appended))
            writer.member("pending", .integer(appended - covered))
            writer.member("missing", .integer(missing))
            writer.member("unaccounted", .integer(covered - accounted))
            writer.key("balanced")
            writer.value(covered == accounted && missing == 0)
            writer.endObject()
        }
        writer.endArray()
    }

    private static func write(hours result: PostgresResult, _ writer: inout JSONWriter) {
        writer.key("hours")
        writer.beginArray()
        for row in 0..<result.rowCount {
            writer.beginObject()
            let hour = result.timestamp(row, 0)
            writer.member("hour", hour.map { CivilTime.utc(microseconds: $0) })
            var appended: Int64 = 0
            for (index, name) in counters.enumerated() {
                let count = result.int(row, 1 + index) ?? 0
                appended += count
                writer.member(name, .integer(count))
            }
            let pending = result.int(row, 1 + counters.count) ?? 0
            writer.member("pending", .integer(pending))
            writer.member("appended", .integer(appended + pending))
            writer.endObject()
        }
        writer.endArray()
    }
}

extension CivilTime {
    /// A time as RFC 3339 in UTC with whole seconds.
    static func utc(microseconds: Int64) -> String {
        text(local: floorDivide(microseconds, 1_000_000), offset: 0, isUTC: true)
    }
}
