/// Finds what each value alone cannot show: duplicates, conflicts, and what can never match.
struct SettingsChecker {
    /// What must be changed.
    var problems: [ConfigurationProblem] = []

    /// What works but was hardly meant.
    var notes: [ConfigurationProblem] = []

    /// What other modules say of settings.
    var refusals = Refusals()

    /// Checks the tree as a whole.
    mutating func check(_ tree: ConfigurationNode, _ settings: Settings) {
        let apis = tree["gateway"]?["apis"]?.elements ?? []
        checkAPIs(apis)
        for (index, api) in apis.enumerated() {
            checkRoutes(api, index: index)
            checkTags(api, index: index)
        }
        checkKeys(tree, apis)
        checkAddresses(tree, settings)
        checkSinks(tree, settings)
        checkKafka(tree, settings)
        checkRollups(tree, settings)
        checkMeters(tree, settings)
        checkAlerts(tree, settings)
        if let secret = settings.gateway.credentialKey, secret.reveal().utf8.count < 16,
            let node = tree["gateway"]?["credential_key"]
        {
            problem(node, "gateway.credential_key", "is shorter than 16 bytes; use 32 random bytes")
        }
    }

    private mutating func checkAPIs(_ apis: [ConfigurationNode]) {
        var ids: [String: Int] = [:]
        var paths: [(path: String, index: Int)] = []
        for (index, api) in apis.enumerated() {
            let path = "gateway.apis[\(index)]"
            if let id = api["id"]?.text {
                let version = api["version"]?.text
                let name = "\(id)\u{0}\(version ?? "")"
                if let first = ids[name] {
                    let detail = version.map { " in version \"\($0)\"" } ?? ""
                    problem(
                        api["id"] ?? api,
                        path + ".id",
                        "\"\(id)\"\(detail) is also the id of gateway.apis[\(first)]; "
                            + "choose another id or version"
                    )
                } else {
                    ids[name] = index
                }
            }
            if let node = api["listen_path"], let text = node.text,
                let listenPath = try? ValueParser.listenPath(text)
            {
                checkListenPath(listenPath, node, path, among: paths)
                paths.append((listenPath, index))
            }
            if let upstreams = api["upstreams"], upstreams.elements?.isEmpty == true {
                problem(
                    upstreams,
                    path + ".upstreams",
                    "is empty; give at least one http://host:port"
                )
            }
        }
    }

    private mutating func checkListenPath(
        _ listenPath: String,
        _ node: ConfigurationNode,
        _ path: String,
        among others: [(path: String, index: Int)]
    ) {
        for other in others {
            if listenPath == other.path {
                problem(
                    node,
                    path + ".listen_path",
                    "\"\(listenPath)\" is also the listen path of gateway.apis[\(other.index)]; "
                        + "give each API a path of its own"
                )
                return
            }
            if listenPath.hasPrefix(other.path) || other.path.hasPrefix(listenPath) {
                note(
                    node,
                    path + ".listen_path",
                    "\"\(listenPath)\" overlaps \"\(other.path)\" of gateway.apis[\(other.index)]; "
                        + "the longer path wins"
                )
            }
        }
    }

    private mutating func checkRoutes(_ api: ConfigurationNode, index: Int) {
        var seen: [String: Int] = [:]
        for (number, route) in (api["routes"]?.elements ?? []).enumerated() {
            guard let text = route.text, let parsed = try? ValueParser.route(text) else { continue }
            let segments = parsed.template.split(separator: "/", omittingEmptySubsequences: false)
            let shape = segments.map { $0.hasPrefix("{") ? "{}" : $0 }.joined(separator: "/")
            let name = "\(parsed.method ?? "*") \(shape)"
            let path = "gateway.apis[\(index)].routes[\(number)]"
            if let first = seen[name] {
                problem(
                    route,
                    path,
                    "\"\(text)\" matches the same requests as routes[\(first)]; remove one of them"
                )
            } else {
                seen[name] = number
            }
            if let prefix = api["listen_path"]?.text.flatMap({ try? ValueParser.listenPath($0) }),
                !(parsed.template + "/").hasPrefix(prefix)
            {
                note(
                    route,
                    path,
                    "\"\(text)\" lies outside the listen path \"\(prefix)\", so no request matches "
                        + "it; routes are whole paths"
                )
            }
        }
    }

    private mutating func checkKeys(_ tree: ConfigurationNode, _ apis: [ConfigurationNode]) {
        let keys = tree["gateway"]?["keys"]?.elements ?? []
        var ids: [String: Int] = [:]
        var secrets: [String: Int] = [:]
        let orgs = Set(apis.compactMap { $0["org"]?.text })
        for (index, key) in keys.enumerated() {
            let path = "gateway.keys[\(index)]"
            if let id = key["id"], let text = id.text {
                if let first = ids[text] {
                    problem(
                        id,
                        path + ".id",
                        "\"\(text)\" is also the id of gateway.keys[\(first)]; choose another"
                    )
                } else {
                    ids[text] = index
                }
            }
            if let secret = key["secret"], let text = secret.text {
                if let first = secrets[text] {
                    problem(
                        secret,
                        path + ".secret",
                        "is also the secret of gateway.keys[\(first)]; give each key its own"
                    )
                } else {
                    secrets[text] = index
                }
            }
            if let org = key["org"], let text = org.text, !orgs.contains(text) {
                note(org, path + ".org", "no API belongs to \"\(text)\", so the key opens nothing")
            }
        }
        for (index, api) in apis.enumerated() where api["auth"]?["mode"]?.text == "key" {
            let org = api["org"]?.text
            let isOpened = keys.contains { $0["org"]?.text == nil || $0["org"]?.text == org }
            if !isOpened {
                note(
                    api["auth"] ?? api,
                    "gateway.apis[\(index)].auth",
                    "asks for a key, but gateway.keys has none for it: every request is refused"
                )
            }
        }
    }

    /// No two listeners of one process may want the same port; they all run in `sluice up`.
    private mutating func checkAddresses(_ tree: ConfigurationNode, _ settings: Settings) {
        var taken: [(address: ListenAddress, owner: String)] = [
            (settings.gateway.listen, "the gateway")
        ]
        let others: [(ListenAddress?, String, String)] = [
            (settings.serve.listen, "serve", "the query API"),
            (settings.metricsListen, "metrics", "the page of metrics"),
        ]
        for case (let address?, let key, let owner) in others {
            if let other = taken.first(where: { $0.address.conflicts(with: address) }) {
                problem(
                    tree[key]?["listen"] ?? tree["gateway"]?["listen"] ?? tree,
                    "\(key).listen",
                    "\(address) is also where \(other.owner) listens; choose another port"
                )
            }
            taken.append((address, owner))
        }
    }

    mutating func problem(_ node: ConfigurationNode, _ path: String, _ message: String) {
        problems.append(ConfigurationProblem(origin: node.origin, path: path, message: message))
    }

    mutating func note(_ node: ConfigurationNode, _ path: String, _ message: String) {
        notes.append(ConfigurationProblem(origin: node.origin, path: path, message: message))
    }
}

extension ListenAddress {
    /// Whether both cannot listen on one machine.
    fileprivate func conflicts(with other: ListenAddress) -> Bool {
        port != 0 && port == other.port
            && (host == other.host || host == "0.0.0.0" || other.host == "0.0.0.0")
    }
}
