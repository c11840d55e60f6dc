import Rollups

extension UsageRequest {
    /// Parameters that `/v1/usage` knows, for problems and the OpenAPI document.
    package static let knownParameters = [
        "from", "to", "granularity", "tz", "metrics", "group_by", "filter", "order", "limit",
        "cursor", "fill", "compare", "format",
    ]

    /// Parameters that `/v1/top` knows.
    package static let topParameters = [
        "from", "to", "tz", "metrics", "group_by", "filter", "limit", "cursor", "compare", "format",
    ]

    /// Most filters of one question; chosen.
    static let filtersMax = 50

    /// Checks `parameters`; relative times count from `now` (microseconds since the Unix epoch).
    package init(
        _ parameters: UsageParameters,
        now: Int64,
        kind: Kind = .usage
    ) throws(Problem) {
        let known = kind == .top ? Self.topParameters : Self.knownParameters
        let values = try Self.collect(parameters, known)
        self.kind = kind
        fingerprint = Self.fingerprint(parameters, kind)
        zoneName = try Self.zoneName(values.single["tz"])
        cursor = try Self.cursor(values.single["cursor"], fingerprint)
        if let cursor {
            from = cursor.from
            to = cursor.to
        } else {
            from = try Self.time("from", values.single["from"] ?? "-24h", now, zoneName)
            to = try Self.time("to", values.single["to"] ?? "now", now, zoneName)
        }
        guard from < to else {
            throw .invalid("to", "to must be later than from; swap them or widen the range")
        }
        granularity = try Self.granularity(values.single["granularity"])
        if kind == .top { granularity = .total }
        if let cursor { granularity = cursor.granularity }
        metrics = try Self.list(
            "metrics",
            values.single["metrics"],
            Metric.init(rawValue:),
            known: Metric.allCases.map(\.rawValue),
            default: Metric.defaults
        )
        groupBy = try Self.list(
            "group_by",
            values.single["group_by"],
            Dimension.init(name:),
            known: Dimension.names,
            default: [],
            mayRepeat: false
        )
        guard values.filters.count <= Self.filtersMax else {
            throw .invalid("filter", "send at most \(Self.filtersMax) filters")
        }
        filters = []
        for text in values.filters { filters.append(try Filter(text)) }
        order = []
        limit = kind == .top ? Self.topDefault : Self.limitDefault
        fill = try Self.named("fill", values.single["fill"], .none)
        format = try Self.named("format", values.single["format"], .json)
        comparison = try Self.comparison(values.single["compare"])
        order = try readOrder(values.single["order"])
        try readLimit(values.single["limit"])
        if kind == .top {
            guard !groupBy.isEmpty else {
                throw .invalid(
                    "group_by",
                    "name at least one dimension to be ranked",
                    known: Dimension.names
                )
            }
            order = [OrderTerm(.metric(0), isDescending: true)]
        }
        guard
            cursor.map({
                $0.key.groups.count == groupBy.count
                    && $0.key.terms.count == order.count
            }) ?? true
        else { throw Self.foreignCursor }
    }

    private static let foreignCursor = Problem.invalid(
        "cursor",
        "the cursor is not of this question; send all other parameters as for the first page"
    )

    /// A hash of what the client asked for, the same on every page.
    private static func fingerprint(_ parameters: UsageParameters, _ kind: Kind) -> UInt64 {
        let passing: Set<String> = ["cursor", "limit", "format"]
        let lines = parameters.pairs.filter { !passing.contains($0.name) }
            .map { "\($0.name)=\($0.value)" }.sorted()
        return StableHash.hash(([kind == .top ? "top" : "usage"] + lines).joined(separator: "\0"))
    }

    private static func cursor(_ text: String?, _ fingerprint: UInt64) throws(Problem) -> Cursor? {
        guard let text else { return nil }
        guard let cursor = Cursor(text), cursor.from < cursor.to,
            timesAllowed.contains(cursor.from), timesAllowed.contains(cursor.to)
        else { throw .invalid("cursor", "the cursor is damaged; send next of an answer as it was") }
        guard cursor.fingerprint == fingerprint else { throw foreignCursor }
        return cursor
    }

    private static func comparison(_ text: String?) throws(Problem) -> Comparison? {
        guard let text else { return nil }
        guard let comparison = Comparison(text) else {
            throw .invalid(
                "compare",
                "\"\(text)\" names no earlier window; \(Comparison.advice)"
            )
        }
        return comparison
    }

    /// Sorts pairs by name, refusing repetitions and names that are not known.
    static func collect(
        _ parameters: UsageParameters,
        _ known: [String]
    ) throws(Problem) -> (single: [String: String], filters: [String]) {
        var single: [String: String] = [:]
        var filters: [String] = []
        for name in parameters.pairs.map(\.name) + parameters.absent
        where !known.contains(name) {
            throw Problem(
                .unknownParameter,
                "there is no parameter \"\(name)\"; use only the known ones",
                parameter: name,
                known: known
            )
        }
        for pair in parameters.pairs {
            if pair.name == "filter" {
                filters.append(pair.value)
            } else if single.updateValue(pair.value, forKey: pair.name) != nil {
                throw .invalid(pair.name, "send \(pair.name) once; only filter may be repeated")
            }
        }
        return (single, filters)
    }

