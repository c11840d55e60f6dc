import Postgres
import Rollups

/// The answer of `/v1/meters`: which meters there are, and what was used in their open periods.
struct MeterList: Sendable {
    /// Parameters that the endpoint knows.
    static let knownParameters = ["open"]

    /// Most open periods of one meter that are shown; chosen: a period waits for its grace, and
    /// longer only while a log is behind.
    static let periodsMax = 3

    /// Most rows of open periods in one answer; chosen: 2 MB.
    static let rowsMax = 10_000

    /// Meters of the configuration, which are those that have open periods.
    let meters: [Meter]
    /// What each application may use in a period, in the meter's unit, by the meter's name.
    let quotas: [String: Double]
    /// Whose meters are shown.
    let scope: TokenScope
    /// The present, microseconds since the Unix epoch.
    let now: Int64
    /// Whether open periods are asked for.
    let includesOpen: Bool
    /// Counts them.
    let engine: UsageEngine

    /// What was used in an open period, as far as the scope may see it.
    fileprivate struct Open {
        var period: MeterPeriod
        var rows: [(owner: MeterOwner, quantity: Int64)]
        var isEstimate: Bool
    }

    /// A meter as the answer shows it; times are microseconds since the Unix epoch.
    fileprivate struct Entry {
        var name: String
        var aggregate: String
        var field: String?
        var unit: String
        var period: String
        var zone: String
        var firstStart: Int64?
        var closedTo: Int64?
        /// The latest definition's filters as JSON, for admins.
        var filters: String?
        /// Nil if they cannot be counted now; empty for a meter that is no longer configured.
        var open: [Open]? = []
    }

    /// Reads `open` from the query string.
    static func includesOpen(_ query: String) throws(Problem) -> Bool {
        let values = try UsageRequest.collect(
            try UsageParameters(query: query),
            Self.knownParameters
        )
        switch values.single["open"] ?? "false" {
        case "false": return false
        case "true": return true
        default: throw .invalid("open", "open must be true or false")
        }
    }

