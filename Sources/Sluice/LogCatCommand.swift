import ArgumentParser
import Console
import EventLog
import Records

/// `sluice log cat`.
struct LogCatCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cat",
        abstract: "Print records, log by log in order of offsets.",
        discussion: """
            As json, csv and ndjson with every field that is there; as a table with the main ones. \
            Offsets without a record appear with the reason, so that none is silent.

            EXAMPLES:
              sluice log cat sluice-data --limit 10
              sluice log cat sluice-data --format ndjson | jq .status
            """
    )

    @OptionGroup var target: LogCommand.Target

    @Option(help: "First offset wanted, in each log.")
    var from: UInt64 = 0

    @Option(help: "Most records printed.")
    var limit: Int?

    @Option(help: "Only this log.")
    var log: String?

    @Option(help: "Format of the records: table, json, csv or ndjson.")
    var format = OutputFormat.table

    mutating func validate() throws {
        if let log, LogID(log) == nil {
            throw ValidationError("--log: \"\(log)\" is not a log id; `sluice log ls` lists them")
        }
        if let limit, limit < 0 { throw ValidationError("--limit must not be negative") }
    }

    mutating func run() async throws {
        let (logs, named) = try target.open()
        let only = log.flatMap { LogID($0) } ?? named
        if let only, try logs.log(only) == nil {
            throw CommandFailure.failed("there is no log \(only); `sluice log ls` lists them")
        }
        var left = limit ?? Int.max
        var printer = RecordPrinter(format)
        for summary in try logs.logs() where only == nil || only == summary.id {
            guard left > 0 else { break }
            var reader = try logs.reader(
                summary.id,
                from: max(Offset(from), summary.startOffset)
            )
            while left > 0, let item = try reader.next() {
                switch item {
                case .records(let batch):
                    batch.forEach { offset, bytes in
                        guard left > 0, offset.rawValue >= from else { return }
                        left -= 1
                        printer.record(summary.id, offset, bytes)
                    }
                case .skip(let range, let reason): printer.skip(summary.id, range, reason)
                case .end: break
                }
                printer.flush()
            }
        }
        printer.finish()
    }
}

/// Writes records one after the other, so that a log of any size can be printed.
private struct RecordPrinter {
    private let format: OutputFormat
    private var text = ""
    private var isFirst = true

    /// Columns of tables and CSV, with their widths in a table.
    private static let columns: [(name: String, width: Int)] = [
        ("log", 8), ("offset", 9), ("completed_at", 20), ("kind", 11), ("method", 7), ("status", 6),
        ("outcome", 20), ("duration", 9), ("api", 14), ("route", 28), ("path", 0),
    ]

    /// A printer whose heading is not written yet.
    init(_ format: OutputFormat) {
        self.format = format
        switch format {
        case .table: row(Self.columns.map(\.name), isHeading: true)
        case .csv: text += Self.columns.map(\.name).joined(separator: ",") + "\n"
        case .json: text += "["
        case .ndjson: break
        }
    }

    /// Adds one record.
    mutating func record(_ log: LogID, _ offset: Offset, _ bytes: RawSpan) {
        let record: RequestRecord
        do {
            record = try RequestRecord(decoding: bytes)
        } catch {
            return special(log, "\(offset.rawValue)", "undecodable", "\(error)")
        }
        guard format == .table || format == .csv else { return object(record.json()) }
        let isTable = format == .table
        let duration = record.durationUS.map { microseconds in
            isTable
                ? Units.seconds(Double(microseconds) / 1e6) : "\(Double(microseconds) / 1e6)"
        }
        row([
            isTable ? String("\(log)".prefix(8)) : "\(log)", "\(offset.rawValue)",
            Cell.time(record.completedAt).plain, "\(record.kind)", record.method,
            record.status.map { "\($0)" } ?? "", record.outcome.name, duration ?? "", record.api,
            record.route, record.path,
        ])
    }

    /// Adds a range of offsets that have no record.
    mutating func skip(_ log: LogID, _ range: Range<Offset>, _ reason: SkipReason) {
        let (from, to) = (range.lowerBound.rawValue, range.upperBound.rawValue)
        if format == .json || format == .ndjson {
            object(
                "{\"log_id\":\"\(log)\",\"skip\":\"\(reason.rawValue)\",\"from\":\(from),"
                    + "\"to\":\(to)}"
            )
        } else {
            special(log, "\(from)", "skip", "\(reason.rawValue) up to \(to)")
        }
    }

    /// Writes what has been collected.
    mutating func flush() {
        guard !text.isEmpty else { return }
        Terminal.output(text)
        text = ""
    }

    /// Ends the document.
    mutating func finish() {
        if format == .json { text += "]\n" }
        flush()
    }

    private mutating func special(_ log: LogID, _ offset: String, _ kind: String, _ what: String) {
        if format == .json || format == .ndjson {
            return object(
                "{\"log_id\":\"\(log)\",\"offset\":\(offset),\"\(kind)\":\(JSONText.quoted(what))}"
            )
        }
        let name = format == .table ? String("\(log)".prefix(8)) : "\(log)"
        row([name, offset, "", kind, "", "", what, "", "", "", ""])
    }

    private mutating func object(_ json: String) {
        switch format {
        case .json:
            text += (isFirst ? "" : ",\n ") + json
            isFirst = false
        default: text += json + "\n"
        }
    }

    private mutating func row(_ cells: [String], isHeading: Bool = false) {
        if format == .csv {
            text += cells.map(Table.csvField).joined(separator: ",") + "\n"
            return
        }
        var line = ""
        for (cell, column) in zip(cells, Self.columns) {
            let shown = Table.printable(cell)
            line += shown + String(repeating: " ", count: max(0, column.width - shown.count)) + "  "
        }
        while line.last == " " { line.removeLast() }
        text += (isHeading ? Terminal.bold(line) : line) + "\n"
    }
}
