import Foundation
import Yams

/// A value of the configuration with its origin: what the YAML parser saw, environment applied.
struct ConfigurationNode: Equatable, Sendable {
    /// What it holds.
    var content: Content

    /// Where it was written.
    var origin: ConfigurationProblem.Origin

    /// The three kinds of YAML value.
    enum Content: Equatable, Sendable {
        /// Text; `isPlain` if it stood without quotes, so that `null` and `~` may mean nothing.
        case scalar(String, isPlain: Bool)
        /// A list.
        case sequence([ConfigurationNode])
        /// Keys and values in the order of the text.
        case mapping([Entry])
    }

    /// One key of a mapping.
    struct Entry: Equatable, Sendable {
        /// The key.
        var key: String
        /// Where the key was written.
        var origin: ConfigurationProblem.Origin
        /// Its value.
        var value: ConfigurationNode
    }

    /// The value of `key` if this is a mapping that has it.
    subscript(key: String) -> ConfigurationNode? {
        guard case .mapping(let entries) = content else { return nil }
        return entries.last { $0.key == key }?.value
    }

    /// The text if this is a scalar that is not null.
    var text: String? {
        guard case .scalar(let text, _) = content, !isNull else { return nil }
        return text
    }

    /// The elements if this is a list.
    var elements: [ConfigurationNode]? {
        guard case .sequence(let elements) = content else { return nil }
        return elements
    }

    /// Whether it says "nothing": an empty plain scalar, `null` or `~`.
    var isNull: Bool {
        guard case .scalar(let text, isPlain: true) = content else { return false }
        return ["", "~", "null", "Null", "NULL"].contains(text)
    }

    /// What a reader would call it, for messages.
    var kind: String {
        switch content {
        case .scalar(let text, _): isNull ? "nothing" : "\"\(text.prefix(60))\""
        case .sequence: "a list"
        case .mapping: "a map"
        }
    }
}

/// Reads YAML text into a tree, and never crashes or hangs on any.
struct ConfigurationParser {
    /// Largest configuration text; chosen: a thousand APIs take a tenth of it.
    static let bytesMax = 4 << 20

    /// Most nodes of the tree, aliases expanded; chosen, so that nested aliases end somewhere.
    static let nodesMax = 500_000

    /// Deepest nesting read; chosen: the schema has five levels. (The YAML library stops at 1,000.)
    static let depthMax = 64

    /// Most duplicate keys reported one by one; chosen.
    static let duplicatesMax = 50

    /// Name of the file in messages.
    let name: String

    /// If set, positions name this environment variable and not the file.
    var variable: String?

    /// What went wrong.
    private(set) var problems: [ConfigurationProblem] = []

    private var nodeCount = 0

    /// A parser of the file `name`, or of the value of the environment variable `variable`.
    init(name: String, variable: String? = nil) {
        self.name = name
        self.variable = variable
    }

    /// The tree of `text`; nil if it is empty or broken, the latter with a problem added.
    mutating func parse(_ text: String) -> ConfigurationNode? {
        guard text.utf8.count <= Self.bytesMax else {
            add(1, 1, "is larger than \(Self.bytesMax >> 20) MiB; that cannot be meant")
            return nil
        }
        // Blank lines at the end keep the text off the parser's path for tiny strings.
        var text = text + String(repeating: "\n", count: 16)
        for round in 0..<Self.duplicatesMax {
            do {
                guard let root = try Yams.compose(yaml: text, .default, .default, .utf8) else {
                    return nil
                }
                return convert(root, depth: 0)
            } catch YamlError.duplicatedKeysInMapping(let keys, let context) {
                let key = keys.first ?? ""
                let mark = context.mark
                add(
                    mark.line,
                    mark.column,
                    "\"\(key)\" is given twice in one map; keep one of them"
                )
                // The parser stops at the first duplicate: rename it and look for more.
                guard let renamed = Self.rename(key, at: mark, in: text, round: round) else {
                    return nil
                }
                text = renamed
            } catch {
                add(error)
                return nil
            }
        }
        return nil
    }

