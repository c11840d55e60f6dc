/// What a webhook is told.
package struct AlertEvent: Sendable {
    /// Number of the event; the same at every attempt.
    var id: String
    /// `firing`, `resolved` or `test`.
    var status: String
    /// The rule.
    var rule: AlertRule
    /// The application under a quota, nil for others.
    var owner: MeterOwner?
    /// What was measured; nil if nothing could be.
    var value: Double?
    /// When it was noticed, microseconds since the Unix epoch.
    var at: Int64

    /// An event that only shows that webhooks can be reached.
    package static func test(_ rule: AlertRule, at time: Int64) -> AlertEvent {
        AlertEvent(id: "test", status: "test", rule: rule, owner: nil, value: nil, at: time)
    }

    /// Number of the event; the same at every attempt.
    package var identifier: String { id }

    /// The event as JSON.
    package var body: [UInt8] {
        var writer = JSONWriter()
        writer.beginObject()
        writer.member("id", id)
        writer.member("status", status)
        writer.member("rule", rule.name)
        writer.member("at", CivilTime.precise(microseconds: at))
        writer.member("metric", rule.measure.name)
        writer.member("value", value.map { .number($0) } ?? .null)
        writer.member(rule.comparison.rawValue, .number(rule.threshold))
        switch rule.measure {
        case .metric:
            writer.member("window_seconds", .integer(rule.window.microseconds / 1_000_000))
            writer.member("filter", rule.filters)
        case .quota(let meter, let limit):
            writer.member("meter", meter.name)
            writer.member("limit", .number(limit))
            writer.member("org", owner?.org)
            writer.member("application", owner?.application)
        case .freshness, .lag: break
        }
        writer.endObject()
        return writer.utf8
    }
}
