import Postgres
import Rollups

/// One condition on a field of raw records; ANDed.
struct RecordFilter: Equatable, Sendable {
    /// How the value is compared.
    enum Operator: String, CaseIterable, Sendable {
        /// Is the value.
        case equal = "eq"
        /// Is not the value.
        case notEqual = "ne"
        /// Is one of the values.
        case anyOf = "in"
        /// Is none of the values.
        case noneOf = "nin"
        /// Starts with the value.
        case prefix
        /// Is at least the value.
        case atLeast = "ge"
        /// Is less than the value.
        case lessThan = "lt"
    }

    /// What is compared.
    let column: RecordColumn
    /// How.
    let comparison: Operator
    /// With what; an empty text stands for "absent". Exactly one, unless `in` or `nin`.
    let values: [String]

    /// The name of the tag whose value is compared; nil for every other field.
    private var tag: String?

    /// The values as the table holds them, for numbers and times.
    private var numbers: [Int64] = []

    /// A condition of a question to `/v1/usage`.
    init(_ filter: Filter) throws(Problem) {
        tag = filter.dimension.tagName
        guard let column = tag == nil ? RecordColumn(rawValue: filter.dimension.name) : .tags,
            let comparison = Operator(rawValue: filter.comparison.rawValue)
        else { throw .invalid("filter", "raw records have no \(filter.dimension.name)") }
        self.column = column
        self.comparison = comparison
        values = filter.values
        // Statuses that are none match nothing, as in rollups.
        numbers = comparison == .prefix ? [] : values.compactMap { Int64($0) }
    }

    /// Reads `field:op:value`, of the fields that may be seen.
    init(_ text: String, _ visible: [RecordColumn]) throws(Problem) {
        let parts = text.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
        guard parts.count == 3 else {
            throw .invalid("filter", "write filters as field:op:value, such as status:ge:500")
        }
        guard let column = RecordColumn(rawValue: String(parts[0])), visible.contains(column) else {
            throw .invalid(
                "filter",
                "there is no field \"\(parts[0])\"",
                known: visible.map(\.rawValue)
            )
        }
        guard let comparison = Operator(rawValue: String(parts[1])) else {
            throw .invalid(
                "filter",
                "there is no operator \"\(parts[1])\"",
                known: Operator.allCases.map(\.rawValue)
            )
        }
        self.column = column
        self.comparison = comparison
        switch comparison {
        case .anyOf, .noneOf: values = try Filter.list(parts[2])
        default: values = [String(parts[2])]
        }
        numbers = try readNumbers()
    }

    /// Reads numbers and times; refuses what the field can never be compared with.
    private func readNumbers() throws(Problem) -> [Int64] {
        let isOrdering = comparison == .atLeast || comparison == .lessThan
        let isNumber = column.kind != .text && column.kind != .tags
        guard isNumber else {
            guard !isOrdering else {
                throw .invalid("filter", "\(comparison.rawValue) is for numbers and times")
            }
            return []
        }
        guard comparison != .prefix else {
            guard column.kind == .integer else {
                throw .invalid("filter", "prefix is for texts and whole numbers")
            }
            return []
        }
        var numbers: [Int64] = []
        for value in values where !value.isEmpty || isOrdering {
            guard let number = number(value) else {
                let example =
                    switch column.kind {
                    case .time: "RFC 3339 times, such as 2026-01-31T08:00:00Z"
                    case .seconds: "seconds, such as 0.25"
                    default: "whole numbers, such as 404"
                    }
                throw .invalid("filter", "\(column.rawValue) is compared with \(example)")
            }
            numbers.append(number)
        }
        return numbers
    }

    private func number(_ text: String) -> Int64? {
        switch column.kind {
        case .integer: return text.utf8.first == UInt8(ascii: "+") ? nil : Int64(text)
        case .seconds:
            guard let seconds = Double(text), seconds.magnitude < 1e12 else { return nil }
            return Int64((seconds * 1_000_000).rounded())
        case .time:
            guard case .instant(let instant) = TimeExpression(text) else { return nil }
            return instant
        case .text, .tags: return nil
        }
    }

    /// How the value is kept and compared.
    private var kind: RecordColumn.Kind { tag == nil ? column.kind : .text }

    /// SQL of the condition.
    func condition(_ statement: inout Statement) -> String {
        let expression = tag.map(RecordColumn.tagExpression) ?? column.expression
        switch (kind, comparison) {
        case (.tags, _): return tagCondition(&statement)
        case (_, .prefix):
            let prefix = statement.bind(.text(values.first ?? ""))
            return "starts_with(\(expression)::text, \(prefix)::text)"
        case (_, .atLeast): return "\(expression) >= \(number(&statement))"
        case (_, .lessThan): return "\(expression) < \(number(&statement))"
        case (_, .equal), (_, .anyOf): return membership(expression, &statement)
        case (_, .notEqual), (_, .noneOf):
            return "(\(membership(expression, &statement))) IS NOT TRUE"
        }
    }

    private func number(_ statement: inout Statement) -> String {
        let number = numbers.first ?? 0
        return column.kind == .time
            ? statement.bind(.timestamp(number)) + "::timestamptz"
            : statement.bind(.int(number)) + "::int8"
    }

    /// Whether the value is one of the list's; a list of one keeps the order of an index.
    private func membership(_ expression: String, _ statement: inout Statement) -> String {
        var parts: [String] = []
        let texts = values.filter { !$0.isEmpty }
        let count = kind == .text ? texts.count : numbers.count
        if count == 1 {
            let value =
                kind == .text
                ? statement.bind(.text(texts[0])) + "::text" : number(&statement)
            parts.append("\(expression) = \(value)")
        } else if count > 1 {
            let list =
                switch kind {
                case .text, .tags: statement.bind(.textArray(texts)) + "::text[]"
                case .time: statement.bind(.timestamps(numbers)) + "::timestamptz[]"
                case .integer, .seconds: statement.bind(.intArray(numbers)) + "::int8[]"
                }
            parts.append("\(expression) = ANY (\(list))")
        }
        if texts.count < values.count { parts.append("\(expression) IS NULL") }
        return parts.isEmpty ? "false" : "(" + parts.joined(separator: " OR ") + ")"
    }

    /// Tags are compared one by one: some tag is, or starts with.
    private func tagCondition(_ statement: inout Statement) -> String {
        if comparison == .prefix {
            let prefix = statement.bind(.text(values.first ?? ""))
            return "EXISTS (SELECT FROM unnest(tags) t WHERE starts_with(t, \(prefix)::text))"
        }
        var parts: [String] = []
        let texts = values.filter { !$0.isEmpty }
        if !texts.isEmpty { parts.append("tags && \(statement.bind(.textArray(texts)))::text[]") }
        if texts.count < values.count { parts.append("tags IS NULL") }
        let found = parts.isEmpty ? "false" : "(" + parts.joined(separator: " OR ") + ")"
        let isNegated = comparison == .notEqual || comparison == .noneOf
        return isNegated ? "(\(found)) IS NOT TRUE" : found
    }
}
