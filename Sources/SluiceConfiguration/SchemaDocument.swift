/// The schema for editors and readers, made from the tree that the loader itself follows.
package enum SchemaDocument {
    /// `schemas/configuration.schema.json` (JSON Schema 2020-12).
    package static func jsonSchema() -> String {
        var root = object(ConfigurationSchema.root)
        root.insert(("$schema", .text("https://json-schema.org/draft/2020-12/schema")), at: 0)
        root.insert(("title", .text("Configuration of Sluice")), at: 1)
        return JSON.object(root).text(indent: 0) + "\n"
    }

    /// The table of keys in `docs/configuration.md`.
    package static func reference() -> String {
        var lines = [
            "| key | value | default | meaning |", "|---|---|---|---|",
        ]
        rows(ConfigurationSchema.root, path: "", into: &lines)
        return lines.joined(separator: "\n") + "\n"
    }

    /// The table of what is not supported, in `docs/configuration.md`.
    package static func unsupportedReference() -> String {
        var lines = ["| given | instead |", "|---|---|"]
        for row in Unsupported.keys { lines.append("| `\(row.path)` | \(row.instead) |") }
        for row in Unsupported.sinkKeys {
            lines.append("| `pump.sinks[].\(row.name)` | \(row.instead) |")
        }
        for row in Unsupported.values {
            lines.append("| `\(row.path): \(row.value)` | \(row.instead) |")
        }
        lines.append("| `https://` in `gateway.apis[].upstreams` | write http://host:port |")
        return lines.joined(separator: "\n") + "\n"
    }

    /// The variables that are not keys, in `docs/configuration.md`.
    package static func reservedVariables() -> String {
        var lines = ["| variable | meaning |", "|---|---|"]
        for row in EnvironmentOverrides.reserved {
            lines.append("| `\(row.name)` | \(row.purpose) |")
        }
        return lines.joined(separator: "\n") + "\n"
    }

    /// The librdkafka properties that are refused, in `docs/configuration.md`.
    package static func refusedProperties() -> String {
        var lines = ["| property | is |", "|---|---|"]
        for refusal in KafkaProperties.refusals {
            let names = refusal.names.map { "`\($0)`" }.joined(separator: ", ")
            lines.append("| \(names) | \(refusal.reason) |")
        }
        return lines.joined(separator: "\n") + "\n"
    }

    private static func rows(_ shape: Shape, path: String, into lines: inout [String]) {
        guard case .map(let keys) = shape else { return }
        for key in keys {
            let full = path.isEmpty ? key.name : "\(path).\(key.name)"
            let standard = key.isRequired ? "required" : key.standard.map { "`\($0)`" } ?? ""
            let words =
                standard.hasPrefix("`the ") || standard.hasPrefix("`a ")
                ? String(standard.dropFirst().dropLast()) : standard
            lines.append("| `\(full)` | \(key.shape.noun) | \(words) | \(key.documentation) |")
            switch key.shape {
            case .map: rows(key.shape, path: full, into: &lines)
            case .list(let element): rows(element, path: full + "[]", into: &lines)
            default: break
            }
        }
    }

    private static func object(_ shape: Shape) -> [(String, JSON)] {
        func string(_ pattern: String? = nil) -> [(String, JSON)] {
            [("type", .text("string"))] + (pattern.map { [("pattern", .text($0))] } ?? [])
        }
        switch shape {
        case .name:
            return [
                ("type", .list([.text("string"), .text("number")])), ("minLength", .number(1)),
                ("maxLength", .number(128)),
            ]
        case .text, .secret: return string() + [("minLength", .number(1))]
        case .boolean: return [("type", .text("boolean"))]
        case .integer(let range):
            return [
                ("type", .text("integer")), ("minimum", .number(range.lowerBound)),
                ("maximum", .number(range.upperBound)),
            ]
        case .duration: return string("^[0-9_]+(us|ms|s|m|h|d)$")
        case .bytes:
            return [
                ("type", .list([.text("string"), .text("integer")])),
                ("pattern", .text("^[0-9_]+ *(B|KiB|MiB|GiB|TiB|kB|KB|MB|GB|TB)?$")),
            ]
        case .listenAddress: return string(":[0-9]{1,5}$")
        case .upstream: return string("^(http://[^/?#@]+/?|builtin:demo)$")
        case .network: return string("^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$")
        case .route: return string("^(([A-Z-]+|\\*) +)?/")
        case .listenPath: return string("^/")
        case .headerName: return string("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
        case .choice(let words): return [("enum", .list(words.map(JSON.text)))]
        case .list(let element):
            return [("type", .text("array")), ("items", .object(object(element)))]
        case .broker: return string("^[^/@,]+$")
        case .topic: return string("^[A-Za-z0-9._-]{1,249}$")
        case .sinkName: return string("^[A-Za-z0-9_-]{1,64}$")
        case .number: return [("type", .text("number"))]
        case .date: return string("^[0-9]{4}-[0-9]{2}-[0-9]{2}$")
        case .properties:
            let refused = KafkaProperties.refusals.flatMap(\.names).map(JSON.text)
            let scalars = ["string", "number", "boolean"].map(JSON.text)
            return [
                ("type", .text("object")),
                ("propertyNames", .object([("not", .object([("enum", .list(refused))]))])),
                ("additionalProperties", .object([("type", .list(scalars))])),
            ]
        case .map(let keys):
            let properties = keys.map { key in
                let standard = key.standard.map { " Default: \($0)." } ?? ""
                let text = JSON.text(key.documentation + standard)
                return (key.name, JSON.object([("description", text)] + object(key.shape)))
            }
            let required = keys.filter(\.isRequired).map { JSON.text($0.name) }
            return [("type", .text("object")), ("additionalProperties", .boolean(false))]
                + (required.isEmpty ? [] : [("required", .list(required))])
                + [("properties", .object(properties))]
        }
    }

    /// Just enough JSON, with keys in the order given.
    private enum JSON {
        case text(String)
        case number(Int)
        case boolean(Bool)
        case list([JSON])
        case object([(String, JSON)])

        /// The value as text, nested by two spaces.
        func text(indent: Int) -> String {
            switch self {
            case .text(let text):
                let escaped = text.flatMap { character -> [Character] in
                    character == "\"" || character == "\\" ? ["\\", character] : [character]
                }
                return "\"" + String(escaped) + "\""
            case .number(let number): return "\(number)"
            case .boolean(let flag): return flag ? "true" : "false"
            case .list(let elements):
                return "[" + elements.map { $0.text(indent: indent) }.joined(separator: ", ") + "]"
            case .object(let members):
                let margin = String(repeating: " ", count: indent + 2)
                let lines = members.map {
                    "\(margin)\(JSON.text($0.0).text(indent: 0)): \($0.1.text(indent: indent + 2))"
                }
                let end = String(repeating: " ", count: indent)
                return "{\n" + lines.joined(separator: ",\n") + "\n\(end)}"
            }
        }
    }
}