    /// Whether `key` is a stand-in for a duplicate that has been reported.
    static func isStandIn(_ key: String) -> Bool {
        key.unicodeScalars.first.map { (0xE000...0xE0FF).contains($0.value) } ?? false
    }

    /// Replaces the key at `mark` by as many private-use characters.
    private static func rename(_ key: String, at mark: Mark, in text: String, round: Int) -> String?
    {
        var lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        guard mark.line >= 1, mark.line <= lines.count else { return nil }
        var scalars = Array(lines[mark.line - 1].unicodeScalars)
        var start = mark.column - 1
        if start >= 0, start < scalars.count, scalars[start] == "\"" || scalars[start] == "'" {
            start += 1
        }
        let wanted = Array(key.unicodeScalars)
        guard start >= 0, !wanted.isEmpty, start + wanted.count <= scalars.count,
            Array(scalars[start..<start + wanted.count]) == wanted,
            let first = Unicode.Scalar(0xE000 + UInt32(round)),
            let rest = Unicode.Scalar(0xE0FF as UInt32)
        else { return nil }
        for index in wanted.indices { scalars[start + index] = index == 0 ? first : rest }
        var line = String.UnicodeScalarView()
        line.append(contentsOf: scalars)
        lines[mark.line - 1] = String(line)
        return lines.joined(separator: "\n")
    }

    /// The parser's error as a problem with its place.
    private mutating func add(_ error: any Error) {
        switch error {
        case YamlError.scanner(let context, let problem, let mark, _),
            YamlError.parser(let context, let problem, let mark, _),
            YamlError.composer(let context, let problem, let mark, _):
            let detail = context.map { " (\($0.text) begun in line \($0.mark.line))" } ?? ""
            add(mark.line, mark.column, "is not valid YAML: \(problem)\(detail)")
        case YamlError.reader(let problem, _, _, _):
            add(1, 1, "is not valid YAML: \(problem)")
        default:
            add(1, 1, "is not valid YAML: \(error)")
        }
    }

    private mutating func add(_ line: Int, _ column: Int, _ message: String) {
        problems.append(
            ConfigurationProblem(origin: origin(line, column), path: "", message: message)
        )
    }

    private func origin(_ line: Int, _ column: Int) -> ConfigurationProblem.Origin {
        if let variable { return .environment(variable: variable) }
        return .file(name: name, line: max(1, line), column: max(1, column))
    }

    private mutating func convert(_ node: Yams.Node, depth: Int) -> ConfigurationNode {
        nodeCount += 1
        let place = origin(node.mark?.line ?? 1, node.mark?.column ?? 1)
        if nodeCount == Self.nodesMax || depth > Self.depthMax {
            add(node.mark?.line ?? 1, node.mark?.column ?? 1, "holds too many or too deep values")
        }
        guard nodeCount < Self.nodesMax, depth <= Self.depthMax else {
            return ConfigurationNode(content: .scalar("", isPlain: true), origin: place)
        }
        switch node {
        case .scalar(let scalar):
            let isPlain = scalar.style == .plain || scalar.style == .any
            return ConfigurationNode(
                content: .scalar(scalar.string, isPlain: isPlain),
                origin: place
            )
        case .sequence(let sequence):
            let elements = sequence.map { convert($0, depth: depth + 1) }
            return ConfigurationNode(content: .sequence(elements), origin: place)
        case .mapping(let mapping):
            var entries: [ConfigurationNode.Entry] = []
            for (key, value) in mapping {
                let keyPlace = origin(key.mark?.line ?? 1, key.mark?.column ?? 1)
                guard case .scalar(let scalar) = key else {
                    add(key.mark?.line ?? 1, key.mark?.column ?? 1, "a key must be text")
                    continue
                }
                if Self.isStandIn(scalar.string) { continue }
                let converted = convert(value, depth: depth + 1)
                entries.append(
                    ConfigurationNode.Entry(key: scalar.string, origin: keyPlace, value: converted)
                )
            }
            return ConfigurationNode(content: .mapping(entries), origin: place)
        case .alias:
            return ConfigurationNode(content: .scalar("", isPlain: true), origin: place)
        }
    }
}
