import Query
import SluiceConfiguration

extension MeterSettings {
    /// The same for whoever counts; nil if a word is not known, which the schema has refused.
    var meter: Meter? {
        guard let aggregate = Meter.Aggregate(rawValue: aggregate),
            let period = Meter.Period(rawValue: period)
        else { return nil }
        return Meter(
            name: name,
            aggregate: aggregate,
            field: field.flatMap(Meter.Field.init),
            filters: filter,
            period: period,
            zoneName: timezone,
            firstDay: start,
            grace: grace
        )
    }
}

extension AlertSettings {
    /// The same for whoever measures; nil if something is missing, which `check` has said.
    func rule(_ meters: [MeterSettings]) -> AlertRule? {
        let measure: AlertRule.Measure
        switch metric {
        case "freshness": measure = .freshness
        case "lag": measure = .lag
        case "quota":
            guard let limit, let meter = meters.first(where: { $0.name == meter })?.meter else {
                return nil
            }
            measure = .quota(meter, limit: limit)
        default:
            guard let metric = Metric(rawValue: metric) else { return nil }
            measure = .metric(metric)
        }
        guard let threshold = above ?? below else { return nil }
        return AlertRule(
            name: name,
            measure: measure,
            filters: filter,
            window: window,
            comparison: above == nil ? .below : .above,
            threshold: threshold,
            hold: hold,
            webhooks: notify
        )
    }
}

extension Settings {
    /// The alert rules.
    var alertRules: [AlertRule] { alerts.compactMap { $0.rule(meters) } }

    /// What each application may use of a meter in a period: the smallest limit that an alert of
    /// metric `quota` has for it.
    var meterQuotas: [String: Double] {
        let limits = alerts.compactMap { alert -> (String, Double)? in
            guard alert.metric == "quota", let meter = alert.meter, let limit = alert.limit else {
                return nil
            }
            return (meter, limit)
        }
        return Dictionary(limits, uniquingKeysWith: min)
    }

    /// Who is told of alerts; the only place where their secrets are revealed.
    var alertWebhooks: [Webhook] {
        webhooks.map { Webhook(name: $0.name, url: $0.url.reveal(), secret: $0.secret.reveal()) }
    }
}

extension Refusals {
    /// What the modules of this binary say.
    static var ofModules: Refusals {
        var refusals = Refusals()
        refusals.meter = { $0.meter?.problems ?? [] }
        refusals.meterNotes = { settings, all in
            let names = settings.meter?.dimensionsOfRecords ?? []
            guard !names.isEmpty, all.recordsRetain == nil else { return [] }
            let list = names.joined(separator: ", ")
            return [
                (
                    "filter",
                    "no built-in rollup has \(list) beside the application: keep raw records for "
                        + "longer than a period and its grace (records.retain), or the meter "
                        + "cannot be closed"
                )
            ]
        }
        refusals.alert = { alert in
            guard AlertRule.Measure.names.contains(alert.metric) else {
                return [
                    (
                        "metric",
                        "there is no metric \"\(alert.metric)\"; choose one of "
                            + AlertRule.Measure.names.joined(separator: ", ")
                    )
                ]
            }
            return alert.rule([])?.problems ?? []
        }
        return refusals
    }
}
