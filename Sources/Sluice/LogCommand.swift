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
        abstract: "Look at event logs: list, print, verify.",
        subcommands: [List.self, LogCatCommand.self, Verify.self]
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
        func open() throws -> (LogDirectory, only: LogID?) {
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
    }

    /// `sluice log ls`.
    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "ls",
            abstract: "List the logs with their offsets, sizes and the aggregator's lag.",
            discussion: """
                EXAMPLES:
                  sluice log ls sluice-data
                """
        )

        @OptionGroup var target: Target

        @Option(help: "Format of the list: table, json, csv or ndjson.")
        var format = OutputFormat.table

        mutating func run() async throws {
            let (logs, only) = try target.open()
            let checkpoints = try logs.checkpoints(consumer: "aggregator")
            var table = Table(
                [
                    "log", "lane", "node", "created_at", "segments", "bytes", "start_offset",
                    "next_offset", "state", "lag",
                ])
            for log in try logs.logs() where only == nil || only == log.id {
                let next = log.endOffset ?? log.durableOffset
                let done = min(checkpoints.load(log.id), next)
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
                Exit code 1 if anything is damaged or missing.

                EXAMPLES:
                  sluice log verify sluice-data
                """
        )

        @OptionGroup var target: Target

        @Option(help: "Format of the report: table, json, csv or ndjson.")
        var format = OutputFormat.table

        mutating func run() async throws {
            let (logs, only) = try target.open()
            var table = Table(
                ["log", "records", "undecodable", "skipped", "damaged", "end_offset", "result"])
            var broken = 0
            for summary in try logs.logs() where only == nil || only == summary.id {
                let bar = ProgressBar("verifying \(summary.id)", total: nil)
                let report = Self.verify(logs, summary, bar)
                bar.finish()
                if !report.isWhole { broken += 1 }
                table.rows.append([
                    .text("\(summary.id)"), .integer(report.records), .integer(report.undecodable),
                    .integer(report.skipped), .integer(report.damaged),
                    report.end.map(Cell.offset) ?? .none, .text(report.result),
                ])
            }
            Terminal.show(table, format)
            if broken > 0 {
                throw CommandFailure.failed("\(broken) log\(broken == 1 ? " is" : "s are") damaged")
            }
        }

        /// What reading one log showed.
        private struct Report {
            var records: Int64 = 0
            var undecodable: Int64 = 0
            var skipped: Int64 = 0
            var damaged: Int64 = 0
            var end: Offset?
            var error: String?

            /// A record of a newer schema is no damage: its bytes are what was written.
            var isWhole: Bool { damaged == 0 && error == nil }

            var result: String {
                if let error { return error }
                if damaged > 0 { return "damaged" }
                return end == nil ? "whole so far" : "whole"
            }
        }

        private static func verify(
            _ logs: LogDirectory,
            _ summary: LogSummary,
            _ bar: ProgressBar
        ) -> Report {
            var report = Report()
            do {
                var reader = try logs.reader(summary.id, from: summary.startOffset)
                while let item = try reader.next() {
                    switch item {
                    case .records(let batch):
                        batch.forEach { _, bytes in
                            report.records += 1
                            if (try? RecordView.decode(bytes)) == nil { report.undecodable += 1 }
                        }
                    case .skip(let range, let reason):
                        let count = Int64(
                            clamping: range.upperBound.rawValue - range.lowerBound.rawValue
                        )
                        report.skipped += count
                        if reason == .damaged { report.damaged += count }
                    case .end(let offset): report.end = offset
                    }
                    bar.update(Int(report.records))
                }
            } catch {
                report.error = "\(error)"
            }
            return report
        }
    }
}

extension Cell {
    /// An offset.
    static func offset(_ offset: Offset) -> Cell { .integer(Int64(clamping: offset.rawValue)) }
}
