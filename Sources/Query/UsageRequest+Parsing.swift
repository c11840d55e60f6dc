import Rollups

extension UsageRequest {
    /// Parameters that this version knows, for problems and the OpenAPI document.
    package static let knownParameters = [
        "from", "to", "granularity", "tz", "metrics", "group_by", "filter", "order", "limit",
        "format",
    ]

    /// Parameters of the contract that this version does not answer yet.
    package static let futureParameters = ["compare", "cursor", "fill"]

    /// Most filters of one question; chosen.
    static let filtersMax = 50

    /// Checks `parameters`; relative times count from `now` (microseconds since the Unix epoch).
    package init(_ parameters: UsageParameters, now: Int64) throws(Problem) {
        let values = try Self.collect(parameters)
        zoneName = try Self.zoneName(values.single["tz"])
        from = try Self.time("from", values.single["from"] ?? "-24h", now, zoneName)
        to = try Self.time("to", values.single["to"] ?? "now", now, zoneName)
        guard from < to else {
            throw .invalid("to", "to must be later than from; swap them or widen the range")
        }
        granularity = try Self.granularity(values.single["granularity"])
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
        limit = try Self.limit(values.single["limit"])
        format = try Self.format(values.single["format"])
        order = try readOrder(values.single["order"])
    }

    /// Sorts pairs by name, refusing repetitions and names that are not known.
    private static func collect(
        _ parameters: UsageParameters
    ) throws(Problem) -> (single: [String: String], filters: [String]) {
        var single: [String: String] = [:]
        var filters: [String] = []
        for pair in parameters.pairs {
            if pair.name == "filter" {
                filters.append(pair.value)
            } else if futureParameters.contains(pair.name) {
                // No fill is what this version does, so asking for it is fine.
                if pair.name == "fill", pair.value == "none" { continue }
                throw Problem(
                    .unsupportedParameter,
                    "this version does not support \(pair.name); leave it out",
                    parameter: pair.name
                )
            } else if !knownParameters.contains(pair.name) {
                throw Problem(
                    .unknownParameter,
                    "there is no parameter \"\(pair.name)\"; use only the known ones",
                    parameter: pair.name,
                    known: knownParameters
                )
            } else if single.updateValue(pair.value, forKey: pair.name) != nil {
                throw .invalid(pair.name, "send \(pair.name) once; only filter may be repeated")
            }
        }
        return (single, filters)
    }

    private static func zoneName(_ text: String?) throws(Problem) -> String {
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
    private static let timesAllowed: ClosedRange<Int64> =
        CivilTime.days(year: 1, month: 1, day: 3) * 86_400_000_000...CivilTime.days(
            year: 9999,
            month: 1,
            day: 1
        ) * 86_400_000_000

    private static func time(
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

    private static func limit(_ text: String?) throws(Problem) -> Int {
        guard let text else { return limitDefault }
        guard let limit = Int(text), text.utf8.first != UInt8(ascii: "+"),
            (1...limitMax).contains(limit)
        else { throw .invalid("limit", "limit must be a number from 1 to \(limitMax)") }
        return limit
    }

    private static func format(_ text: String?) throws(Problem) -> Format {
        guard let text else { return .json }
        guard let format = Format(rawValue: text) else {
            throw .invalid(
                "format",
                "there is no format \"\(text)\"",
                known: Format.allCases.map(\.rawValue)
            )
        }
        return format
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
