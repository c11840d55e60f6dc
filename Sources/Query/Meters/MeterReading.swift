import Postgres
import Rollups

/// Whom a quantity belongs to; absent parts are those of requests without.
struct MeterOwner: Hashable, Sendable {
    /// The organisation.
    var org: String?
    /// The application, `__other__` for those that the bound on keys has merged.
    var application: String?
}

/// What a meter counts in a span of time, in one snapshot.
struct MeterCount: Sendable {
    /// Quantities above zero, in whole units (microseconds for durations).
    var quantities: [MeterOwner: Int64] = [:]
    /// The rollup that was read.
    var rollup: RollupDefinition
    /// Since when it is complete, microseconds since the Unix epoch; nil for always.
    var completeSince: Int64?
    /// Requests in `__other__` that the filters might have matched.
    var otherRequests: Int64
}

extension UsageEngine {
    /// What `meter` counts in `period`, within the transaction that is open: the same way as any
    /// question to the query API, so that bills and dashboards cannot differ.
    ///
    /// - Parameters:
    ///   - meter: The meter.
    ///   - period: The period, which may be open.
    ///   - freshness: The state of the data.
    ///   - connection: The connection with the transaction.
    ///   - scope: Whose part is counted.
    ///   - now: The present, if a count that would read too much is to be refused.
    func count(
        _ meter: Meter,
        _ period: MeterPeriod,
        _ freshness: Freshness,
        _ connection: PostgresConnection,
        as scope: TokenScope = .admin,
        now: Int64? = nil
    ) throws(QueryFailure) -> MeterCount {
        let forced = try scope.filters
        var filters = forced
        for text in meter.filters {
            do throws(Problem) {
                filters.append(try Filter(text))
            } catch { throw .problem(error) }
        }
        var request = UsageRequest(meter, from: period.start, to: period.end)
        request.metrics = [meter.metric]
        request.groupBy = [.org, .application]
        request.filters = filters
        let rows = RowList()
        let (plan, other) = try read(
            request,
            freshness,
            connection,
            into: rows,
            forcedCount: forced.count,
            now: now
        )
        var count = MeterCount(
            rollup: plan.rollup,
            completeSince: freshness.completeSince[plan.rollup.name],
            otherRequests: other
        )
        for row in rows.rows {
            let quantity = meter.quantity(row)
            guard quantity > 0 else { continue }
            let owner = MeterOwner(org: row.groups[0].text, application: row.groups[1].text)
            count.quantities[owner] = quantity
        }
        return count
    }

    /// All requests of each period from `start` to `end` (Unix seconds), by the period's start:
    /// what changes whenever a late record is counted.
    func requests(
        _ meter: Meter,
        from start: Int64,
        to end: Int64,
        _ freshness: Freshness,
        _ connection: PostgresConnection
    ) throws(QueryFailure) -> [Int64: Int64] {
        var request = UsageRequest(meter, from: start, to: end)
        request.granularity = meter.period.granularity
        let rows = RowList()
        let (plan, _) = try read(request, freshness, connection, into: rows)
        var requests: [Int64: Int64] = [:]
        for row in rows.rows {
            guard case .integer(let number)? = row.metrics.first else { continue }
            requests[plan.buckets.starts[row.bucket], default: 0] += number
        }
        return requests
    }

    /// Sends every row of a question to `sink`, within the transaction that is open.
    ///
    /// The first `forcedCount` filters are a token's; with `now`, the bound on costs holds.
    func read(
        _ request: UsageRequest,
        _ freshness: Freshness,
        _ connection: PostgresConnection,
        into sink: any RowSink,
        forcedCount: Int = 0,
        now: Int64? = nil
    ) throws(QueryFailure) -> (plan: Plan, otherRequests: Int64) {
        let plan = try plan(request, freshness)
        if let now { try checkCost(plan, freshness, now, connection) }
        let decided = Decided(
            filters: request.filters,
            forcedCount: forcedCount,
            plan: plan,
            freshness: freshness
        )
        let reading = try UsageReading(request, decided, connection)
        let other = try reading.otherRequests()
        try reading.read(into: sink)
        return (plan, other)
    }
}

extension UsageRequest {
    /// The question for all requests in `[from, to)` (Unix seconds) in the zone of `meter`.
    init(_ meter: Meter, from: Int64, to: Int64) {
        self.init(
            kind: .usage,
            from: from * 1_000_000,
            to: to * 1_000_000,
            granularity: .total,
            zoneName: meter.zoneName,
            metrics: [.requests],
            groupBy: [],
            filters: [],
            order: [],
            limit: nil,
            cursor: nil,
            fill: .none,
            comparison: nil,
            fingerprint: 0,
            format: .json
        )
    }
}

/// Keeps all rows of an answer. Owner: the thread that reads them.
final class RowList: RowSink {
    /// The rows so far.
    private(set) var rows: [UsageAnswer.Row] = []

    var isDone: Bool { false }

    func add(_ row: UsageAnswer.Row) { rows.append(row) }
}

extension Value {
    /// The text, nil if this is none.
    var text: String? {
        if case .text(let text) = self { text } else { nil }
    }
}
