package import Rollups

/// One condition on a dimension; a question's conditions are ANDed.
package struct Filter: Equatable, Sendable {
    /// How the value of the dimension is compared.
    package enum Operator: String, CaseIterable, Sendable {
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
    }

    /// What is compared.
    package var dimension: Dimension

    /// How.
    package var comparison: Operator

    /// With what; an empty text stands for "absent". Exactly one, unless `in` or `nin`.
    package var values: [String]

    /// Most values of one list; chosen.
    static let valuesMax = 1_000

    /// A condition put together by ourselves.
    package init(_ dimension: Dimension, _ comparison: Operator, _ values: [String]) {
        self.dimension = dimension
        self.comparison = comparison
        self.values = values
    }

    /// Reads `dimension:op:value`.
    package init(_ text: String) throws(Problem) {
        let parts = text.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
        guard parts.count == 3 else {
            throw .invalid("filter", "write filters as dimension:op:value, such as api:eq:orders")
        }
        guard let dimension = Dimension(name: String(parts[0])) else {
            throw .invalid(
                "filter",
                "there is no dimension \"\(parts[0])\"",
                known: Dimension.names
            )
        }
        guard let comparison = Operator(rawValue: String(parts[1])) else {
            throw .invalid(
                "filter",
                "there is no operator \"\(parts[1])\"",
                known: Operator.allCases.map(\.rawValue)
            )
        }
        self.dimension = dimension
        self.comparison = comparison
        switch comparison {
        case .anyOf, .noneOf: values = try Self.list(parts[2])
        default: values = [String(parts[2])]
        }
        try checkValues()
    }

    /// Splits at commas; a backslash makes the next character literal.
    static func list(_ text: Substring) throws(Problem) -> [String] {
        var values: [String] = []
        var value = ""
        var isEscaped = false
        for scalar in text.unicodeScalars {
            if isEscaped {
                value.unicodeScalars.append(scalar)
                isEscaped = false
            } else if scalar == "\\" {
                isEscaped = true
            } else if scalar == "," {
                values.append(value)
                value = ""
            } else {
                value.unicodeScalars.append(scalar)
            }
        }
        if isEscaped {
            throw .invalid("filter", "a list must not end in a lone \\; write \\\\ for a backslash")
        }
        values.append(value)
        guard values.count <= valuesMax else {
            throw .invalid("filter", "list at most \(valuesMax) values")
        }
        return values
    }

    /// Refuses values that the dimension can never have because they are not of its kind.
    private func checkValues() throws(Problem) {
        guard dimension == .status else { return }
        for value in values where !value.isEmpty && value != Dimension.otherValue {
            guard value.utf8.count <= 9, value.utf8.allSatisfy(Self.isDigit) else {
                throw .invalid("filter", "status is compared with numbers, such as status:eq:404")
            }
        }
    }

    private static func isDigit(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
    }
}
