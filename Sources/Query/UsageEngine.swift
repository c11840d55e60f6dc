package import Postgres
import Rollups

/// Answers questions from the database, each in one snapshot.
package struct UsageEngine: Sendable {
    /// Finds the cheapest exact way.
    package var planner = Planner()

    /// An engine over the built-in rollups.
    package init() {}

    /// Answers `request` with what `scope` may see.
    ///
    /// Blocks: call it on the connection's own thread.
    package func answer(
        _ request: UsageRequest,
        scope: TokenScope,
        _ connection: PostgresConnection
    ) throws(QueryFailure) -> UsageAnswer {
        let forced = try scope.filters
        var planned = request
        planned.filters = forced + request.filters
        do throws(PostgresError) {
            try connection.begin("ISOLATION LEVEL REPEATABLE READ READ ONLY")
        } catch { throw .database(error) }
        // Nothing is written, and a statement stopped early has ended the transaction anyway.
        defer { connection.rollback() }
        let freshness = try Freshness(connection)
        var planner = planner
        planner.completeSince = freshness.completeSince
        let plan: Plan
        do throws(Problem) { plan = try planner.plan(planned) } catch { throw .problem(error) }
        return try read(
            request,
            forcedCount: forced.count,
            filters: planned.filters,
            plan,
            freshness,
            connection
        )
    }

    private func read(
        _ request: UsageRequest,
        forcedCount: Int,
        filters: [Filter],
        _ plan: Plan,
        _ freshness: Freshness,
        _ connection: PostgresConnection
    ) throws(QueryFailure) -> UsageAnswer {
        var resolved: [ResolvedFilter] = []
        for (index, filter) in filters.enumerated() {
            resolved.append(
                try ResolvedFilter(
                    filter,
                    isForced: index < forcedCount,
                    rollup: plan.rollup,
                    connection
                )
            )
        }
        let statement = UsageStatement(
            plan: plan,
            groupBy: request.groupBy,
            metrics: request.metrics,
            generation: freshness.generation
        )
        var answer = UsageAnswer(
            request: request,
            plan: plan,
            completeTo: freshness.completeTo,
            completeSince: freshness.completeSince[plan.rollup.name],
            rows: [],
            isTruncated: false,
            otherRequests: 0
        )
        do throws(PostgresError) {
            if resolved.contains(where: \.mayHideMatches), freshness.hasOther {
                let other = statement.otherRequests(resolved)
                answer.otherRequests =
                    try connection.query(other.text, other.parameters).int(0, 0) ?? 0
            }
        } catch { throw .database(error) }
        var reader = UsageReader(statement, request)
        try reader.read(resolved, connection)
        answer.isTruncated = reader.rows.isTruncated
        answer.rows = reader.rows.finish()
        return answer
    }
}

/// Turns the rows of a statement into rows of the answer, one group in memory at a time.
private struct UsageReader {
    private let statement: UsageStatement
    private let request: UsageRequest
    private var group = GroupMeasures()
    private var key: [Int64] = []
    private var texts: [Value] = []
    private var damage: MeasureError?
    var rows: RowCollector

    init(_ statement: UsageStatement, _ request: UsageRequest) {
        self.statement = statement
        self.request = request
        rows = RowCollector(order: request.order, limit: request.limit)
    }

    /// Thrown at the database to stop it once the answer is full.
    private static let enough = PostgresError(call: "UsageReader.read", message: "answer is full")

    mutating func read(
        _ filters: [ResolvedFilter],
        _ connection: PostgresConnection
    ) throws(QueryFailure) {
        let hasOwnOrder = !request.order.isEmpty
        let sql = statement.rows(
            filters,
            rowsMax: hasOwnOrder || statement.isSplit ? nil : request.limit + 1
        )
        do throws(PostgresError) {
            try connection.forEachRow(sql.text, sql.parameters) { row throws(PostgresError) in
                take(row)
                if rows.isDone { throw Self.enough }
            }
        } catch {
            if error != Self.enough { throw .database(error) }
        }
        endGroup()
        if let damage {
            throw .database(PostgresError(call: "UsageReader.read", message: damage.description))
        }
    }

