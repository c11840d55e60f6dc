import Foundation

/// Any JSON, for answers whose members depend on the question.
enum JSONValue: Decodable, Sendable {
    /// `null`.
    case null
    /// `true` or `false`.
    case flag(Bool)
    /// A number.
    case number(Double)
    /// A string.
    case text(String)
    /// An array.
    case array([JSONValue])
    /// An object.
    case object([String: JSONValue])

    /// Reads whatever is there.
    init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if container.decodeNil() {
            self = .null
        } else if let flag = try? container.decode(Bool.self) {
            self = .flag(flag)
        } else if let number = try? container.decode(Double.self) {
            self = .number(number)
        } else if let text = try? container.decode(String.self) {
            self = .text(text)
        } else if let elements = try? container.decode([JSONValue].self) {
            self = .array(elements)
        } else {
            self = .object(try container.decode([String: JSONValue].self))
        }
    }

    /// A member of an object.
    subscript(name: String) -> JSONValue? {
        if case .object(let members) = self { members[name] } else { nil }
    }

    /// The elements of an array; none of anything else.
    var elements: [JSONValue] { if case .array(let elements) = self { elements } else { [] } }

    /// The number.
    var number: Double? { if case .number(let number) = self { number } else { nil } }

    /// The text; of a number its shortest form.
    var text: String? {
        switch self {
        case .text(let text): text
        case .number(let number):
            number.magnitude < 9e15 && number == number.rounded()
                ? "\(Int64(number))" : "\(number)"
        case .flag(let flag): "\(flag)"
        case .null, .array, .object: nil
        }
    }
}