    /// The body, read in the transaction that is open.
    func body(_ connection: PostgresConnection) throws(QueryFailure) -> [UInt8] {
        var entries = try known(connection)
        var completeTo: Int64?
        if includesOpen {
            let freshness = try Freshness(connection)
            completeTo = freshness.completeTo
            for meter in meters {
                let place = entries.firstIndex { $0.name == meter.name }
                var entry = place.map { entries[$0] } ?? Entry(meter)
                entry.open = try open(meter, entry, freshness, connection)
                if let place {
                    entries[place] = entry
                } else if scope == .admin
                    || entry.open?.contains(where: { !$0.rows.isEmpty }) == true
                {
                    // Others than admins learn of a meter by what they have used of it.
                    entries.append(entry)
                }
            }
            entries.sort { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
            let count = entries.flatMap { $0.open ?? [] }.reduce(0) { $0 + $1.rows.count }
            guard count <= Self.rowsMax else {
                throw .problem(
                    Problem(
                        .tooCostly,
                        "open periods have \(count) rows, at most \(Self.rowsMax) are answered; "
                            + "ask with the token of an organisation",
                        parameter: "open"
                    )
                )
            }
        }
        return write(entries, completeTo)
    }

    /// The meters that row-level security shows, with the latest definition to whom it shows that.
    private func known(_ connection: PostgresConnection) throws(QueryFailure) -> [Entry] {
        let found: PostgresResult
        do throws(PostgresError) {
            found = try connection.query(
                """
                SELECT m.name, m.aggregate, m.field, m.unit, m.period, m.zone, m.first_start,
                  m.closed_to, d.filters IS NOT NULL, coalesce(array_to_json(d.filters)::text, '')
                FROM sluice.meter m LEFT JOIN LATERAL (
                  SELECT filters FROM sluice.meter_definition d WHERE d.meter = m.name
                  ORDER BY d.id DESC LIMIT 1) d ON true
                ORDER BY m.name COLLATE "C"
                """
            )
        } catch { throw .database(error) }
        return (0..<found.rowCount).map { row in
            Entry(
                name: found.text(row, 0) ?? "",
                aggregate: found.text(row, 1) ?? "",
                field: found.text(row, 2),
                unit: found.text(row, 3) ?? "",
                period: found.text(row, 4) ?? "",
                zone: found.text(row, 5) ?? "UTC",
                firstStart: found.timestamp(row, 6),
                closedTo: found.timestamp(row, 7),
                filters: found.bool(row, 8) == true ? found.text(row, 9) ?? "[]" : nil
            )
        }
    }

    /// The periods from the last closed one on that have begun, oldest first; nil if they cannot be
    /// counted, as when nothing is kept that has the meter's dimensions.
    private func open(
        _ meter: Meter,
        _ entry: Entry,
        _ freshness: Freshness,
        _ connection: PostgresConnection
    ) throws(QueryFailure) -> [Open]? {
        var found: [Open] = []
        for period in periods(meter, entry) {
            do throws(QueryFailure) {
                let count = try engine.count(
                    meter,
                    period,
                    freshness,
                    connection,
                    as: scope,
                    now: now
                )
                let rows = count.quantities.sorted { $0.key < $1.key }
                found.append(
                    Open(
                        period: period,
                        rows: rows.map { ($0.key, $0.value) },
                        isEstimate: meter.isEstimate(count.rollup)
                    )
                )
            } catch {
                // What cannot be planned has read nothing, and the others can still be answered.
                guard case .problem = error else { throw error }
                return nil
            }
        }
        return found
    }

    private func periods(_ meter: Meter, _ entry: Entry) -> [MeterPeriod] {
        let second = now / 1_000_000
        guard let current = meter.period.containing(second, zoneName: meter.zoneName) else {
            return []
        }
        let first = (entry.closedTo ?? entry.firstStart).map { $0 / 1_000_000 }
        var start = first ?? current.start
        if first == nil, let day = meter.firstDay,
            let begun = meter.period.containing(day: day, zoneName: meter.zoneName)
        {
            start = max(start, begun.start)
        }
        var periods: [MeterPeriod] = []
        var period = current
        while period.start >= start, periods.count < Self.periodsMax {
            periods.append(period)
            guard
                let before = meter.period.containing(period.start - 1, zoneName: meter.zoneName)
            else { break }
            period = before
        }
        return periods.reversed()
    }

    private func write(_ entries: [Entry], _ completeTo: Int64?) -> [UInt8] {
        var writer = JSONWriter()
        writer.beginObject()
        if includesOpen {
            writer.member("complete_to", completeTo.map { CivilTime.utc(microseconds: $0) })
        }
        writer.key("meters")
        writer.beginArray()
        for entry in entries {
            func time(_ moment: Int64?) -> String? {
                moment.map { UsageWriter.lowerBound($0, entry.zone) }
            }
            writer.beginObject()
            writer.member("name", entry.name)
            writer.member("aggregate", entry.aggregate)
            writer.member("field", entry.field)
            writer.member("unit", entry.unit)
            writer.member("period", entry.period)
            writer.member("tz", entry.zone)
            writer.member("first_start", time(entry.firstStart))
            writer.member("closed_to", time(entry.closedTo))
            if let filters = entry.filters {
                writer.key("filter")
                writer.raw(filters)
            }
            if includesOpen { write(entry.open, of: entry, &writer) }
            writer.endObject()
        }
        writer.endArray()
        writer.endObject()
        return writer.utf8
    }

    private func write(_ open: [Open]?, of entry: Entry, _ writer: inout JSONWriter) {
        let quota = quotas[entry.name]
        writer.member("quota", quota.map(Self.number) ?? .null)
        writer.key("open")
        guard let open else {
            writer.raw("null")
            return
        }
        writer.beginArray()
        for period in open {
            writer.beginObject()
            for (name, second) in [
                ("period_start", period.period.start), ("period_end", period.period.end),
            ] {
                writer.member(name, UsageWriter.lowerBound(second * 1_000_000, entry.zone))
            }
            writer.key("rows")
            writer.beginArray()
            for (owner, quantity) in period.rows {
                let isDuration = entry.unit == "seconds"
                let used = Double(quantity) / (isDuration ? 1_000_000 : 1)
                writer.beginObject()
                writer.member("application", owner.application)
                writer.member("org", owner.org)
                writer.key("quantity")
                writer.raw(
                    isDuration ? StoredAmount.seconds(microseconds: quantity) : "\(quantity)"
                )
                // Those that have no application, or were merged, have no quota of their own.
                let isOne = owner.application != nil && owner.application != Dimension.otherValue
                let left = isOne ? quota.map { Self.number(max(0, $0 - used)) } : nil
                writer.member("left", left ?? .null)
                writer.key("estimate")
                writer.value(period.isEstimate)
                writer.endObject()
            }
            writer.endArray()
            writer.endObject()
        }
        writer.endArray()
    }

    /// A whole number without a fraction, which is how people wrote it.
    private static func number(_ number: Double) -> Value {
        Int64(exactly: number).map { .integer($0) } ?? .number(number)
    }
}

extension MeterList.Entry {
    /// A meter of the configuration of which nothing that may be seen is in the database.
    init(_ meter: Meter) {
        self.init(
            name: meter.name,
            aggregate: meter.aggregate.rawValue,
            field: meter.field?.rawValue,
            unit: meter.unit,
            period: meter.period.rawValue,
            zone: meter.zoneName
        )
    }
}

extension MeterOwner: Comparable {
    /// By organisation and application, by code point, absent ones last.
    static func < (left: MeterOwner, right: MeterOwner) -> Bool {
        func precedes(_ left: String?, _ right: String?) -> Bool {
            guard let left else { return false }
            guard let right else { return true }
            return left.utf8.lexicographicallyPrecedes(right.utf8)
        }
        return left.org == right.org
            ? precedes(left.application, right.application) : precedes(left.org, right.org)
    }
}
