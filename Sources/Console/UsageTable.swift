/// The answer of the query API as people read it.
package enum UsageTable {
    /// The CSV of an answer as aligned columns with units.
    package static func text(
        _ csv: String,
        inBold: (String) -> String
    ) -> String {
        var lines = CSVReader.rows(csv)
        guard !lines.isEmpty else { return "no rows\n" }
        let header = lines.removeFirst()
        guard !lines.isEmpty else { return "no rows: nothing was recorded that matches\n" }
        let numeric = header.map(isMetric)
        let rows = lines.map { line in
            zip(header, line).map { name, value in shown(value, column: name) }
        }
        return Table.aligned(header, rows, numeric: numeric, inBold: inBold)
    }

    private static func isMetric(_ column: String) -> Bool {
        let names: Set<String> = [
            "requests", "errors", "client_errors", "server_errors", "error_rate", "aborted",
            "bytes_in", "bytes_out", "unique_keys", "unique_clients", "other_requests",
        ]
        return names.contains(column) || isDuration(column)
    }

    private static func isDuration(_ column: String) -> Bool {
        column.hasPrefix("latency_") || column.hasPrefix("upstream_")
    }

    private static func shown(_ value: String, column: String) -> String {
        if value.isEmpty { return "–" }
        guard isMetric(column), let number = Double(value) else { return value }
        if isDuration(column) { return Units.seconds(number) }
        if column == "error_rate" { return Units.share(number) }
        if column.hasPrefix("bytes_") { return Units.bytes(number) }
        return number.magnitude < 9e15 ? Units.count(Int64(number.rounded())) : value
    }
}
