import Postgres
import Rollups

/// The statement that reads one question's rows from the tiers and the deltas of a rollup.
///
/// Columns of a result row: the bucket's number from 1 (unless `total`), the integer of each group,
/// the text of each group that is an id, the measures. Rows of one group follow one another, in the
/// order of the contract.
struct UsageStatement: Sendable {
    /// The plan that is carried out.
    let plan: Plan

    /// Columns of `groupBy`, in its order.
    let groups: [DimensionColumn]

    /// What is read, in the order of the result's columns.
    let measures: [Measure]

    /// Schema of the active generation.
    let schema: String

    /// Whether parts of a group come as several rows, so that no array grows with the range.
    var isSplit: Bool {
        !plan.rollup.isOfRecords && measures.contains(where: \.isMergedInProcess)
    }

    /// Whether all parts of one group in one bucket of the answer fit into one array: a day of a
    /// rollup as narrow as organisation and API. Splitting them doubles the time of the statement.
    private var hasShortArrays: Bool {
        plan.rollup.dimensions.count <= 2 && plan.granularity.typicalSeconds <= 86_400
    }

    /// Result column of the first group's integer.
    var groupColumn: Int { plan.granularity == .total ? 0 : 1 }

    /// Result column of the first text.
    var textColumn: Int { groupColumn + groups.count }

    /// Result column of the first measure.
    var measureColumn: Int { textColumn + identifierCount }

    private var identifierCount: Int {
        groups.filter { if case .identifier = $0 { true } else { false } }.count
    }

    /// A statement for `metrics` by `groupBy`.
    init(plan: Plan, groupBy: [Dimension], metrics: [Metric], generation: Int64) {
        self.plan = plan
        groups = groupBy.map { DimensionColumn($0, in: plan.rollup) }
        var measures: [Measure] = [.requests]
        for measure in metrics.flatMap({ $0.measures(in: plan.rollup) })
        where !measures.contains(measure) {
            measures.append(measure)
        }
        self.measures = measures
        schema = Statement.quote("sluice_g\(generation)")
    }

    /// The statement for rows that surely match `filters`; at most `rowsMax` rows if given.
    func rows(_ filters: [ResolvedFilter], rowsMax: Int?) -> Statement {
        if plan.rollup.isOfRecords { return records(filters, rowsMax: rowsMax) }
        var statement = Statement()
        let source = source(columns: columns, &statement) { statement in
            filters.map { $0.certain(&statement) }
        }
        var keys: [String] = []
        var terms: [String] = []
        if plan.granularity != .total {
            let starts = plan.buckets.starts.map { $0 * 1_000_000 }
            let bound = statement.bind(.timestamps(starts))
            terms.append("width_bucket(u.bucket, \(bound)::timestamptz[]) AS b")
            keys.append("b")
        }
        for index in groups.indices {
            terms.append("u.k\(index)")
            keys.append("k\(index)")
        }
        var grouping = keys
        if isSplit, !hasShortArrays { grouping.append("u.bucket") }
        terms += measures.enumerated().map { "\($1.aggregate) AS m\($0)" }
        statement.text = """
            SELECT \(outputs.joined(separator: ", "))
            FROM (
              SELECT \(terms.joined(separator: ", "))
              FROM (\(source)) u
              \(grouping.isEmpty ? "HAVING count(*) > 0" : "GROUP BY " + list(grouping))
            ) g\(joins)\(ordering)\(rowsMax.map { " LIMIT \($0)" } ?? "")
            """
        return statement
    }

    /// The statement for the number of requests in `__other__` that `filters` had to leave out.
    func otherRequests(_ filters: [ResolvedFilter]) -> Statement {
        var statement = Statement()
        let source = source(columns: ["requests"], &statement) { statement in
            let possible = filters.map { $0.possible(&statement) }
            let certain = filters.map { $0.certain(&statement) }
            return possible + ["NOT (" + certain.joined(separator: " AND ") + ")"]
        }
        statement.text = """
            SELECT least(coalesce(sum(requests), 0), 9223372036854775807)::bigint
            FROM (\(source)) u
            """
        return statement
    }

    func list(_ names: [String]) -> String { names.joined(separator: ", ") }

    /// Columns of the tables that the statement needs, besides the bucket.
    private var columns: [String] {
        var columns = groups.enumerated().map { "\($1.expression) AS k\($0)" }
        var needed = measures
        for companion in measures.flatMap(\.companions) where !needed.contains(companion) {
            needed.append(companion)
        }
        columns += needed.map(\.column)
        return columns
    }

    /// All rows in range, of the tiers and of the deltas, as one relation.
    private func source(
        columns: [String],
        _ statement: inout Statement,
        _ conditions: (inout Statement) -> [String]
    ) -> String {
        let list = (["bucket"] + columns).joined(separator: ", ")
        let matching = conditions(&statement)
        var parts: [String] = []
        func add(_ table: String, _ from: Int64, _ to: Int64) {
            let start = statement.bind(.timestamp(from))
            let end = statement.bind(.timestamp(to))
            let range = "bucket >= \(start)::timestamptz AND bucket < \(end)::timestamptz"
            let condition = ([range] + matching).joined(separator: " AND ")
            let name = Statement.quote(plan.rollup.name + "_" + table)
            parts.append("SELECT \(list) FROM \(schema).\(name) WHERE \(condition)")
        }
        for span in plan.spans { add(span.tier.rawValue, span.from, span.to) }
        // Deltas carry the finest tier's bucket, which lies within one bucket of the answer.
        add("delta", plan.readFrom, plan.to)
        return parts.joined(separator: " UNION ALL ")
    }

    /// Result columns, in the order that the accessors above tell.
    private var outputs: [String] {
        var outputs = plan.granularity == .total ? [] : ["g.b"]
        outputs += groups.indices.map { "g.k\($0)" }
        outputs += identifiers.map { "d\($0).value" }
        outputs += measures.indices.map { "g.m\($0)" }
        return outputs
    }

    /// Indices of groups that are ids.
    var identifiers: [Int] {
        groups.indices.filter { if case .identifier = groups[$0] { true } else { false } }
    }

    private var joins: String {
        identifiers.map { " LEFT JOIN sluice.dimension d\($0) ON d\($0).id = g.k\($0)" }.joined()
    }

    /// Bucket, then groups ascending by code point, unknown last. The integers at the end keep rows
    /// of one group together even if an id had no text.
    private var ordering: String {
        var terms = plan.granularity == .total ? [] : ["g.b"]
        for index in groups.indices {
            switch groups[index] {
            case .identifier: terms.append("d\(index).value COLLATE \"C\" NULLS LAST")
            case .status, .classOfStatus:
                // `__other__` sorts after all digits, absent after everything.
                terms.append(
                    "CASE g.k\(index) WHEN 0 THEN 2147483647 WHEN -1 THEN 2147483646 "
                        + "ELSE g.k\(index) END"
                )
            }
        }
        terms += identifiers.map { "g.k\($0)" }
        return terms.isEmpty ? "" : " ORDER BY " + terms.joined(separator: ", ")
    }
}
