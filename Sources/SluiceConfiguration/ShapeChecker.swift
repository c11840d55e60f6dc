/// Compares a tree with the schema and reports everything that does not fit.
struct ShapeChecker {
    /// Problems found so far.
    private(set) var problems: [ConfigurationProblem] = []

    /// Checks `node` at `path` against `shape`.
    mutating func check(_ node: ConfigurationNode, _ shape: Shape, path: String) {
        if isUnsupported(node, path: path) { return }
        switch shape {
        case .map(let keys): checkMap(node, keys, path: path)
        case .properties: checkProperties(node, path: path)
        case .list(let element): checkList(node, element, path: path)
        default: checkScalar(node, shape, path: path)
        }
    }

    private mutating func checkMap(_ node: ConfigurationNode, _ keys: [Shape.Key], path: String) {
        if node.isNull { return requireKeys(of: node, keys, present: [], path: path) }
        guard case .mapping(let entries) = node.content else {
            return add(node, path, "\(node.kind) stands where a map of keys is expected")
        }
        for entry in entries {
            let entryPath = path.isEmpty ? entry.key : "\(path).\(entry.key)"
            guard let key = keys.first(where: { $0.name == entry.key }) else {
                let hint = Suggestion.text(for: entry.key, among: keys.map(\.name))
                problems.append(
                    ConfigurationProblem(
                        origin: entry.origin,
                        path: path,
                        message: "unknown key \"\(entry.key.prefix(60))\"\(hint)"
                    )
                )
                continue
            }
            if let instead = Self.unsupportedKey(entryPath) {
                problems.append(
                    ConfigurationProblem(
                        origin: entry.origin,
                        path: entryPath,
                        message: "is \(Unsupported.phrase); \(instead)"
                    )
                )
                continue
            }
            if entry.value.isNull, !key.isRequired { continue }
            check(entry.value, key.shape, path: entryPath)
        }
        requireKeys(of: node, keys, present: Set(entries.map(\.key)), path: path)
    }

    private mutating func requireKeys(
        of node: ConfigurationNode,
        _ keys: [Shape.Key],
        present: Set<String>,
        path: String
    ) {
        for key in keys where key.isRequired && !present.contains(key.name) {
            add(
                node,
                path,
                "the key \"\(key.name)\" is missing: \(key.documentation.lowercasedFirst)"
            )
        }
    }

    /// The message never shows a value, because any may be a password.
    private mutating func checkProperties(_ node: ConfigurationNode, path: String) {
        guard case .mapping(let entries) = node.content else {
            if !node.isNull { add(node, path, "this is not a map of librdkafka properties") }
            return
        }
        for entry in entries {
            if let refusal = KafkaProperties.refusal(of: entry.key) {
                problems.append(
                    ConfigurationProblem(
                        origin: entry.origin,
                        path: path,
                        message: "\"\(entry.key)\" \(refusal)"
                    )
                )
            } else if entry.value.text == nil {
                let name = "\(path).\(entry.key.prefix(60))"
                add(entry.value, name, "has no value; text, env:NAME or file:PATH is expected")
            }
        }
    }

    private mutating func checkList(_ node: ConfigurationNode, _ element: Shape, path: String) {
        guard let elements = node.elements else {
            if case .scalar = node.content, !node.isNull, element.isScalar {
                return add(
                    node,
                    path,
                    "\(node.kind) stands alone; put it in brackets: [\(node.text ?? "")]"
                )
            }
            return add(node, path, "\(node.kind) stands where a list is expected")
        }
        for (index, value) in elements.enumerated() {
            check(value, element, path: "\(path)[\(index)]")
        }
    }

    private mutating func checkScalar(_ node: ConfigurationNode, _ shape: Shape, path: String) {
        guard case .scalar = node.content else {
            return add(node, path, "\(node.kind) stands where \(shape.noun) is expected")
        }
        guard let text = node.text else {
            return add(node, path, "has no value; \(shape.noun) is expected")
        }
        do {
            try shape.check(text)
        } catch {
            add(node, path, error.message)
        }
    }

    private mutating func isUnsupported(_ node: ConfigurationNode, path: String) -> Bool {
        let pattern = Self.pattern(path)
        guard let text = node.text,
            let row = Unsupported.values.first(where: { $0.path == pattern && $0.value == text })
        else { return false }
        add(node, path, "\"\(text)\" is \(Unsupported.phrase); \(row.instead)")
        return true
    }

