import Rollups

/// A named quantity that is counted per application and period, for bills.
package struct Meter: Equatable, Sendable {
    /// How records become one number.
    package enum Aggregate: String, CaseIterable, Sendable {
        /// How many there are.
        case count
        /// What their fields add up to.
        case sum
        /// How many different values there are.
        case unique
        /// The largest value.
        case max
    }

    /// What is added up, compared or told apart.
    package enum Field: String, CaseIterable, Sendable {
        /// Bytes received from clients.
        case bytesIn = "bytes_in"
        /// Bytes sent to clients.
        case bytesOut = "bytes_out"
        /// The total duration.
        case latency
        /// The upstream's duration.
        case upstreamLatency = "upstream_latency"
        /// The client's address.
        case client
        /// The credential.
        case key
    }

    /// What is billed at once.
    package enum Period: String, CaseIterable, Sendable {
        /// A local date.
        case day
        /// Seven local dates from Monday.
        case week
        /// A calendar month.
        case month

        /// The same as the width of buckets.
        package var granularity: Granularity {
            switch self {
            case .day: .day
            case .week: .week
            case .month: .month
            }
        }
    }

    /// The name, for ever.
    package var name: String
    /// How records become one number.
    package var aggregate: Aggregate
    /// What of them; nil for `count`.
    package var field: Field?
    /// Which records, as the query API's `dimension:op:value`; all must hold.
    package var filters: [String]
    /// What is billed at once.
    package var period: Period
    /// IANA name of the zone that periods follow.
    package var zoneName: String
    /// A local date (days since 1970-01-01) of the first period; that of the first sight if nil.
    package var firstDay: Int64?
    /// How long after its end a period stays open for late records.
    package var grace: Duration

    /// A meter; `problems` says whether it can be counted.
    package init(
        name: String,
        aggregate: Aggregate,
        field: Field? = nil,
        filters: [String] = [],
        period: Period = .month,
        zoneName: String = "UTC",
        firstDay: Int64? = nil,
        grace: Duration = .seconds(3_600)
    ) {
        self.name = name
        self.aggregate = aggregate
        self.field = field
        self.filters = filters
        self.period = period
        self.zoneName = zoneName
        self.firstDay = firstDay
        self.grace = grace
    }

    /// Fields that an aggregate can be made of: what rollups keep.
    package static func fields(of aggregate: Aggregate) -> [Field] {
        switch aggregate {
        case .count: []
        case .sum: [.bytesIn, .bytesOut, .latency, .upstreamLatency]
        case .unique: [.client, .key]
        case .max: [.latency, .upstreamLatency]
        }
    }

    /// What is wrong with the meter, by the key of the configuration.
    package var problems: [(key: String, message: String)] {
        var problems: [(String, String)] = []
        let fields = Self.fields(of: aggregate)
        let names = fields.map(\.rawValue).joined(separator: ", ")
        if let field, !fields.contains(field) {
            let instead = fields.isEmpty ? "leave it out" : "choose one of \(names)"
            problems.append(
                ("field", "\(aggregate.rawValue) of \(field.rawValue) is not kept; \(instead)")
            )
        } else if field == nil, !fields.isEmpty {
            problems.append(("aggregate", "\(aggregate.rawValue) needs a field: one of \(names)"))
        }
        if !Zone.exists(zoneName) {
            problems.append(("timezone", "\"\(zoneName)\" is not an IANA time zone"))
        }
        for (index, text) in filters.enumerated() {
            do throws(Problem) {
                _ = try Filter(text)
            } catch { problems.append(("filter[\(index)]", error.detail)) }
        }
        return problems
    }

    /// Dimensions of the filters that no built-in rollup has beside the application, so that only
    /// raw records, or a rollup of one's own, can answer.
    package var dimensionsOfRecords: [String] {
        filters.compactMap { try? Filter($0).dimension }
            .filter { !RollupDefinition.consumer.covers($0) }.map(\.name)
    }

    /// What quantities are counted in.
    package var unit: String {
        switch (aggregate, field) {
        case (.count, _), (_, nil): "requests"
        case (_, .bytesIn), (_, .bytesOut): "bytes"
        case (_, .latency), (_, .upstreamLatency): "seconds"
        case (_, .client): "clients"
        case (_, .key): "keys"
        }
    }

    /// The metric that reads what the quantity is computed from.
    var metric: Metric {
        switch (aggregate, field) {
        case (.count, _), (_, nil): .requests
        case (_, .bytesIn): .bytesIn
        case (_, .bytesOut): .bytesOut
        case (.max, .latency): .latencyMaximum
        case (.max, .upstreamLatency): .upstreamMaximum
        case (_, .latency): .latencyAverage
        case (_, .upstreamLatency): .upstreamAverage
        case (_, .client): .uniqueClients
        case (_, .key): .uniqueKeys
        }
    }

    /// The quantity of a row that was read for `metric`: a whole number, of microseconds if it is a
    /// duration.
    func quantity(_ row: UsageAnswer.Row) -> Int64 {
        switch (aggregate, field) {
        case (.sum, .latency): return row.counts.latency.sum
        case (.sum, .upstreamLatency): return row.counts.upstream.sum
        case (.max, .latency): return row.counts.latency.max
        case (.max, .upstreamLatency): return row.counts.upstream.max
        default:
            guard case .integer(let number)? = row.metrics.first else { return 0 }
            return number
        }
    }

    /// Whether quantities read from `rollup` are estimates.
    func isEstimate(_ rollup: RollupDefinition) -> Bool {
        aggregate == .unique && (field == .client || rollup.countsKeys)
    }
}

/// One period of a meter, in seconds since the Unix epoch, half-open.
package struct MeterPeriod: Hashable, Sendable {
    /// Its first second.
    package var start: Int64
    /// The first second of the next one.
    package var end: Int64
}

extension Meter.Period {
    /// Longest period and a little more: every month, whatever the clocks do.
    private static let secondsMax: Int64 = 33 * 86_400

    /// The period that `time` (Unix seconds) lies in; nil for a zone that there is not.
    package func containing(_ time: Int64, zoneName: String) -> MeterPeriod? {
        let until = time + Self.secondsMax
        guard let zone = Zone(zoneName, from: time, to: until),
            let buckets = TimeBuckets(granularity, from: time, to: until, zone: zone),
            buckets.starts.count > 1
        else { return nil }
        return MeterPeriod(start: buckets.starts[0], end: buckets.starts[1])
    }

    /// The period of a local date (days since 1970-01-01).
    package func containing(day: Int64, zoneName: String) -> MeterPeriod? {
        let around = day * 86_400
        guard let zone = Zone(zoneName, from: around - 2 * 86_400, to: around + 2 * 86_400) else {
            return nil
        }
        return containing(zone.firstInstant(ofDay: day), zoneName: zoneName)
    }
}
