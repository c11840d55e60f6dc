/// PostgreSQL's text form of arrays: `{"a","b\"c",NULL}`.
package enum ArrayLiteral {
    /// The literal of `elements`, each quoted; nil elements are NULL, an empty string stays one.
    package static func encode(_ elements: [String?]) -> String {
        var literal = "{"
        for (index, element) in elements.enumerated() {
            if index > 0 { literal += "," }
            guard let element else {
                literal += "NULL"
                continue
            }
            literal += "\""
            for scalar in element.unicodeScalars {
                if scalar == "\"" || scalar == "\\" { literal += "\\" }
                literal.unicodeScalars.append(scalar)
            }
            literal += "\""
        }
        return literal + "}"
    }
}
