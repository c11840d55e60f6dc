import Postgres
import Rollups

/// Reads the rows of one decided question within the transaction that is open.
struct UsageReading {
    private let request: UsageRequest
    private let decided: UsageEngine.Decided
    private let connection: PostgresConnection
    private let filters: [ResolvedFilter]

    /// Looks the filters' values up.
    init(
        _ request: UsageRequest,
        _ decided: UsageEngine.Decided,
        _ connection: PostgresConnection
    ) throws(QueryFailure) {
        self.request = request
        self.decided = decided
        self.connection = connection
        var resolved: [ResolvedFilter] = []
        for (index, filter) in decided.filters.enumerated() {
            resolved.append(
                try ResolvedFilter(
                    filter,
                    isForced: index < decided.forcedCount,
                    rollup: decided.plan.rollup,
                    connection
                )
            )
        }
        filters = resolved
    }

    private func statement(_ metrics: [Metric], _ plan: Plan) -> UsageStatement {
        UsageStatement(
            plan: plan,
            groupBy: request.groupBy,
            metrics: metrics,
            generation: decided.freshness.generation
        )
    }

    /// Marks where to return to: a statement that is stopped early fails its transaction.
    func save() throws(QueryFailure) { try execute("SAVEPOINT reading") }

    /// Returns to the mark.
    func restore() throws(QueryFailure) { try execute("ROLLBACK TO SAVEPOINT reading") }

    private func execute(_ sql: String) throws(QueryFailure) {
        do throws(PostgresError) { try connection.execute(sql) } catch { throw .database(error) }
    }

    /// Requests in `__other__` that the filters might have matched.
    func otherRequests() throws(QueryFailure) -> Int64 {
        guard filters.contains(where: \.mayHideMatches), decided.freshness.hasOther else {
            return 0
        }
        var plan = decided.plan
        plan.begin(with: plan.from / 1_000_000)
        let other = statement([.requests], plan).otherRequests(filters)
        do throws(PostgresError) {
            return try connection.query(other.text, other.parameters).int(0, 0) ?? 0
        } catch { throw .database(error) }
    }

    /// Reads all rows, filled up if asked for, until the sink has enough.
    func read(into sink: any RowSink) throws(QueryFailure) {
        let plan = decided.plan
        guard request.fill == .zero else { return try readRows(into: sink) }
        let starts = plan.buckets.starts
        let groups = try self.groups()
        let buckets = max(1, starts.count)
        guard groups.count <= UsageEngine.filledMax / buckets else {
            throw .problem(
                Problem(
                    .tooCostly,
                    "fill=zero would make \(groups.count) groups × \(buckets) buckets of rows, "
                        + "at most \(UsageEngine.filledMax) are allowed; take a coarser "
                        + "granularity or fewer groups",
                    parameter: "fill"
                )
            )
        }
        let first = starts.lastIndex { $0 * 1_000_000 <= plan.readFrom } ?? 0
        let filler = RowFiller(
            groups: groups,
            buckets: first..<buckets,
            empty: request.metrics.map { $0.value(of: GroupMeasures()) },
            next: sink
        )
        try readRows(into: filler)
        filler.end()
    }

    private func readRows(into sink: any RowSink) throws(QueryFailure) {
        let isCut = request.order.isEmpty && request.cursor == nil && request.fill == .none
        var reader = UsageReader(
            statement(request.metrics, decided.plan),
            request.metrics,
            sink,
            rowsMax: isCut && sink is RowCollector ? request.limit.map { $0 + 1 } : nil
        )
        try reader.read(filters, connection)
    }

    /// The groups of the answer, in order.
    private func groups() throws(QueryFailure) -> [[Value]] {
        guard !request.groupBy.isEmpty else { return [[]] }
        var plan = decided.plan
        plan.granularity = .total
        plan.buckets = .none
        plan.begin(with: plan.from / 1_000_000)
        let collector = RowCollector(
            order: [],
            limit: UsageEngine.filledMax,
            starts: [],
            after: nil
        )
        var reader = UsageReader(
            statement([.requests], plan),
            [.requests],
            collector,
            rowsMax: UsageEngine.filledMax + 1
        )
        try reader.read(filters, connection)
        return collector.finish().map(\.groups)
    }
}

/// Turns the rows of a statement into rows of the answer, one group in memory at a time.
private struct UsageReader {
    private let statement: UsageStatement
    private let metrics: [Metric]
    private let sink: any RowSink
    private let rowsMax: Int?
    private var group = GroupMeasures()
    private var key: [Int64] = []
    private var texts: [Value] = []
    private var damage: MeasureError?

    init(
        _ statement: UsageStatement,
        _ metrics: [Metric],
        _ sink: any RowSink,
        rowsMax: Int?
    ) {
        self.statement = statement
        self.metrics = metrics
        self.sink = sink
        self.rowsMax = rowsMax
    }

    /// Thrown at the database to stop it once the answer is full.
    private static let enough = PostgresError(call: "UsageReader.read", message: "answer is full")

    mutating func read(
        _ filters: [ResolvedFilter],
        _ connection: PostgresConnection
    ) throws(QueryFailure) {
        let sql = statement.rows(filters, rowsMax: statement.isSplit ? nil : rowsMax)
        do throws(PostgresError) {
            try connection.forEachRow(sql.text, sql.parameters) { row throws(PostgresError) in
                take(row)
                if sink.isDone { throw Self.enough }
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
        // Raw records come as one row for each group.
        if key.isEmpty || statement.plan.rollup.isOfRecords || !isSameGroup(row, keyCount) {
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

    /// Adds the values of raw records that a histogram or sketch is made of.
    private mutating func addValues(_ measure: Measure, _ row: PostgresResult, _ column: Int) {
        row.withBytes(0, column) { bytes in
            ArrayElements.forEach(bytes) { element in
                switch measure {
                case .latencyHistogram: group.merged.addLatency(ArrayElements.int8(element))
                case .upstreamHistogram: group.merged.addUpstream(ArrayElements.int8(element))
                case .clients: group.merged.addClient(element)
                default: group.merged.addKey(element)
                }
            }
        }
    }

    private mutating func mergeParts(_ measure: Measure, _ row: PostgresResult, _ column: Int) {
        if statement.plan.rollup.isOfRecords { return addValues(measure, row, column) }
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
        let values = metrics.map { $0.value(of: group) }
        sink.add(
            UsageAnswer.Row(
                bucket: bucket,
                groups: texts,
                metrics: values,
                counts: group.merged.counts
            )
        )
        group.removeAll()
        key = []
    }
}
