import ArgumentParser
import Console
import EventLog
import FileIO
import Foundation
import Records

/// `sluice log`.
struct LogCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "log",
        abstract:
            "Look at event logs and carry them: list, print, verify, measure, export, import.",
        subcommands: [
            List.self, LogCatCommand.self, Verify.self, LogStatCommand.self, LogExportCommand.self,
            LogImportCommand.self,
        ]
    )

    /// The argument that all subcommands take.
    struct Target: ParsableArguments {
        @Argument(
            help: ArgumentHelp(
                "Data directory, its log directory, or one log in it.",
                valueName: "dir"
            ),
            completion: .directory
        )
        var directory: String

        /// The event logs, and the one log that was named, if one was.
        func open() throws -> (LogDirectory, only: LogID?) { try LogCommand.open(directory) }
    }

    /// A path without `.` and `..`, so that two can be compared.
    static func standardized(_ path: String) -> String {
        URL(fileURLWithPath: path).standardizedFileURL.path
    }

    /// The event logs of a data directory, of its log directory, or of one log in it, and the one
    /// log that was named, if one was.
    static func open(_ directory: String) throws -> (LogDirectory, only: LogID?) {
        let url = URL(fileURLWithPath: directory).standardizedFileURL
        let status = try PosixFileSystem().status(url.path)
        guard status?.isDirectory == true else {
            throw CommandFailure.failed("there is no directory \"\(directory)\"")
        }
        var data = url
        var only: LogID?
        if let id = LogID(url.lastPathComponent) {
            only = id
            data = url.deletingLastPathComponent().deletingLastPathComponent()
        } else if url.lastPathComponent == "log",
            !FileManager.default.fileExists(atPath: url.path + "/log")
        {
            data = url.deletingLastPathComponent()
        }
        guard FileManager.default.fileExists(atPath: data.path + "/log") else {
            throw CommandFailure.failed(
                "\"\(directory)\" holds no event log; give the data directory of a gateway"
            )
        }
        return (try DataDirectory(data.path).logs(), only)
    }

    /// `sluice log ls`.
    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "ls",
            abstract: "List the logs with their offsets, sizes and lag.",
            discussion: """
                The lag is that of the slowest consumer: the aggregator, or a sink of the pump.

                EXAMPLES:
                  sluice log ls sluice-data
                """
        )

        @OptionGroup var target: Target

        @Option(help: "Format of the list: table, json, csv or ndjson.")
        var format = OutputFormat.table

        mutating func run() async throws {
            let (logs, only) = try target.open()
            let consumers = DataDirectory(logs.path).consumers ?? ["aggregator"]
            var table = Table(
                [
                    "log", "lane", "node", "created_at", "segments", "bytes", "start_offset",
                    "next_offset", "state", "lag",
                ])
            for log in try logs.logs() where only == nil || only == log.id {
                let next = log.endOffset ?? log.durableOffset
                let done = consumers.reduce(next) { min($0, logs.checkpoint(of: $1, in: log.id)) }
                table.rows.append([
                    .text("\(log.id)"), log.lane.map { .integer(Int64($0)) } ?? .none,
                    .text(log.node), .time(log.createdAt), .integer(Int64(log.segments.count)),
                    .bytes(Int64(clamping: log.byteCount)), .offset(log.startOffset), .offset(next),
                    .text(log.isEnded ? "ended" : "open"),
                    .integer(Int64(clamping: next.rawValue - done.rawValue)),
                ])
            }
            Terminal.show(table, format)
        }
    }

    /// `sluice log verify`.
    struct Verify: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Read every byte, check every checksum, and report damage and gaps.",
            discussion: """
                Every missing range is named with its offsets: damaged (it had been synced, or \
                somebody has read it) or lost_before_sync. Exit code 1 if anything is missing.

                EXAMPLES:
                  sluice log verify sluice-data
                """
        )

        @OptionGroup var target: Target

        @Option(help: "Format of the report: table, json, csv or ndjson.")
        var format = OutputFormat.table

        mutating func run() async throws {
            let (logs, only) = try target.open()
            var table = Table([
                "log", "records", "undecodable", "expired", "missing", "offsets", "torn_bytes",
                "end_offset", "result",
            ])
            var broken = 0
            for summary in try logs.logs() where only == nil || only == summary.id {
                let bar = ProgressBar("verifying \(summary.id)", total: nil)
                let verdict = Verdict(logs, summary) { bar.update($0) }
                bar.finish()
                if !verdict.isWhole { broken += 1 }
                table.rows.append(verdict.row)
            }
            Terminal.show(table, format)
            if broken > 0 {
                throw CommandFailure.failed("\(broken) log\(broken == 1 ? " is" : "s are") damaged")
            }
        }
    }
}

/// What verifying one log shows: every frame is read twice, as recovery and as consumers read it.
private struct Verdict {
    private let log: LogSummary
    private var records = 0
    private var undecodable = 0
    private var expired: UInt64 = 0
    private var scan: RecoveryReport?
    private var error: String?

    /// Reads all frames of a log; never throws, for an unreadable log is a finding.
    init(_ logs: LogDirectory, _ summary: LogSummary, progress: (Int) -> Void) {
        log = summary
        do {
            scan = try logs.inspect(summary.id)
            var reader = try logs.reader(summary.id, from: summary.startOffset)
            while let item = try reader.next() {
                switch item {
                case .records(let batch):
                    batch.forEach { _, bytes in
                        records += 1
                        if (try? RecordView.decode(bytes)) == nil { undecodable += 1 }
                    }
                case .skip(let range, .expired):
                    expired += range.upperBound.rawValue - range.lowerBound.rawValue
                case .skip, .end: break
                }
                progress(records)
            }
        } catch {
            self.error = "\(error)"
        }
    }

    private var missing: UInt64 {
        (scan?.losses ?? []).reduce(0) {
            $0 + $1.offsets.upperBound.rawValue - $1.offsets.lowerBound.rawValue
        }
    }

    /// A record of a newer schema is no damage: its bytes are what was written.
    var isWhole: Bool { error == nil && missing == 0 && scan?.isAtLeast == false }

    /// The log's line of the report; every missing range with its offsets and why it is missing.
    var row: [Cell] {
        let ranges = (scan?.losses ?? []).map { loss in
            "\(loss.offsets.lowerBound)..<\(loss.offsets.upperBound) \(loss.kind.rawValue)"
        }
        let result =
            error ?? (isWhole ? (log.isEnded ? "whole" : "whole so far") : "damaged")
            + (scan?.isAtLeast == true ? ", at least so much" : "")
        return [
            .text("\(log.id)"), .integer(Int64(records)), .integer(Int64(undecodable)),
            .integer(Int64(clamping: expired)), .integer(Int64(clamping: missing)),
            ranges.isEmpty ? .none : .text(ranges.joined(separator: ", ")),
            .bytes(Int64(clamping: scan?.tornBytes ?? 0)),
            (log.endOffset ?? scan?.endOffset).map(Cell.offset) ?? .none, .text(result),
        ]
    }
}

extension Cell {
    /// An offset.
    static func offset(_ offset: Offset) -> Cell { .integer(Int64(clamping: offset.rawValue)) }
}