    private mutating func take(_ row: PostgresResult) {
        let keyCount = statement.textColumn
        if key.isEmpty || !isSameGroup(row, keyCount) {
            endGroup()
            key = (0..<keyCount).map { row.int(0, $0) ?? 0 }
            // A group is known by its key even when that has no columns.
            if keyCount == 0 { key = [0] }
            texts = groupValues(row)
        }
        merge(row)
    }

    private func isSameGroup(_ row: PostgresResult, _ keyCount: Int) -> Bool {
        for column in 0..<keyCount where row.int(0, column) ?? 0 != key[column] { return false }
        return true
    }

    private func groupValues(_ row: PostgresResult) -> [Value] {
        var column = statement.textColumn
        var values: [Value] = []
        for (index, group) in statement.groups.enumerated() {
            if case .identifier = group {
                values.append(row.text(0, column).map { .text($0) } ?? .null)
                column += 1
            } else {
                values.append(group.value(row.int(0, statement.groupColumn + index) ?? 0))
            }
        }
        return values
    }

    private mutating func merge(_ row: PostgresResult) {
        var counts = Counts()
        for (index, measure) in statement.measures.enumerated() {
            let column = statement.measureColumn + index
            switch measure {
            case .requests: counts.requests = row.int(0, column) ?? 0
            case .clientErrors: counts.clientErrors = row.int(0, column) ?? 0
            case .serverErrors: counts.serverErrors = row.int(0, column) ?? 0
            case .aborted: counts.aborted = row.int(0, column) ?? 0
            case .bytesIn: counts.bytesIn = row.int(0, column) ?? 0
            case .bytesOut: counts.bytesOut = row.int(0, column) ?? 0
            case .latencyCount: counts.latency.count = row.int(0, column) ?? 0
            case .latencySum: counts.latency.sum = row.int(0, column) ?? 0
            case .latencyMinimum: counts.latency.min = row.int(0, column) ?? 0
            case .latencyMaximum: counts.latency.max = row.int(0, column) ?? 0
            case .upstreamCount: counts.upstream.count = row.int(0, column) ?? 0
            case .upstreamSum: counts.upstream.sum = row.int(0, column) ?? 0
            case .upstreamMinimum: counts.upstream.min = row.int(0, column) ?? 0
            case .upstreamMaximum: counts.upstream.max = row.int(0, column) ?? 0
            case .latencyHistogram, .upstreamHistogram, .clients, .keys, .keyIdentifiers:
                mergeParts(measure, row, column)
            }
        }
        group.merged.merge(counts)
    }

    private mutating func mergeParts(_ measure: Measure, _ row: PostgresResult, _ column: Int) {
        do throws(MeasureError) {
            try row.withBytes(0, column) { bytes throws(MeasureError) in
                try ArrayElements.forEach(bytes) { element throws(MeasureError) in
                    switch measure {
                    case .latencyHistogram: try group.merged.mergeLatency(element)
                    case .upstreamHistogram: try group.merged.mergeUpstream(element)
                    case .clients: try group.merged.mergeClients(element)
                    case .keys: try group.merged.mergeKeys(element)
                    default: group.keyIdentifiers.insert(ArrayElements.int4(element))
                    }
                }
            }
        } catch { damage = error }
    }

    private mutating func endGroup() {
        guard !key.isEmpty else { return }
        let bucket = statement.groupColumn == 0 ? 0 : Int(key[0]) - 1
        let metrics = request.metrics.map { $0.value(of: group) }
        rows.add(UsageAnswer.Row(bucket: bucket, groups: texts, metrics: metrics))
        group.removeAll()
        key = []
    }
}
