/// The bars and sparklines beside and below an answer.
struct UsageGraph {
    private let table: UsageTable
    private let drawing: Drawing
    private let width: Int

    /// Widest bar; chosen: longer ones are no easier to compare.
    private static let barMax = 24

    /// Narrowest bar that says anything; chosen.
    private static let barMin = 6

    /// Most groups that get a sparkline; chosen: what fits under a table on one screen.
    private static let trendsMax = 12

    /// Longest name of a group beside its sparkline; chosen: half of a narrow terminal.
    private static let labelMax = 36

    /// Graphs of `table` for a terminal of some width.
    init(_ table: UsageTable, drawing: Drawing, width: Int) {
        self.table = table
        self.drawing = drawing
        self.width = width
    }

    /// A bar of the first metric for each row; none if there is no room or nothing to compare.
    func bars(room: Int) -> [String] {
        guard room >= Self.barMin, table.rows.count > 1, let column = table.metricColumns.first
        else { return [] }
        let values = table.rows.map { Double($0[column]) ?? 0 }
        guard let largest = values.max(), largest > 0 else { return [] }
        let length = min(room, Self.barMax)
        return values.map { drawing.bar($0 / largest, width: length) }
    }

    /// Lines with a sparkline for each metric, or of the first metric for each group; none unless
    /// there are buckets to go along.
    var trends: [String] {
        guard let bucket = table.bucketColumn, !table.metricColumns.isEmpty else { return [] }
        var times: [Int64: BucketTime] = [:]
        for row in table.rows {
            if let time = BucketTime(row[bucket]) { times[time.absolute] = time }
        }
        let sorted = times.values.sorted { $0.absolute < $1.absolute }
        guard sorted.count > 1 else { return [] }
        let places = Dictionary(
            zip(sorted.map(\.absolute), BucketTime.places(sorted)),
            uniquingKeysWith: { first, _ in first }
        )
        let lines = table.groupColumns.isEmpty ? byMetric(places) : byGroup(places)
        return lines.isEmpty ? [] : [""] + lines
    }

    /// One sparkline and its numbers.
    private struct Trend {
        var label: String
        var metric: String
        var values: [Double?]
    }

    private func byMetric(_ places: [Int64: Int]) -> [String] {
        draw(
            table.metricColumns.map { column in
                trend(table.header[column], column, table.rows, places)
            }
        )
    }

    private func byGroup(_ places: [Int64: Int]) -> [String] {
        guard let column = table.metricColumns.first else { return [] }
        var groups: [[String]: [[String]]] = [:]
        for row in table.rows {
            groups[table.groupColumns.map { row[$0] }, default: []].append(row)
        }
        func size(_ rows: [[String]]) -> Double {
            rows.reduce(0) { $0 + (Double($1[column]) ?? 0) }
        }
        let largest = groups.map { (key: $0.key, rows: $0.value, size: size($0.value)) }
            .sorted { left, right in
                left.size != right.size
                    ? left.size > right.size : left.key.lexicographicallyPrecedes(right.key)
            }
        let shown = largest.prefix(Self.trendsMax).map { group in
            let label = group.key.map { $0.isEmpty ? "–" : $0 }.joined(separator: " ")
            return trend(label, column, group.rows, places)
        }
        var lines = [drawing.styled("\(table.header[column]) by time", .bold)] + draw(shown)
        if largest.count > shown.count {
            lines.append(drawing.shown("… and \(largest.count - shown.count) more groups"))
        }
        return lines
    }

    private func trend(
        _ label: String,
        _ column: Int,
        _ rows: [[String]],
        _ places: [Int64: Int]
    ) -> Trend {
        var values = [Double?](repeating: nil, count: (places.values.max() ?? 0) + 1)
        for row in rows {
            guard let bucket = table.bucketColumn, let time = BucketTime(row[bucket]),
                let place = places[time.absolute]
            else { continue }
            values[place] = Double(row[column])
        }
        let metric = table.header[column]
        return Trend(
            label: Table.printable(label),
            metric: metric,
            values: values
        )
    }

    private func draw(_ trends: [Trend]) -> [String] {
        let label = min(Self.labelMax, trends.map { TextWidth.columns($0.label) }.max() ?? 0)
        let notes = trends.map(note)
        let note = notes.map(TextWidth.columns).max() ?? 0
        let room = max(8, width - label - note - 4)
        return zip(trends, notes).map { trend, note in
            let line = drawing.sparkline(Drawing.condensed(trend.values, room))
            return TextWidth.fitted(trend.label, label, drawing) + "  "
                + drawing.styled(line, .cyan) + "  " + note
        }
    }

    /// The least, the largest and the last value.
    private func note(_ trend: Trend) -> String {
        let known = trend.values.compactMap(\.self)
        guard let least = known.min(), let most = known.max(), let last = known.last else {
            return ""
        }
        func text(_ value: Double) -> String {
            drawing.shown(UsageTable.shown("\(value)", column: trend.metric))
        }
        return "min \(text(least))  max \(text(most))  last \(text(last))"
    }
}
