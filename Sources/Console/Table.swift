/// How results are printed.
package enum OutputFormat: String, CaseIterable, Sendable {
    /// Aligned columns for people.
    case table
    /// One JSON document.
    case json
    /// RFC 4180 with a header line.
    case csv
    /// One JSON object per line.
    case ndjson
}

/// One value of a table: as a program reads it, and as a person does.
package enum Cell: Sendable {
    /// Nothing known.
    case none
    /// Text.
    case text(String)
    /// A whole number.
    case integer(Int64)
    /// Bytes, shown with a unit.
    case bytes(Int64)
    /// Seconds, shown with a unit.
    case seconds(Double)
    /// A yes or no.
    case flag(Bool)

    /// For people.
    package var shown: String {
        switch self {
        case .none: "–"
        case .text(let text): text
        case .integer(let number): Units.count(number)
        case .bytes(let number): Units.bytes(Double(number))
        case .seconds(let number): Units.seconds(number)
        case .flag(let flag): flag ? "yes" : "no"
        }
    }

    /// For CSV.
    package var plain: String {
        switch self {
        case .none: ""
        case .text(let text): text
        case .integer(let number), .bytes(let number): "\(number)"
        case .seconds(let number): "\(number)"
        case .flag(let flag): "\(flag)"
        }
    }

    /// For JSON.
    package var json: String {
        switch self {
        case .none: "null"
        case .text(let text): JSONText.quoted(text)
        default: plain
        }
    }

    /// Whether it stands at the right of its column.
    package var isNumber: Bool {
        switch self {
        case .integer, .bytes, .seconds: true
        case .none, .text, .flag: false
        }
    }
}

/// Rows under named columns, printable in every format.
package struct Table: Sendable {
    /// Names of the columns, `snake_case`.
    package var columns: [String]

    /// The rows; each has as many cells as there are columns.
    package var rows: [[Cell]] = []

    /// An empty table.
    package init(_ columns: [String]) {
        self.columns = columns
    }

    /// The whole table in a format, with a line end.
    package func text(
        _ format: OutputFormat,
        inBold: (String) -> String = { $0 }
    ) -> String {
        switch format {
        case .table:
            return Self.aligned(
                columns,
                rows.map { $0.map(\.shown) },
                numeric: columns.indices.map { column in
                    rows.contains { $0[column].isNumber }
                },
                inBold: inBold
            )
        case .csv:
            let lines = [columns] + rows.map { $0.map(\.plain) }
            return lines.map { $0.map(Self.csvField).joined(separator: ",") + "\n" }.joined()
        case .json:
            return "[" + rows.map(object).joined(separator: ",\n ") + "]\n"
        case .ndjson: return rows.map { object($0) + "\n" }.joined()
        }
    }

    private func object(_ row: [Cell]) -> String {
        let members = zip(columns, row).map { "\(JSONText.quoted($0)):\($1.json)" }
        return "{" + members.joined(separator: ",") + "}"
    }

    /// Columns as wide as their widest value, numbers at the right.
    ///
    /// `inBold` marks the heading; text is cleaned of control characters.
    package static func aligned(
        _ header: [String],
        _ rows: [[String]],
        numeric: [Bool],
        inBold: (String) -> String = { $0 }
    ) -> String {
        let rows = rows.map { $0.map(printable) }
        var widths = header.map(TextWidth.columns)
        for row in rows {
            for (column, text) in row.enumerated() where column < widths.count {
                widths[column] = max(widths[column], TextWidth.columns(text))
            }
        }
        func line(_ cells: [String]) -> String {
            var text = ""
            for (column, cell) in cells.enumerated() where column < widths.count {
                let count = widths[column] - TextWidth.columns(cell)
                let padding = String(repeating: " ", count: count)
                text += numeric[column] ? padding + cell : cell + padding
                text += "  "
            }
            while text.last == " " { text.removeLast() }
            return text
        }
        var text = inBold(line(header)) + "\n"
        for row in rows { text += line(row) + "\n" }
        return text
    }

    /// Text without control characters, which a terminal would obey.
    package static func printable(_ text: String) -> String {
        guard text.unicodeScalars.contains(where: isControl) else { return text }
        return String(
            String.UnicodeScalarView(text.unicodeScalars.map { isControl($0) ? "\u{FFFD}" : $0 })
        )
    }

    private static func isControl(_ scalar: Unicode.Scalar) -> Bool {
        scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value)
    }

    /// A field with quotes if it needs them.
    package static func csvField(_ text: String) -> String {
        guard text.contains(where: { ",\"\r\n".contains($0) || $0 == "\r\n" }) else { return text }
        return "\"" + text.replacing("\"", with: "\"\"") + "\""
    }
}

/// JSON text of single values.
package enum JSONText {
    /// A JSON string.
    package static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\t": result += "\\t"
            case "\r": result += "\\r"
            default:
                if scalar.value < 0x20 {
                    let digits = String(scalar.value, radix: 16)
                    result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
                } else {
                    result.unicodeScalars.append(scalar)
                }
            }
        }
        return result + "\""
    }
}
