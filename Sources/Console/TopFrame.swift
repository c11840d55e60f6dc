/// One picture of `sluice top`.
package struct TopFrame {
    private let model: TopModel
    private let drawing: Drawing
    private let columns: Int
    private let now: Int64

    /// Lines besides those of the groups: four of the heading, a blank one, the names of the
    /// columns, and the foot.
    static let linesBesideRows = 7

    /// Most lines of groups when there is no window that limits them; chosen.
    private static let rowsMax = 50

    /// A picture of `model`.
    ///
    /// - Parameters:
    ///   - model: What is shown.
    ///   - drawing: How.
    ///   - columns: Columns of the window.
    ///   - now: Seconds since the Unix epoch.
    package init(_ model: TopModel, drawing: Drawing, columns: Int, now: Int64) {
        self.model = model
        self.drawing = drawing
        self.columns = max(20, columns)
        self.now = now
    }

    /// The lines for a window with `rows` lines, none wider than it.
    package func lines(rows: Int) -> [String] {
        let room = max(1, rows - Self.linesBesideRows)
        var lines = heading
        lines += model.showsHelp ? help : table(rows: room)
        if lines.count > rows - 1 { lines.removeSubrange(max(0, rows - 1)...) }
        while lines.count < rows - 1 { lines.append("") }
        if rows > 0 { lines.append(foot) }
        return lines
    }

    /// The lines for a reader that scrolls by itself, without keys.
    package func linesOfOnce() -> [String] {
        heading + table(rows: Self.rowsMax)
    }

    private func line(_ text: String, _ style: Drawing.Style? = nil) -> String {
        let shown = drawing.shown(Table.printable(text))
        let cut =
            TextWidth.columns(shown) > columns
            ? TextWidth.fitted(shown, columns, drawing) : shown
        return drawing.styled(cut, style)
    }

    // Heading ------------------------------------------------------------------------------------

    private var heading: [String] {
        var first = "sluice top · \(model.server)"
        if !model.filters.isEmpty { first += " · " + model.filters.joined(separator: " and ") }
        let clock = "\(BucketTime.clock(now)) UTC" + (model.isPaused ? " · paused" : "")
        let room = columns - TextWidth.columns(clock) - 2
        let left = TextWidth.fitted(drawing.shown(Table.printable(first)), max(0, room), drawing)
        let top = drawing.styled(left + "  " + drawing.shown(clock), .bold)
        guard let answer = model.answer else {
            return [
                top, "", line(model.failure.map { "! \($0)" } ?? "asking …", failureStyle), "", "",
            ]
        }
        return [top, line(summary(answer)), trend(answer), state(answer), ""]
    }

    private var failureStyle: Drawing.Style? { model.failure == nil ? nil : .red }

    private func summary(_ answer: TopAnswer) -> String {
        let total = answer.total
        let parts = [
            "\(Units.decimal(total.requests / answer.seconds)) requests/s",
            "\(Units.decimal(total.errors / answer.seconds)) errors/s"
                + (total.errorRate.map { " (\(Units.share($0)))" } ?? ""),
            "p50 " + (total.p50.map(Units.seconds) ?? "–"),
            "p99 " + (total.p99.map(Units.seconds) ?? "–"),
            Units.bytes(total.bytes / answer.seconds) + "/s out",
        ]
        return parts.joined(separator: " · ")
    }

    private func trend(_ answer: TopAnswer) -> String {
        guard let most = answer.minutes.map(\.requests).max() else { return "" }
        let note = "max \(Units.decimal(most / 60))/s"
        let label = "by minute  "
        let room = columns - label.count - note.count - 2
        guard room >= 4 else { return "" }
        let values = Drawing.condensed(answer.minutes.map(\.requests), room)
        return label + drawing.styled(drawing.sparkline(values), .cyan) + "  " + note
    }

    private func state(_ answer: TopAnswer) -> String {
        if let failure = model.failure { return line("! \(failure)", .red) }
        let freshness: String
        if let completeTo = answer.completeTo {
            let age = max(0, answer.askedAt - completeTo)
            freshness = "complete to \(BucketTime.clock(completeTo)), \(age) s ago"
        } else {
            freshness = "nothing recorded yet"
        }
        let window =
            "\(BucketTime.clock(answer.from)) to \(BucketTime.clock(answer.end)) "
            + "(\(Units.seconds(answer.seconds)))"
        return line("\(window) · \(freshness) · rollup \(answer.rollup)")
    }

    // Table --------------------------------------------------------------------------------------

    /// A column of numbers.
    private struct Column: Sendable {
        var name: String
        var width: Int
        var sort: TopSort?
        /// Columns that the window must have for it.
        var from: Int
        var cell: @Sendable (TopRow, TopAnswer) -> String
    }

    private static let numbers: [Column] = [
        Column(name: "REQ/S", width: 9, sort: .requests, from: 0) { row, answer in
            Units.decimal(row.requests / answer.seconds)
        },
        Column(name: "REQUESTS", width: 12, sort: nil, from: 110) { row, _ in
            Units.count(Int64(min(row.requests, 9e15)))
        },
        Column(name: "ERRORS", width: 9, sort: .errors, from: 60) { row, _ in
            Units.count(Int64(min(row.errors, 9e15)))
        },
        Column(name: "ERR %", width: 7, sort: .errorRate, from: 40) { row, _ in
            row.errorRate.map { Units.decimal($0 * 100) } ?? "–"
        },
        Column(name: "P50", width: 8, sort: .p50, from: 70) { row, _ in
            row.p50.map(Units.seconds) ?? "–"
        },
        Column(name: "P99", width: 8, sort: .p99, from: 50) { row, _ in
            row.p99.map(Units.seconds) ?? "–"
        },
        Column(name: "OUT/S", width: 10, sort: .bytes, from: 95) { row, answer in
            Units.bytes(row.bytes / answer.seconds)
        },
    ]

    /// Width of the bars, and the columns that the window must have for them.
    private static let bar = (width: 12, from: 120)

    /// Narrowest column of the first of several dimensions; chosen.
    private static let firstLabelMin = 8

    private func table(rows: Int) -> [String] {
        guard let answer = model.answer else { return [] }
        let numbers = Self.numbers.filter { columns >= $0.from }
        let hasBar = columns >= Self.bar.from
        let used =
            numbers.reduce(0) { $0 + $1.width + 1 } + (hasBar ? Self.bar.width + 1 : 0)
        let label = max(8, columns - used)
        let shown = Array(answer.rows.dropFirst(model.scrolled).prefix(rows))
        let widths = labelWidths(shown, label)
        var lines = [head(numbers, widths, hasBar)]
        let largest = answer.rows.map(\.requests).max() ?? 0
        for row in shown {
            var text = labels(row.labels, widths)
            for column in numbers {
                let cell = TextWidth.fitted(
                    drawing.shown(column.cell(row, answer)),
                    column.width,
                    isNumber: true,
                    drawing
                )
                text += " " + drawing.styled(cell, style(column, row))
            }
            if hasBar {
                let bar = drawing.bar(largest > 0 ? row.requests / largest : 0, width: 12)
                text += " " + drawing.styled(bar, .cyan)
            }
            lines.append(text)
        }
        if answer.rows.isEmpty { lines.append(line("nothing was recorded in this time")) }
        return lines
    }

    private func head(_ numbers: [Column], _ widths: [Int], _ hasBar: Bool) -> String {
        let names = model.answeredGroups.map { Optional($0.uppercased()) }
        var text = labels(names, widths)
        for column in numbers {
            let mark = column.sort == model.sort ? (drawing.isUnicode ? "▼" : "*") : ""
            text +=
                " " + TextWidth.fitted(column.name + mark, column.width, isNumber: true, drawing)
        }
        if hasBar { text += String(repeating: " ", count: Self.bar.width + 1) }
        return drawing.styled(text, .reversed)
    }

    private func style(_ column: Column, _ row: TopRow) -> Drawing.Style? {
        guard column.sort == .errorRate, let rate = row.errorRate else { return nil }
        return rate >= 0.05 ? .red : rate >= 0.01 ? .yellow : nil
    }

    /// Widths of the columns of dimensions, which fill `room` with their gaps.
    private func labelWidths(_ rows: [TopRow], _ room: Int) -> [Int] {
        let count = max(1, model.answeredGroups.count)
        var widths: [Int] = []
        var left = room
        for index in 0..<count - 1 {
            let texts = rows.map { label($0.labels, index) } + [model.answeredGroups[index]]
            let wanted = texts.map(TextWidth.columns).max() ?? 0
            let share = max(Self.firstLabelMin, left / (count - index))
            let width = min(max(wanted, Self.firstLabelMin), share)
            widths.append(width)
            left -= width + 1
        }
        return widths + [max(1, left)]
    }

    private func label(_ labels: [String?], _ index: Int) -> String {
        guard index < labels.count, let text = labels[index] else { return "–" }
        return Table.printable(text)
    }

    private func labels(_ values: [String?], _ widths: [Int]) -> String {
        widths.indices.map { index in
            TextWidth.fitted(drawing.shown(label(values, index)), widths[index], drawing)
        }.joined(separator: " ")
    }

    // Foot ---------------------------------------------------------------------------------------

    private var foot: String {
        var parts: [String] = []
        if let answer = model.answer {
            let first = model.scrolled > 0 ? ", from \(model.scrolled + 1)" : ""
            parts.append(Units.count(answer.groups) + " groups" + first)
        }
        parts.append("by \(model.groupings[model.grouping].joined(separator: ","))")
        parts.append("sort \(model.sort.title)")
        parts.append("every \(Units.seconds(model.interval))")
        parts.append("? keys  q quit")
        return line(parts.joined(separator: " · "), .dim)
    }

    private var help: [String] {
        var lines = [
            "g G      next or previous grouping, or its number:",
            "s S      next or previous column to sort by",
            "w W      longer or shorter window",
            "p space  pause, go on",
            "r        ask now",
            "↑ ↓      scroll, also by page, to the beginning and the end",
            "q        quit, as Escape and Ctrl-C do",
        ]
        let numbered = model.groupings.enumerated()
            .map { "\($0 + 1) \($1.joined(separator: ","))" }
        lines.insert("         " + numbered.joined(separator: "  "), at: 1)
        return lines.map { line($0) }
    }
}

