import Rollups

extension SettingsDecoder {
    /// The rollup that `node` describes; nil if it cannot be used.
    func decodeRollup(_ node: ConfigurationNode) -> RollupSettings? {
        guard let definition = node.rollup.definition else { return nil }
        var rollup = RollupSettings(definition)
        rollup.retain = retain(node["retain"])
        return rollup
    }

    /// How long tiers are kept, of a map that may be absent.
    func retain(_ node: ConfigurationNode?) -> [Tier: Duration] { node?.retain ?? [:] }
}

extension SettingsChecker {
    /// Checks rollups against each other and the built-in ones, and how long their tiers are kept.
    mutating func checkRollups(_ tree: ConfigurationNode, _ settings: Settings) {
        checkRetain(tree["aggregator"]?["retain"], settings.aggregator.retain, "aggregator")
        var names: [String: Int] = [:]
        for (index, node) in (tree["rollups"]?.elements ?? []).enumerated() {
            let path = "rollups[\(index)]"
            if let name = node["name"], let text = name.text {
                if let first = names[text] {
                    problem(
                        name,
                        path + ".name",
                        "\"\(text)\" is also the name of rollups[\(first)]; choose another"
                    )
                } else {
                    names[text] = index
                }
            }
            let (definition, problems) = node.rollup
            for found in problems { report(found, node, path) }
            guard let definition else { continue }
            let own = node["retain"]?.retain ?? [:]
            for tier in own.keys.sorted() where !definition.tiers.contains(tier) {
                problem(
                    node["retain"]?[tier.rawValue] ?? node,
                    path + ".retain.\(tier.rawValue)",
                    "the rollup has no tier \(tier.rawValue); leave it out"
                )
            }
            let both = settings.aggregator.retain.merging(own) { $1 }
                .filter { definition.tiers.contains($0.key) }
            if !own.isEmpty { checkRetain(node["retain"], both, path) }
        }
    }

    private mutating func report(
        _ found: RollupProblem,
        _ node: ConfigurationNode,
        _ path: String
    ) {
        switch found.part {
        case .name:
            guard node["name"]?.text != nil else { return }
            problem(node["name"] ?? node, path + ".name", found.description)
        case .dimension(let index):
            let elements = node["dimensions"]?.elements ?? []
            problem(
                elements.indices.contains(index) ? elements[index] : node,
                path + ".dimensions[\(index)]",
                found.description
            )
        case .dimensions:
            guard node["dimensions"]?.elements != nil else { return }
            problem(node["dimensions"] ?? node, path + ".dimensions", found.description)
        case .tier(let index):
            let elements = node["tiers"]?.elements ?? []
            guard elements.indices.contains(index), let text = elements[index].text,
                Tier(rawValue: text) != nil
            else { return }
            problem(elements[index], path + ".tiers[\(index)]", found.description)
        }
    }

    /// A finer tier cannot be kept longer than a coarser one.
    private mutating func checkRetain(
        _ node: ConfigurationNode?,
        _ retain: [Tier: Duration],
        _ path: String
    ) {
        guard let node else { return }
        let tiers = retain.keys.sorted()
        for (finer, coarser) in zip(tiers, tiers.dropFirst()) {
            guard let short = retain[finer], let long = retain[coarser], short > long else {
                continue
            }
            problem(
                node[finer.rawValue] ?? node[coarser.rawValue] ?? node,
                path + ".retain.\(finer.rawValue)",
                "buckets of \(finer.rawValue) are kept longer than those of \(coarser.rawValue); "
                    + "keep the coarser ones at least as long"
            )
        }
    }
}

extension ConfigurationNode {
    /// How long tiers are kept, of a map of them.
    fileprivate var retain: [Tier: Duration] {
        var retain: [Tier: Duration] = [:]
        for tier in Tier.allCases {
            retain[tier] = self[tier.rawValue]?.text.flatMap { try? ValueParser.duration($0) }
        }
        return retain
    }

    /// The rollup that this describes, or what is wrong with it.
    fileprivate var rollup: (definition: RollupDefinition?, problems: [RollupProblem]) {
        RollupDefinition.read(
            user: self["name"]?.text ?? "",
            dimensions: (self["dimensions"]?.elements ?? []).map { $0.text ?? "" },
            tiers: (self["tiers"]?.elements ?? []).map { $0.text ?? "" }
        )
    }
}