    /// What to do instead of giving the key at `path`, if it may not be given.
    private static func unsupportedKey(_ path: String) -> String? {
        let pattern = pattern(path)
        return Unsupported.keys.first { $0.path == pattern }?.instead
    }

    /// The path with every index taken out: `apis[3].id` becomes `apis[].id`.
    private static func pattern(_ path: String) -> String {
        var pattern = ""
        var isIndex = false
        for character in path {
            if character == "]" { isIndex = false }
            if !isIndex { pattern.append(character) }
            if character == "[" { isIndex = true }
        }
        return pattern
    }

    private mutating func add(_ node: ConfigurationNode, _ path: String, _ message: String) {
        problems.append(ConfigurationProblem(origin: node.origin, path: path, message: message))
    }
}

extension Shape {
    /// Whether values are single texts.
    var isScalar: Bool {
        switch self {
        case .list, .map, .properties: false
        default: true
        }
    }

    /// What a value is called in messages.
    var noun: String {
        switch self {
        case .name: "a name"
        case .text: "text"
        case .secret: "text, env:NAME or file:PATH"
        case .boolean: "true or false"
        case .integer(let range): "a whole number from \(range.lowerBound) to \(range.upperBound)"
        case .duration: "a duration such as 10ms"
        case .bytes: "a size such as 256MiB"
        case .listenAddress: "an address such as 127.0.0.1:8080"
        case .upstream: "a URL such as http://127.0.0.1:9000"
        case .network: "a network such as 10.0.0.0/8"
        case .route: "a route such as GET /orders/{id}"
        case .listenPath: "a path such as /orders/"
        case .headerName: "a header name such as X-Api-Key"
        case .choice(let words): words.joined(separator: ", ")
        case .list: "a list"
        case .broker: "an address such as 127.0.0.1:9092"
        case .topic: "the name of a topic"
        case .sinkName: "a name of letters, digits, - and _"
        case .number: "a number such as 0.05"
        case .date: "a date such as 2026-01-31"
        case .map: "a map of keys"
        case .properties: "a map of properties"
        }
    }

    /// Throws if `text` is not a value of this shape.
    func check(_ text: String) throws(ValueError) {
        switch self {
        case .name: _ = try ValueParser.name(text)
        case .text, .secret:
            if text.isEmpty { throw ValueError("is empty; \(noun) is expected") }
        case .boolean: _ = try ValueParser.boolean(text)
        case .integer(let range): _ = try ValueParser.integer(text, in: range)
        case .duration(let range):
            let value = try ValueParser.duration(text)
            guard range.contains(value) else {
                throw ValueError(
                    "\"\(text)\" is out of range; \(range.lowerBound) to \(range.upperBound) "
                        + "is allowed"
                )
            }
        case .bytes(let range):
            let value = try ValueParser.bytes(text)
            guard range.contains(value) else {
                throw ValueError(
                    "\"\(text)\" is out of range; \(range.lowerBound) to \(range.upperBound) bytes "
                        + "are allowed"
                )
            }
        case .listenAddress: _ = try ValueParser.listenAddress(text)
        case .upstream: _ = try ValueParser.upstream(text)
        case .network: _ = try ValueParser.network(text)
        case .route: _ = try ValueParser.route(text)
        case .listenPath: _ = try ValueParser.listenPath(text)
        case .headerName: _ = try ValueParser.headerName(text)
        case .broker: _ = try ValueParser.broker(text)
        case .topic: _ = try ValueParser.topic(text)
        case .sinkName: _ = try ValueParser.sinkName(text)
        case .number: _ = try ValueParser.number(text)
        case .date: _ = try ValueParser.date(text)
        case .choice(let words):
            guard words.contains(text) else {
                let hint =
                    Suggestion.nearest(to: text, among: words)
                    .map { "; did you mean \"\($0)\"?" } ?? ""
                throw ValueError(
                    "\"\(text)\" is not one of \(words.joined(separator: ", "))\(hint)"
                )
            }
        case .list, .map, .properties: break
        }
    }
}

extension String {
    /// The text with its first letter small, to follow a colon.
    var lowercasedFirst: String { prefix(1).lowercased() + dropFirst() }
}