    /// Reads `tz`.
    static func zoneName(_ text: String?) throws(Problem) -> String {
        let name = text ?? "UTC"
        guard Zone.exists(name) else {
            throw .invalid(
                "tz",
                "\"\(name)\" is not an IANA time zone; write one such as Europe/Berlin"
            )
        }
        return name
    }

    /// Earliest and latest time that may be asked for: years 1 to 9998, so that rounding outward
    /// and any offset still give a year of four digits.
    static let timesAllowed: ClosedRange<Int64> =
        CivilTime.days(year: 1, month: 1, day: 3) * 86_400_000_000...CivilTime.days(
            year: 9999,
            month: 1,
            day: 1
        ) * 86_400_000_000

    /// Reads a point in time, microseconds since the Unix epoch.
    static func time(
        _ parameter: String,
        _ text: String,
        _ now: Int64,
        _ zoneName: String
    ) throws(Problem) -> Int64 {
        guard let expression = TimeExpression(text) else {
            throw .invalid(
                parameter,
                "\"\(text)\" is not a point in time; \(TimeExpression.advice)"
            )
        }
        let microseconds: Int64
        switch expression {
        case .instant(let instant): microseconds = instant
        case .relative(let distance):
            let (sum, overflow) = now.addingReportingOverflow(distance)
            microseconds = overflow ? .min : sum
        case .date(let day):
            guard let zone = Zone(zoneName, from: day * 86_400, to: day * 86_400) else {
                throw .invalid("tz", "\"\(zoneName)\" is not an IANA time zone")
            }
            microseconds = zone.firstInstant(ofDay: day) * 1_000_000
        }
        guard timesAllowed.contains(microseconds) else {
            throw .invalid(parameter, "\(parameter) must lie in the years 1 to 9998")
        }
        return microseconds
    }

    private static func granularity(_ text: String?) throws(Problem) -> Granularity? {
        guard let text, text != "auto" else { return nil }
        guard let granularity = Granularity(rawValue: text) else {
            throw .invalid(
                "granularity",
                "there is no granularity \"\(text)\"",
                known: Granularity.allCases.map(\.rawValue) + ["auto"]
            )
        }
        return granularity
    }

    /// Reads a comma list of names; repetitions are dropped, or refused if they must not be.
    private static func list<Element: Equatable>(
        _ parameter: String,
        _ text: String?,
        _ make: (String) -> Element?,
        known: [String],
        default: [Element],
        mayRepeat: Bool = true
    ) throws(Problem) -> [Element] {
        guard let text else { return `default` }
        if text.isEmpty, `default`.isEmpty { return [] }
        var elements: [Element] = []
        for name in text.split(separator: ",", omittingEmptySubsequences: false) {
            guard let element = make(String(name)) else {
                throw .invalid(
                    parameter,
                    "\(parameter) has no \"\(name)\"; use the known ones",
                    known: known
                )
            }
            if !elements.contains(element) {
                elements.append(element)
            } else if !mayRepeat {
                throw .invalid(parameter, "\(parameter) has \"\(name)\" twice; name it once")
            }
        }
        return elements
    }

    /// Reads `limit`: a number, or `none` for formats that are written row by row.
    private mutating func readLimit(_ text: String?) throws(Problem) {
        guard let text else { return }
        if text == "none" {
            guard format != .json, kind == .usage, order.isEmpty, comparison == nil, cursor == nil
            else {
                throw .invalid(
                    "limit",
                    "limit=none is for csv and ndjson, without order, compare and cursor"
                )
            }
            limit = nil
            return
        }
        guard let number = Int(text), text.utf8.first != UInt8(ascii: "+"),
            (1...Self.limitMax).contains(number)
        else { throw .invalid("limit", "limit must be a number from 1 to \(Self.limitMax)") }
        limit = number
    }

    /// Reads a parameter that has names as values.
    static func named<Choice: RawRepresentable & CaseIterable>(
        _ parameter: String,
        _ text: String?,
        _ default: Choice
    ) throws(Problem) -> Choice where Choice.RawValue == String {
        guard let text else { return `default` }
        guard let choice = Choice(rawValue: text) else {
            throw .invalid(
                parameter,
                "there is no \(parameter) \"\(text)\"",
                known: Choice.allCases.map(\.rawValue)
            )
        }
        return choice
    }

    /// Reads `order`: names of the answer's columns, each descending after a `-`.
    private func readOrder(_ text: String?) throws(Problem) -> [OrderTerm] {
        guard let text else { return [] }
        let known = ["bucket"] + groupBy.map(\.name) + metrics.map(\.rawValue)
        var terms: [OrderTerm] = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let isDescending = part.hasPrefix("-")
            let name = isDescending ? part.dropFirst() : part
            let key: OrderKey
            if name == "bucket" {
                key = .bucket
            } else if let index = groupBy.firstIndex(where: { $0.name == name }) {
                key = .group(index)
            } else if let index = metrics.firstIndex(where: { $0.rawValue == name }) {
                key = .metric(index)
            } else {
                throw .invalid(
                    "order",
                    "order has no \"\(name)\"; use columns of the answer, descending after a -",
                    known: known
                )
            }
            // A later term of the same key could never decide.
            if !terms.contains(where: { $0.key == key }) {
                terms.append(OrderTerm(key, isDescending: isDescending))
            }
        }
        return terms
    }
}
