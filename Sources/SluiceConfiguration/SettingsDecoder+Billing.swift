extension SettingsDecoder {
    /// The meter that `node` describes; nil if it lacks what every meter has.
    func decodeMeter(_ node: ConfigurationNode) -> MeterSettings? {
        guard let name = node["name"]?.text, let aggregate = node["aggregate"]?.text else {
            return nil
        }
        var meter = MeterSettings(name: name, aggregate: aggregate)
        meter.field = node["field"]?.text
        meter.filter = (node["filter"]?.elements ?? []).compactMap(\.text)
        meter.period = node["period"]?.text ?? meter.period
        meter.timezone = node["timezone"]?.text ?? meter.timezone
        meter.start = node["start"]?.text.flatMap { try? ValueParser.date($0) }
        meter.grace = duration(node["grace"]) ?? meter.grace
        return meter
    }

    /// The webhook that `node` describes; nil if it lacks something.
    mutating func decodeWebhook(_ node: ConfigurationNode, index: Int) -> WebhookSettings? {
        let path = "webhooks[\(index)]"
        guard let name = node["name"]?.text, let urlNode = node["url"],
            let secretNode = node["secret"], let url = secret(urlNode, path: path + ".url"),
            let key = secret(secretNode, path: path + ".secret")
        else { return nil }
        do throws(ValueError) {
            _ = try ValueParser.url(url.reveal())
        } catch {
            problems.append(
                ConfigurationProblem(
                    origin: urlNode.origin,
                    path: path + ".url",
                    message: error.message
                )
            )
        }
        if key.reveal().utf8.count < 16 {
            problems.append(
                ConfigurationProblem(
                    origin: secretNode.origin,
                    path: path + ".secret",
                    message: "is shorter than 16 bytes; use 32 random bytes"
                )
            )
        }
        return WebhookSettings(name: name, url: url, secret: key)
    }

    /// The alert that `node` describes; nil if it lacks what every alert has.
    func decodeAlert(_ node: ConfigurationNode) -> AlertSettings? {
        guard let name = node["name"]?.text, let metric = node["metric"]?.text else { return nil }
        func number(_ key: String) -> Double? {
            node[key]?.text.flatMap { try? ValueParser.number($0) }
        }
        var alert = AlertSettings(name: name, metric: metric)
        alert.above = number("above")
        alert.below = number("below")
        alert.window = duration(node["window"]) ?? alert.window
        alert.hold = duration(node["for"]) ?? alert.hold
        alert.filter = (node["filter"]?.elements ?? []).compactMap(\.text)
        alert.meter = node["meter"]?.text
        alert.limit = number("limit")
        alert.notify = (node["notify"]?.elements ?? []).compactMap(\.text)
        return alert
    }
}
