import Postgres
import Rollups

extension QueryAPI {
    /// What can be asked, within what `scope` may see.
    func meta(_ scope: TokenScope) async throws(Problem) -> APIReply {
        let state = try await database.read(as: scope) { connection throws(QueryFailure) in
            try MetaState(connection)
        }
        let forced: [Dimension] =
            switch scope {
            case .admin: []
            case .org: [.org]
            case .application: [.org, .application]
            }
        let rollups = state.records.rollups(besides: engine.planner.rollups)
            .filter { forced.allSatisfy($0.covers) }
        var writer = JSONWriter()
        writer.beginObject()
        writer.key("scope")
        writer.beginObject()
        writer.member("name", scope.name)
        if let org = scope.org { writer.member("org", org) }
        if let application = scope.application { writer.member("application", application) }
        writer.endObject()
        writer.member("now", CivilTime.utc(microseconds: now()))
        writer.member("complete_to", state.completeTo.map { UsageWriter.lowerBound($0, "UTC") })
        writer.member("time_zone_database", Zone.databaseVersion)
        writeNames(rollups, &writer)
        writer.key("rollups")
        writer.beginArray()
        for rollup in rollups {
            writer.beginObject()
            writer.member("name", rollup.name)
            writer.member("dimensions", rollup.dimensions.map(\.name))
            writer.member("tiers", rollup.tiers.map(\.rawValue))
            let since = state.completeSince[rollup.name]
            writer.member("complete_since", since.map { UsageWriter.upperBound($0, "UTC") })
            writer.key("built_in")
            writer.value(rollup.isBuiltIn)
            writer.key("kept_since")
            writer.beginObject()
            for tier in rollup.tiers {
                let horizon = state.records.horizons[rollup.name]?[tier]
                writer.member(tier.rawValue, horizon.map { CivilTime.utc(microseconds: $0) })
            }
            writer.endObject()
            writer.endObject()
        }
        writer.endArray()
        writeRecords(state.records, RecordColumn.visible(to: scope), &writer)
        writer.endObject()
        return APIReply("application/json", writer.utf8)
    }

    /// What can be asked of raw records; null if none are kept.
    private func writeRecords(
        _ freshness: Freshness,
        _ columns: [RecordColumn],
        _ writer: inout JSONWriter
    ) {
        guard freshness.recordsSince != nil else { return writer.member("records", .null) }
        writer.key("records")
        writer.beginObject()
        writer.member("complete_since", freshness.recordsSinceText)
        writer.key("fields")
        writer.beginArray()
        for column in columns {
            writer.beginObject()
            writer.member("name", column.rawValue)
            writer.member("kind", column.kind.rawValue)
            writer.endObject()
        }
        writer.endArray()
        writer.member("filter_operators", RecordFilter.Operator.allCases.map(\.rawValue))
        writer.endObject()
    }

    /// What rollups can be asked about, tags behind.
    private static func dimensions(of rollups: [RollupDefinition]) -> [Dimension] {
        let tags = Set(rollups.flatMap(\.dimensions).filter { $0.tagName != nil })
        return Dimension.allCases.filter { dimension in
            rollups.contains { $0.covers(dimension) }
        } + tags.sorted { $0.name < $1.name }
    }

    private func writeNames(_ rollups: [RollupDefinition], _ writer: inout JSONWriter) {
        writer.member(
            "dimensions",
            Self.dimensions(of: rollups).map(\.name)
        )
        writer.key("metrics")
        writer.beginArray()
        for metric in Metric.allCases {
            writer.beginObject()
            writer.member("name", metric.rawValue)
            writer.member("unit", metric.unit)
            writer.key("additive")
            writer.value(metric.isAdditive)
            writer.endObject()
        }
        writer.endArray()
        writer.member("granularities", Granularity.allCases.map(\.rawValue) + ["auto"])
        writer.member("filter_operators", Filter.Operator.allCases.map(\.rawValue))
        writer.member("formats", UsageRequest.Format.allCases.map(\.rawValue))
        writer.member("parameters", UsageRequest.knownParameters)
        writer.member("limit_default", .integer(Int64(UsageRequest.limitDefault)))
        writer.member("limit_max", .integer(Int64(UsageRequest.limitMax)))
    }
}

/// What `/v1/meta` reads from the database.
private struct MetaState: Sendable {
    /// Up to when everything is counted.
    var completeTo: Int64?
    /// Since when each rollup is complete.
    var completeSince: [String: Int64] = [:]
    /// The whole state, for raw records.
    var records: Freshness

    init(_ connection: PostgresConnection) throws(QueryFailure) {
        let freshness = try Freshness(connection)
        completeTo = freshness.completeTo
        completeSince = freshness.completeSince
        records = freshness
    }
}