/// Shows frames one over the other without flicker.
package enum Redraw {
    /// What to write so that `lines` stand on a screen of our own, whatever stood there.
    package static func wholeScreen(_ lines: [String]) -> String {
        "\u{1B}[?7l\u{1B}[H" + lines.map { $0 + "\u{1B}[K" }.joined(separator: "\r\n")
            + "\u{1B}[J\u{1B}[?7h"
    }

    /// What to write so that `text` takes the place of the `before` lines above the cursor; and
    /// how many lines it is, at most `rows` - 1.
    package static func inPlace(
        _ text: String,
        over before: Int,
        rows: Int,
        _ drawing: Drawing
    ) -> (text: String, lines: Int) {
        var lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        if lines.last?.isEmpty == true { lines.removeLast() }
        let room = max(1, rows - 1)
        if lines.count > room {
            let hidden = lines.count - room + 1
            lines.removeSubrange((room - 1)...)
            lines.append(drawing.shown("… \(hidden) more lines"))
        }
        let up = before > 0 ? "\u{1B}[\(before)A\r" : "\r"
        let body = lines.map { $0 + "\u{1B}[K\n" }.joined()
        // Without wrapping, a line that is too wide still is one line.
        return ("\u{1B}[?7l" + up + body + "\u{1B}[J\u{1B}[?7h", lines.count)
    }
}
