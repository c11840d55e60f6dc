extension SettingsChecker {
    /// Checks the meters against each other, and each by whoever counts it.
    mutating func checkMeters(_ tree: ConfigurationNode, _ settings: Settings) {
        for (path, name, node) in named("meters", tree) {
            guard let meter = settings.meters.first(where: { $0.name == name }) else { continue }
            for (key, message) in refusals.meter(meter) {
                problem(Self.node(at: key, of: node), "\(path).\(key)", message)
            }
            for (key, message) in refusals.meterNotes(meter, settings) {
                note(Self.node(at: key, of: node), "\(path).\(key)", message)
            }
        }
    }

    /// Checks the alerts against meters and webhooks, and each by whoever measures it.
    mutating func checkAlerts(_ tree: ConfigurationNode, _ settings: Settings) {
        let webhooks = named("webhooks", tree).map(\.name)
        let meters = (tree["meters"]?.elements ?? []).compactMap { $0["name"]?.text }
        for (path, name, node) in named("alerts", tree) {
            guard let alert = settings.alerts.first(where: { $0.name == name }) else { continue }
            if (node["above"] == nil) == (node["below"] == nil) {
                problem(node, path, "give one of above and below")
            }
            for (index, webhook) in (node["notify"]?.elements ?? []).enumerated() {
                guard let text = webhook.text, !webhooks.contains(text) else { continue }
                let hint =
                    Suggestion.nearest(to: text, among: webhooks)
                    .map { "; did you mean \"\($0)\"?" } ?? "; list it in webhooks"
                problem(
                    webhook,
                    "\(path).notify[\(index)]",
                    "there is no webhook \"\(text)\"\(hint)"
                )
            }
            if node["notify"]?.elements?.isEmpty ?? true {
                note(node, "\(path).notify", "nobody is told; only sluice alert ls shows it")
            }
            checkQuota(alert, node, path, meters)
            for (key, message) in refusals.alert(alert) {
                problem(Self.node(at: key, of: node), "\(path).\(key)", message)
            }
        }
    }

    private mutating func checkQuota(
        _ alert: AlertSettings,
        _ node: ConfigurationNode,
        _ path: String,
        _ meters: [String]
    ) {
        guard alert.metric == "quota" else {
            for key in ["meter", "limit"] {
                guard let found = node[key] else { continue }
                problem(found, "\(path).\(key)", "belongs to the metric quota; remove it")
            }
            return
        }
        if let filter = node["filter"] {
            problem(filter, "\(path).filter", "the meter of a quota has its own; remove it")
        }
        if alert.meter.map({ !meters.contains($0) }) ?? true {
            problem(
                node["meter"] ?? node,
                "\(path).meter",
                "quota needs one of meters by its name"
            )
        }
        if alert.limit.map({ $0 <= 0 }) ?? true {
            problem(node["limit"] ?? node, "\(path).limit", "quota needs a limit above 0")
        }
    }

    /// The elements of a list by name; those whose name another one has are reported and left out.
    private mutating func named(
        _ key: String,
        _ tree: ConfigurationNode
    ) -> [(path: String, name: String, node: ConfigurationNode)] {
        var found: [(path: String, name: String, node: ConfigurationNode)] = []
        for (index, node) in (tree[key]?.elements ?? []).enumerated() {
            let path = "\(key)[\(index)]"
            guard let name = node["name"], let text = name.text else { continue }
            if let first = found.first(where: { $0.name == text }) {
                problem(
                    name,
                    path + ".name",
                    "\"\(text)\" is also the name of \(first.path); choose another"
                )
            } else {
                found.append((path, text, node))
            }
        }
        return found
    }

    /// The node of `key`, or of an element as in `filter[1]`; else `node` itself.
    static func node(at key: String, of node: ConfigurationNode) -> ConfigurationNode {
        let parts = key.split(separator: "[", maxSplits: 1)
        guard let name = parts.first, let found = node[String(name)] else { return node }
        guard parts.count == 2, let index = Int(parts[1].dropLast()),
            let elements = found.elements, elements.indices.contains(index)
        else { return found }
        return elements[index]
    }
}
