/// Puts the values of `SLUICE_…` variables over those of the file.
struct EnvironmentOverrides {
    /// What every variable of ours begins with.
    static let prefix = "SLUICE_"

    /// Variables that are not keys of the configuration, and what they are for.
    static let reserved: [(name: String, purpose: String)] = [
        ("SLUICE_CONFIG", "path of the configuration file"),
        ("SLUICE_LOG_LEVEL", "least severe log line shown: trace, debug, info, warning or error"),
        ("SLUICE_POSTGRES_BIN", "directory of initdb and pg_ctl for the embedded PostgreSQL"),
        ("SLUICE_URL", "address of the query API for query, status and import"),
        ("SLUICE_TOKEN", "bearer token for the query API"),
    ]

    /// Problems found so far.
    private(set) var problems: [ConfigurationProblem] = []

    /// The tree with all variables applied, in the order of their names.
    mutating func apply(
        _ environment: [String: String],
        to tree: ConfigurationNode
    ) -> ConfigurationNode {
        var tree = tree
        for (name, value) in environment.sorted(by: { $0.key < $1.key })
        where name.hasPrefix(Self.prefix) && !value.isEmpty {
            if Self.reserved.contains(where: { $0.name == name }) { continue }
            let words = name.dropFirst(Self.prefix.count).lowercased()
            guard let (path, shape) = Self.find(words[...], in: ConfigurationSchema.root) else {
                let known = Self.allNames() + Self.reserved.map(\.name)
                let hint =
                    Suggestion.nearest(to: name, among: known)
                    .map { "; did you mean \($0)?" } ?? "; unset it, or see docs/configuration.md"
                add(name, "there is no such setting\(hint)")
                continue
            }
            guard let node = parse(value, as: shape, variable: name) else { continue }
            set(node, at: path[...], in: &tree, variable: name)
        }
        return tree
    }

    /// One step of a path into the tree.
    enum Step: Equatable {
        /// A key of a map.
        case key(String)
        /// An element of a list.
        case index(Int)
    }

    /// The path that `words` (lower case, underscores) spell, and what stands there.
    static func find(_ words: Substring, in shape: Shape) -> ([Step], Shape)? {
        switch shape {
        case .map(let keys):
            for key in keys {
                if words == key.name { return ([.key(key.name)], key.shape) }
                guard words.hasPrefix(key.name + "_") else { continue }
                let rest = words.dropFirst(key.name.count + 1)
                if let (path, found) = find(rest, in: key.shape) {
                    return ([.key(key.name)] + path, found)
                }
            }
            return nil
        case .list(let element):
            let digits = words.prefix { $0.isASCII && $0.isNumber }
            guard let index = Int(digits), index < 10_000 else { return nil }
            let rest = words.dropFirst(digits.count)
            if rest.isEmpty { return ([.index(index)], element) }
            guard rest.hasPrefix("_"), let (path, found) = find(rest.dropFirst(), in: element)
            else {
                return nil
            }
            return ([.index(index)] + path, found)
        case .properties:
            // Properties have dots where a variable's name can only have underscores.
            let name = words.map { $0 == "_" ? "." : $0 }
            return name.isEmpty ? nil : ([.key(String(name))], .secret)
        default: return nil
        }
    }

    /// Names of all variables without indexes, for suggestions and documentation.
    static func allNames(_ shape: Shape = ConfigurationSchema.root, prefix: String = "SLUICE")
        -> [String]
    {
        guard case .map(let keys) = shape else { return [] }
        return keys.flatMap { key in
            let name = "\(prefix)_\(key.name.uppercased())"
            return [name] + allNames(key.shape, prefix: name)
        }
    }

    /// The value of a variable as a tree: YAML for maps and lists, commas for lists of words.
    private mutating func parse(
        _ value: String,
        as shape: Shape,
        variable: String
    ) -> ConfigurationNode? {
        let origin = ConfigurationProblem.Origin.environment(variable: variable)
        if shape.isScalar {
            return ConfigurationNode(content: .scalar(value, isPlain: false), origin: origin)
        }
        if case .list(let element) = shape, element.isScalar, !value.hasPrefix("[") {
            let elements = value.split(separator: ",").map {
                ConfigurationNode(
                    content: .scalar($0.trimmingSpaces, isPlain: false),
                    origin: origin
                )
            }
            return ConfigurationNode(content: .sequence(elements), origin: origin)
        }
        var parser = ConfigurationParser(name: variable, variable: variable)
        let node = parser.parse(value)
        problems += parser.problems
        return node
    }

    private mutating func set(
        _ value: ConfigurationNode,
        at path: ArraySlice<Step>,
        in node: inout ConfigurationNode,
        variable: String
    ) {
        guard let step = path.first else {
            node = value
            return
        }
        let rest = path.dropFirst()
        let empty = ConfigurationNode(content: .scalar("", isPlain: true), origin: value.origin)
        switch step {
        case .key(let key):
            var entries: [ConfigurationNode.Entry] = []
            if case .mapping(let present) = node.content {
                entries = present
            } else if node.isNull {
                node.origin = value.origin
            } else {
                return  // The file has something else here, which is reported on its own.
            }
            let index = entries.lastIndex { $0.key == key } ?? entries.count
            if index == entries.count {
                entries.append(.init(key: key, origin: value.origin, value: empty))
            }
            set(value, at: rest, in: &entries[index].value, variable: variable)
            node.content = .mapping(entries)
        case .index(let index):
            var elements = node.elements ?? []
            guard index <= elements.count else {
                return add(
                    variable,
                    "there are only \(elements.count) elements, so the next one has that number"
                )
            }
            if index == elements.count { elements.append(empty) }
            set(value, at: rest, in: &elements[index], variable: variable)
            node.content = .sequence(elements)
        }
    }

    private mutating func add(_ variable: String, _ message: String) {
        problems.append(
            ConfigurationProblem(
                origin: .environment(variable: variable),
                path: "",
                message: message
            )
        )
    }
}
