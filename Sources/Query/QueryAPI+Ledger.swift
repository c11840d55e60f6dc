import Postgres

extension QueryAPI {
    /// Most logs listed; chosen. The latest ones come first.
    private static let logsMax = 10_000

    /// The sums of the ledger, one member per log of the active generation.
    func ledger() async throws(Problem) -> APIReply {
        let body = try await database.read(as: .admin) { connection throws(QueryFailure) in
            do throws(PostgresError) {
                return Self.write(try connection.query(Self.statement))
            } catch { throw .database(error) }
        }
        return APIReply("application/json", body)
    }

    private static let counters = [
        "folded", "dead_lettered", "expired", "damaged", "filtered", "sampled", "too_large",
        "rejected", "dropped",
    ]

    private static let statement = """
        SELECT l.log_id, l.node, l.region, l.started_at, l.heartbeat_at, l.ended_at,
          CASE WHEN l.retired_at IS NOT NULL THEN 'retired'
            WHEN l.ended_at IS NOT NULL OR l.end_offset IS NOT NULL THEN 'ended'
            WHEN greatest(l.heartbeat_at, l.last_folded_at) > now() - interval '24 hours'
              THEN 'open'
            ELSE 'assumed_gone' END,
          coalesce(l.end_offset, l.next_offset),
          \(counters.map { "coalesce(e.\($0), 0)" }.joined(separator: ", "))
        FROM sluice.log l LEFT JOIN (
          SELECT log_id, \(counters.map { "sum(\($0))::bigint AS \($0)" }.joined(separator: ", "))
          FROM sluice.ledger
          WHERE generation = (SELECT id FROM sluice.generation WHERE state = 'active')
          GROUP BY log_id
        ) e USING (log_id)
        ORDER BY l.first_seen_at DESC, l.log_id LIMIT \(logsMax)
        """

    private static func write(_ result: PostgresResult) -> [UInt8] {
        var writer = JSONWriter()
        writer.beginObject()
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
            let appended = result.int(row, 7)
            var accounted: Int64 = 0
            for (index, name) in counters.enumerated() {
                let count = result.int(row, 8 + index) ?? 0
                accounted += count
                writer.member(name, .integer(count))
            }
            // A heartbeat names the next offset of its own time; more may be accounted for since.
            writer.member("appended", appended.map { .integer(max($0, accounted)) } ?? .null)
            writer.member("pending", appended.map { .integer(max(0, $0 - accounted)) } ?? .null)
            writer.endObject()
        }
        writer.endArray()
        writer.endObject()
        return writer.utf8
    }
}

extension CivilTime {
    /// A time as RFC 3339 in UTC with whole seconds.
    static func utc(microseconds: Int64) -> String {
        text(local: floorDivide(microseconds, 1_000_000), offset: 0, isUTC: true)
    }
}
