import Postgres
import Rollups

/// Answers questions from the database, each in one snapshot.
package struct UsageEngine: Sendable {
    /// Finds the cheapest exact way.
    package var planner = Planner()

    /// Most rows of tables that one question may read, by PostgreSQL's statistics.
    package var rowsReadMax = Double.infinity

    private let sizes = TableSizes()

    /// How many rows of rollups a raw record counts for; chosen: its row is as much longer.
    private static let recordCost = 10.0

    /// Most rows that `fill=zero` may make for one answer; chosen: a second's work.
    static let filledMax = 1_000_000

    /// An engine over the built-in rollups.
    package init() {}

    /// What has been decided about a question before its rows are read.
    struct Decided: Sendable {
        /// The filters, those of the token first.
        var filters: [Filter]
        /// How many of them the token forces.
        var forcedCount: Int
        /// How it is answered.
        var plan: Plan
        /// The state of the data.
        var freshness: Freshness
    }

    /// Answers `request` with what `scope` may see; nil if `isKnown` says, of the question as it
    /// was decided, that the answer is there already.
    ///
    /// Blocks: call it on the connection's own thread.
    func answer(
        _ request: UsageRequest,
        scope: TokenScope,
        now: Int64 = 0,
        _ connection: PostgresConnection,
        isKnown: (Decided) -> Bool = { _ in false }
    ) throws(QueryFailure) -> UsageAnswer? {
        let decided = try begin(request, scope: scope, now: now, connection)
        // Nothing is written, and a statement stopped early has ended the transaction anyway.
        defer { connection.rollback() }
        if isKnown(decided) { return nil }
        let reading = try UsageReading(request, decided, connection)
        var answer = UsageAnswer(
            request: request,
            plan: decided.plan,
            completeTo: decided.freshness.completeTo,
            completeSince: decided.freshness.completeSince[decided.plan.rollup.name],
            rows: [],
            otherRequests: try reading.otherRequests()
        )
        let collector = RowCollector(
            order: request.order,
            limit: request.limit ?? UsageRequest.limitMax,
            starts: decided.plan.buckets.starts,
            after: request.cursor?.key
        )
        let isSaved = request.comparison != nil || request.kind == .top
        if isSaved { try reading.save() }
        try reading.read(into: collector)
        answer.rows = collector.finish()
        if collector.isTruncated, let last = answer.rows.last {
            answer.next = Cursor(
                fingerprint: request.fingerprint,
                from: request.from,
                to: request.to,
                granularity: decided.plan.granularity,
                key: collector.key(last)
            )
        }
        if isSaved { try reading.restore() }
        if request.kind == .top {
            answer.whole = UsageAnswer.Whole(
                groups: collector.seen,
                metrics: try whole(request, decided, connection)
            )
        }
        if let comparison = request.comparison {
            answer.comparison = try earlier(comparison, answer, decided, connection)
        }
        return answer
    }

    /// Sends all rows of a question to `sink`, in the order of the contract.
    ///
    /// Blocks as long as the sink does.
    func export(
        _ request: UsageRequest,
        scope: TokenScope,
        now: Int64,
        _ connection: PostgresConnection,
        _ makeSink: (UsageAnswer) -> any RowSink
    ) throws(QueryFailure) {
        let decided = try begin(request, scope: scope, now: now, connection)
        defer { connection.rollback() }
        let reading = try UsageReading(request, decided, connection)
        let answer = UsageAnswer(request: request, plan: decided.plan, rows: [], otherRequests: 0)
        let sink = makeSink(answer)
        try reading.read(into: sink)
        sink.end()
    }

    /// Begins a transaction, and decides how the question is answered.
    private func begin(
        _ request: UsageRequest,
        scope: TokenScope,
        now: Int64,
        _ connection: PostgresConnection
    ) throws(QueryFailure) -> Decided {
        let forced = try scope.filters
        var planned = request
        planned.filters = forced + request.filters
        try connection.beginReading(as: scope)
        do throws(QueryFailure) {
            var freshness = try Freshness(connection)
            if !Self.mayReadUpstreams(planned, scope) {
                freshness.recordsSince = nil
                freshness.userRollups.removeAll { $0.dimensions.contains(.upstream) }
            }
            var decided = Decided(
                filters: planned.filters,
                forcedCount: forced.count,
                plan: try plan(planned, freshness),
                freshness: freshness
            )
            try checkCost(decided.plan, freshness, now, connection)
            if let cursor = request.cursor, request.order.isEmpty,
                decided.plan.granularity != .total
            {
                decided.plan.begin(with: cursor.key.bucket)
            }
            return decided
        } catch {
            connection.rollback()
            throw error
        }
    }

    /// Whether raw records and rollups of users may answer: applications are not told how they are
    /// served.
    private static func mayReadUpstreams(_ request: UsageRequest, _ scope: TokenScope) -> Bool {
        guard case .application = scope else { return true }
        return !(request.groupBy + request.filters.map(\.dimension)).contains(.upstream)
    }

    /// How `request`, which has all filters, is answered from what there is.
    func plan(
        _ request: UsageRequest,
        _ freshness: Freshness
    ) throws(QueryFailure) -> Plan {
        var planner = planner
        planner.rollups = freshness.rollups(besides: planner.rollups)
        planner.horizons = freshness.horizons
        planner.completeSince = freshness.completeSince
        planner.recordsSince = freshness.recordsSince
        do throws(Problem) { return try planner.plan(request) } catch { throw .problem(error) }
    }

    /// Refuses a question that would read too much.
    func checkCost(
        _ plan: Plan,
        _ freshness: Freshness,
        _ now: Int64,
        _ connection: PostgresConnection
    ) throws(QueryFailure) {
        guard rowsReadMax.isFinite else { return }
        let rows = try sizes.rows(plan, generation: freshness.generation, now: now, connection)
        let isOfRecords = plan.rollup.isOfRecords
        let allowed = isOfRecords ? rowsReadMax / Self.recordCost : rowsReadMax
        guard rows > allowed else { return }
        let source = isOfRecords ? "raw records" : "rows of rollup \(plan.rollup.name)"
        throw .problem(
            Problem(
                .tooCostly,
                "the question would read about \(Int64(rows)) \(source), "
                    + "at most \(Int64(allowed)) are allowed; "
                    + "shorten the range, or take a coarser granularity or fewer dimensions",
                parameter: "from"
            )
        )
    }

    /// The metrics of everything, whatever its groups.
    private func whole(
        _ request: UsageRequest,
        _ decided: Decided,
        _ connection: PostgresConnection
    ) throws(QueryFailure) -> [Value] {
        var request = request
        request.groupBy = []
        request.order = []
        request.fill = .zero
        let collector = RowCollector(order: [], limit: 1, starts: [], after: nil)
        try UsageReading(request, decided, connection).read(into: collector)
        return collector.finish().first?.metrics ?? []
    }

    /// The metrics of the rows of `answer` in an earlier window.
    private func earlier(
        _ comparison: Comparison,
        _ answer: UsageAnswer,
        _ decided: Decided,
        _ connection: PostgresConnection
    ) throws(QueryFailure) -> UsageAnswer.Earlier {
        let plan = answer.plan
        guard let window = comparison.window(plan.from, plan.to, zoneName: plan.zone.name) else {
            throw .problem(.invalid("compare", "the earlier window begins before the year 1"))
        }
        var request = answer.request
        (request.from, request.to) = window
        request.granularity = plan.granularity
        request.order = []
        request.cursor = nil
        request.fill = .none
        var decided = decided
        var planned = request
        planned.filters = decided.filters
        decided.plan = try self.plan(planned, decided.freshness)
        let pairs = BucketPairs(plan, decided.plan)
        let places = answer.rows.map { row in
            pairs[row.bucket].map { RowPlace(bucket: $0, groups: row.groups) }
        }
        let picker = RowPicker(Set(places.compactMap { $0 }))
        if !answer.rows.isEmpty {
            try UsageReading(request, decided, connection).read(into: picker)
        }
        let empty = request.metrics.map { $0.value(of: GroupMeasures()) }
        let unknown = request.metrics.map { _ in Value.null }
        return UsageAnswer.Earlier(
            from: decided.plan.from,
            to: decided.plan.to,
            metrics: places.map { place in place.map { picker.metrics[$0] ?? empty } ?? unknown }
        )
    }
}
