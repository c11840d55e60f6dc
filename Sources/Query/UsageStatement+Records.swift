import Postgres

extension UsageStatement {
    /// The statement that computes the same columns from raw records, every group in one row.
    ///
    /// Histograms and sketches come as the values that they are made of, so that they are made
    /// here by the same rules as in folds.
    func records(_ filters: [ResolvedFilter], rowsMax: Int?) -> Statement {
        var statement = Statement()
        var keys: [String] = []
        var terms: [String] = []
        if plan.granularity != .total {
            let starts = plan.buckets.starts.map { $0 * 1_000_000 }
            let bound = statement.bind(.timestamps(starts))
            terms.append("width_bucket(u.completed_at, \(bound)::timestamptz[]) AS b")
            keys.append("b")
        }
        for (index, group) in groups.enumerated() {
            terms.append("\(group.expressionOfRecords) AS k\(index)")
            keys.append("k\(index)")
        }
        terms += measures.enumerated().map { "\($1.aggregateOfRecords) AS m\($0)" }
        let start = statement.bind(.timestamp(plan.readFrom))
        let end = statement.bind(.timestamp(plan.to))
        let conditions =
            [
                "u.completed_at >= \(start)::timestamptz", "u.completed_at < \(end)::timestamptz",
            ] + filters.map { $0.certain(&statement) }
        var outputs = plan.granularity == .total ? [] : ["g.b"]
        for index in groups.indices {
            outputs.append(identifiers.contains(index) ? "0" : "coalesce(g.k\(index), 0)")
        }
        outputs += identifiers.map { "g.k\($0)" }
        outputs += measures.indices.map { "g.m\($0)" }
        var order = plan.granularity == .total ? [] : ["g.b"]
        for index in groups.indices {
            order.append(
                "g.k\(index)\(identifiers.contains(index) ? " COLLATE \"C\"" : "") NULLS LAST"
            )
        }
        statement.text = """
            SELECT \(list(outputs))
            FROM (
              SELECT \(list(terms))
              FROM sluice.records u
              WHERE \(conditions.joined(separator: " AND "))
              \(keys.isEmpty ? "HAVING count(*) > 0" : "GROUP BY " + list(keys))
            ) g\(order.isEmpty ? "" : " ORDER BY " + list(order))
            \(rowsMax.map { "LIMIT \($0)" } ?? "")
            """
        return statement
    }
}

extension Measure {
    /// SQL of the aggregate over raw records `u`.
    fileprivate var aggregateOfRecords: String {
        switch self {
        case .requests: "count(*)"
        case .clientErrors: "count(*) FILTER (WHERE u.error = 'client')"
        case .serverErrors: "count(*) FILTER (WHERE u.error = 'server')"
        case .aborted: "count(*) FILTER (WHERE u.outcome = 'client_aborted')"
        case .bytesIn: Self.sum("bytes_in")
        case .bytesOut: Self.sum("bytes_out")
        case .latencyCount: "count(u.latency)"
        case .latencySum: Self.sum("latency")
        case .latencyMinimum: "min(u.latency)"
        case .latencyMaximum: "max(u.latency)"
        case .upstreamCount: "count(u.upstream_latency)"
        case .upstreamSum: Self.sum("upstream_latency")
        case .upstreamMinimum: "min(u.upstream_latency)"
        case .upstreamMaximum: "max(u.upstream_latency)"
        case .latencyHistogram: Self.values("latency")
        case .upstreamHistogram: Self.values("upstream_latency")
        case .clients: Self.distinct("client_ip")
        case .keys, .keyIdentifiers: Self.distinct("key")
        }
    }

    private static func sum(_ column: String) -> String {
        "least(sum(u.\(column)), 9223372036854775807)::bigint"
    }

    private static func values(_ column: String) -> String {
        "array_agg(u.\(column)) FILTER (WHERE u.\(column) IS NOT NULL)"
    }

    private static func distinct(_ column: String) -> String {
        "array_agg(DISTINCT u.\(column)) FILTER (WHERE u.\(column) IS NOT NULL)"
    }
}
