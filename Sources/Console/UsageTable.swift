/// The answer of the query API as people read it.
package struct UsageTable: Sendable {
    /// How bars and sparklines are drawn; nil draws none.
    private let drawing: Drawing?

    /// Columns that lines should not exceed when something is drawn.
    private let width: Int

    /// Names of the columns of the answer.
    let header: [String]

    /// The values as the answer has them.
    let rows: [[String]]

    /// The answer in CSV.
    ///
    /// - Parameters:
    ///   - csv: The body.
    ///   - drawing: How bars and sparklines are drawn; nil draws none, as for pipes.
    ///   - width: Columns of the terminal.
    package init(_ csv: String, drawing: Drawing? = nil, width: Int = 80) {
        var lines = CSVReader.rows(csv)
        header = lines.isEmpty ? [] : lines.removeFirst()
        let count = header.count
        rows = lines.filter { $0.count == count }
        self.drawing = drawing
        self.width = width
    }

    /// Aligned columns with units, and what is drawn.
    package var text: String {
        guard !header.isEmpty else { return "no rows\n" }
        guard !rows.isEmpty else { return "no rows: nothing was recorded that matches\n" }
        let cells = rows.map(shown)
        let names = shownHeader
        let numeric = isNumeric
        guard let drawing else { return Table.aligned(names, cells, numeric: numeric) }
        let graph = UsageGraph(self, drawing: drawing, width: width)
        let plain = Table.aligned(names, cells, numeric: numeric)
        var lines = plain.split(separator: "\n", omittingEmptySubsequences: false)
            .map { drawing.shown(String($0)) }
        if lines.last?.isEmpty == true { lines.removeLast() }
        let used = lines.map(TextWidth.columns).max() ?? 0
        let bars = graph.bars(room: width - used - 2)
        for index in lines.indices {
            if index == 0 {
                lines[0] = drawing.styled(lines[0], .bold)
            } else if index <= bars.count, !bars[index - 1].isEmpty {
                let gap = String(repeating: " ", count: used + 2 - TextWidth.columns(lines[index]))
                lines[index] += gap + drawing.styled(bars[index - 1], .cyan)
            }
        }
        return lines.map { $0 + "\n" }.joined() + graph.trends.map { $0 + "\n" }.joined()
    }

    /// Column of the buckets, if there are any.
    var bucketColumn: Int? { header.first == "bucket" ? 0 : nil }

    /// Columns of metrics, those of an earlier window left out.
    var metricColumns: [Int] {
        header.indices.filter(isMetric)
    }

    /// Columns of the groups.
    var groupColumns: [Int] {
        let first = header.indices.first(where: isMetric) ?? header.count
        return Array((bucketColumn == nil ? 0 : 1)..<first)
    }

    /// Whether a column is a metric of the window itself. Groups come before metrics, so that the
    /// dimension `upstream` is none.
    private func isMetric(_ column: Int) -> Bool { Self.isMetric(header[column]) }

    /// The column that has the metric in the earlier window.
    private func earlierColumn(_ column: Int) -> Int? {
        header.firstIndex(of: header[column] + Self.earlierSuffix)
    }

    private var shownHeader: [String] {
        shownColumns.flatMap { column in
            earlierColumn(column) == nil ? [header[column]] : [header[column], "before", "change"]
        }
    }

    private var isNumeric: [Bool] {
        shownColumns.flatMap { column in
            earlierColumn(column) == nil ? [isMetric(column)] : [true, true, true]
        }
    }

    /// Columns that head a column of the table; those of the earlier window stand beside theirs.
    private var shownColumns: [Int] {
        header.indices.filter { column in
            let name = header[column]
            guard name.hasSuffix(Self.earlierSuffix) else { return true }
            return !header.contains(String(name.dropLast(Self.earlierSuffix.count)))
        }
    }

    private func shown(_ row: [String]) -> [String] {
        shownColumns.flatMap { column -> [String] in
            let value = Self.shown(row[column], column: header[column])
            guard let earlier = earlierColumn(column) else { return [value] }
            return [
                value, Self.shown(row[earlier], column: header[column]),
                Self.change(row[earlier], row[column], column: header[column]),
            ]
        }
    }

    private static let earlierSuffix = "_previous"

    private static let counts: Set<String> = [
        "requests", "errors", "client_errors", "server_errors", "error_rate", "aborted",
        "bytes_in", "bytes_out", "unique_keys", "unique_clients", "other_requests",
    ]

    private static func isMetric(_ column: String) -> Bool {
        counts.contains(column) || isDuration(column)
    }

    private static func isDuration(_ column: String) -> Bool {
        !column.hasSuffix(earlierSuffix)
            && (column.hasPrefix("latency_") || column.hasPrefix("upstream_"))
    }

    /// A value with its unit.
    static func shown(_ value: String, column: String) -> String {
        if value.isEmpty { return "–" }
        guard isMetric(column), let number = Double(value) else { return value }
        if isDuration(column) { return Units.seconds(number) }
        if column == "error_rate" { return Units.share(number) }
        if column.hasPrefix("bytes_") { return Units.bytes(number) }
        return number.magnitude < 9e15 ? Units.count(Int64(number.rounded())) : value
    }

    /// By how much a metric has changed: rates in percentage points, others as a share.
    private static func change(_ before: String, _ now: String, column: String) -> String {
        guard let before = Double(before), let now = Double(now) else { return "–" }
        func signed(_ number: Double, _ unit: String) -> String {
            (number > 0 ? "+" : "") + Units.decimal(number) + unit
        }
        if column == "error_rate" { return signed((now - before) * 100, " pp") }
        guard before != 0 else { return now == 0 ? "0.00 %" : "new" }
        return signed((now - before) / before * 100, " %")
    }
}
