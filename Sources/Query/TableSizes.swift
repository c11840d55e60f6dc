import Postgres
import Rollups
import Synchronization

/// About how many rows the partitions of rollup tables have, from PostgreSQL's own statistics;
/// read now and then, for the bound on what one question may cost.
final class TableSizes: Sendable {
    /// One partition.
    private struct Part: Sendable {
        /// Its share of time, microseconds since the Unix epoch.
        var range: Range<Int64>
        /// Rows when it was last vacuumed or analysed.
        var rows: Double
    }

    private struct Entry: Sendable {
        var parts: [Part]
        var readAt: Int64
    }

    private let entries = Mutex<[String: Entry]>([:])

    /// How long sizes are believed, microseconds; chosen.
    private static let lifetime: Int64 = 60_000_000

    /// An empty memory.
    init() {}

    /// About how many rows the spans of a plan hold.
    func rows(
        _ plan: Plan,
        generation: Int64,
        now: Int64,
        _ connection: PostgresConnection
    ) throws(QueryFailure) -> Double {
        var sum = 0.0
        for span in plan.spans {
            let isOfRecords = plan.rollup.isOfRecords
            let table = plan.rollup.name + (isOfRecords ? "" : "_" + span.tier.rawValue)
            let schema = isOfRecords ? "sluice" : "sluice_g\(generation)"
            let key = "\(schema).\(table)"
            var entry = entries.withLock { $0[key] }
            if entry.map({ now < $0.readAt || now - $0.readAt >= Self.lifetime }) ?? true {
                let read = Entry(
                    parts: try Self.read(table, schema, span.tier, connection),
                    readAt: now
                )
                entries.withLock { $0[key] = read }
                entry = read
            }
            for part in entry?.parts ?? [] {
                let shared =
                    min(part.range.upperBound, span.to) - max(part.range.lowerBound, span.from)
                guard shared > 0 else { continue }
                let length = part.range.upperBound - part.range.lowerBound
                sum += part.rows * Double(shared) / Double(length)
            }
        }
        return sum
    }

    private static func read(
        _ table: String,
        _ schema: String,
        _ tier: Tier,
        _ connection: PostgresConnection
    ) throws(QueryFailure) -> [Part] {
        let found: PostgresResult
        do throws(PostgresError) {
            found = try connection.query(
                """
                SELECT c.relname::text, CASE
                    WHEN c.reltuples > 0 THEN c.reltuples::float8
                    -- The partition of today has not been analysed; 400 bytes are a usual record.
                    WHEN $2 THEN pg_relation_size(c.oid) / 400.0::float8
                    ELSE 0 END
                FROM pg_inherits i
                JOIN pg_class c ON c.oid = i.inhrelid
                WHERE i.inhparent = to_regclass($1::text)
                """,
                [.text("\(schema).\(Statement.quote(table))"), .bool(schema == "sluice")]
            )
        } catch { throw .database(error) }
        var parts: [Part] = []
        for row in 0..<found.rowCount {
            guard let name = found.text(row, 0), let rows = found.double(row, 1),
                let range = range(name.dropFirst(table.utf8.count), tier)
            else { continue }
            parts.append(Part(range: range, rows: rows))
        }
        return parts
    }

    /// The share of time of `_p20150517`, `_p201505` or `_p2015`.
    private static func range(_ suffix: Substring, _ tier: Tier) -> Range<Int64>? {
        let digits = suffix.utf8.dropFirst(2).map { Int64($0) - Int64(UInt8(ascii: "0")) }
        guard suffix.hasPrefix("_p"), digits.allSatisfy({ (0...9).contains($0) }),
            [4, 6, 8].contains(digits.count)
        else { return nil }
        func number(_ range: Range<Int>) -> Int64 { digits[range].reduce(0) { $0 * 10 + $1 } }
        let year = number(0..<4)
        let month = digits.count > 4 ? number(4..<6) : 1
        let first = CivilTime.days(
            year: year,
            month: month,
            day: digits.count > 6 ? number(6..<8) : 1
        )
        let length: Int64 =
            switch digits.count {
            case 4: CivilTime.days(year: year + 1, month: 1, day: 1) - first
            case 6: CivilTime.daysInMonth(year: year, month: month)
            default: 1
            }
        let day: Int64 = 86_400_000_000
        return first * day..<(first + length) * day
    }
}
