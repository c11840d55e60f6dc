import ArgumentParser
import Console
import EventLog
import Foundation
import Records

/// `sluice log stat`.
struct LogStatCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stat",
        abstract: "Read logs and show what is in them: kinds, sizes, batches, times, rates.",
        discussion: """
            EXAMPLES:
              sluice log stat sluice-data
              sluice log stat sluice-data --format ndjson | jq .requests
            """
    )

    @OptionGroup var target: LogCommand.Target

    @Option(help: "Format of the report: table, json, csv or ndjson.")
    var format = OutputFormat.table

    mutating func run() async throws {
        let (logs, only) = try target.open()
        var table = Table([
            "log", "node", "lane", "state", "records", "requests", "markers", "unparsed",
            "undecodable", "missing", "bytes", "bytes_per_record", "records_per_batch",
            "first_completed", "last_completed", "longest_silence",
        ])
        for summary in try logs.logs() where only == nil || only == summary.id {
            let bar = ProgressBar("reading \(summary.id)", total: nil)
            let statistics = try LogStatistics(logs, summary) { bar.update($0) }
            bar.finish()
            table.rows.append(statistics.row(summary))
        }
        Terminal.show(table, format)
    }
}

/// What reading one log shows.
private struct LogStatistics {
    private var records = 0
    private var requests = 0
    private var markers = 0
    private var unparsed = 0
    private var undecodable = 0
    private var missing: UInt64 = 0
    private var bytes = 0
    private var batches = 0
    private var firstCompleted: Int64?
    private var lastCompleted: Int64?
    private var lastAppend: Int64?
    private var longestSilence: Int64 = 0

    /// Reads a log to its durable end.
    init(_ logs: LogDirectory, _ summary: LogSummary, progress: (Int) -> Void) throws {
        var reader = try logs.reader(summary.id, from: summary.startOffset)
        while let item = try reader.next() {
            switch item {
            case .records(let batch):
                batches += 1
                if let lastAppend {
                    longestSilence = max(longestSilence, batch.appendTime - lastAppend)
                }
                lastAppend = batch.appendTime
                batch.forEach { _, bytes in add(bytes) }
            case .skip(let range, _):
                missing += range.upperBound.rawValue - range.lowerBound.rawValue
            case .end: break
            }
            progress(records)
        }
    }

    private mutating func add(_ record: RawSpan) {
        records += 1
        bytes += record.byteCount
        guard let view = try? RecordView.decode(record) else {
            undecodable += 1
            return
        }
        switch view.kind {
        case .request, .sessionEnd:
            requests += 1
            firstCompleted = min(firstCompleted ?? Int64.max, view.completedAt)
            lastCompleted = max(lastCompleted ?? Int64.min, view.completedAt)
        case .unparsed: unparsed += 1
        case .heartbeat, .logStart, .logEnd, .unspecified: markers += 1
        }
    }

    /// The log's line of the report.
    func row(_ summary: LogSummary) -> [Cell] {
        let perBatch = batches > 0 ? records / batches : 0
        return [
            .text("\(summary.id)"), .text(summary.node),
            summary.lane.map { .integer(Int64($0)) } ?? .none,
            .text(summary.isEnded ? "ended" : "open"), .integer(Int64(records)),
            .integer(Int64(requests)), .integer(Int64(markers)), .integer(Int64(unparsed)),
            .integer(Int64(undecodable)), .integer(Int64(clamping: missing)),
            .bytes(Int64(clamping: summary.byteCount)),
            .integer(Int64(records > 0 ? bytes / records : 0)), .integer(Int64(perBatch)),
            firstCompleted.map(Cell.time) ?? .none, lastCompleted.map(Cell.time) ?? .none,
            .seconds(Double(longestSilence) / 1e6),
        ]
    }
}
