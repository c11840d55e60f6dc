import ArgumentParser
import Console
import EventLog
import FileIO
import Foundation
import Records

/// What `sluice log export` and `sluice log import` have in common.
struct CarryOptions: ParsableArguments {
    @Option(help: "Only this log.")
    var log: String?

    @Flag(help: "Offsets that are missing on both sides become expired in the target.")
    var acceptGaps = false

    @Option(help: "Format of the report: table, json, csv or ndjson.")
    var format = OutputFormat.table

    mutating func validate() throws {
        if let log, LogID(log) == nil {
            throw ValidationError("--log: \"\(log)\" is not a log id; `sluice log ls` lists them")
        }
    }

    /// Carries the logs of one directory to another and shows what was done.
    func carry(from source: LogDirectory, only named: LogID?, to target: LogDirectory) throws {
        let only = log.flatMap { LogID($0) } ?? named
        if let only, try source.log(only) == nil {
            throw CommandFailure.failed("there is no log \(only) in \"\(source.path)\"")
        }
        var table = Table(
            ["log", "segments_copied", "segments_present", "bytes_copied", "next_offset", "state"]
        )
        var failures = 0
        for summary in try source.logs() where only == nil || only == summary.id {
            let bar = ProgressBar(
                "carrying \(summary.id)",
                total: Int(clamping: summary.byteCount),
                unit: .bytes
            )
            var done: UInt64 = 0
            do {
                let carried = try source.carry(summary.id, to: target, acceptsGaps: acceptGaps) {
                    done += $0
                    bar.update(Int(clamping: done))
                }
                bar.finish()
                table.rows.append([
                    .text("\(summary.id)"), .integer(Int64(carried.segmentsCopied)),
                    .integer(Int64(carried.segmentsPresent)),
                    .bytes(Int64(clamping: carried.bytesCopied)), .offset(carried.nextOffset),
                    .text(carried.isEnded ? "whole" : "open"),
                ])
            } catch {
                bar.finish()
                Terminal.error("\(error)")
                failures += 1
            }
        }
        Terminal.show(table, format)
        guard failures == 0 else {
            throw CommandFailure.failed(
                "\(failures) log\(failures == 1 ? " was" : "s were") not carried"
            )
        }
    }
}

/// `sluice log export`.
struct LogExportCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export",
        abstract: "Copy sealed segments into a directory that can be carried to another site.",
        discussion: """
            The directory is a data directory itself: `sluice log ls`, `cat` and `verify` read it. \
            Segments that are there already are compared and left alone, so the same directory \
            takes what has come since. Of a log that is being written, the active segment stays.

            EXAMPLES:
              sluice log export sluice-data /media/stick
            """
    )

    @OptionGroup var target: LogCommand.Target

    @Argument(
        help: ArgumentHelp("Where to; made if it is not there.", valueName: "to"),
        completion: .directory
    )
    var destination: String

    @OptionGroup var options: CarryOptions

    mutating func run() async throws {
        let (logs, only) = try target.open()
        let destination = LogCommand.standardized(destination)
        guard destination != LogCommand.standardized(logs.path) else {
            throw CommandFailure.usage("export: source and target are the same directory")
        }
        try options.carry(
            from: logs,
            only: only,
            to: LogDirectory(
                path: destination,
                fileSystem: PosixFileSystem(),
                time: SystemTimeSource()
            )
        )
    }
}

/// `sluice log import`.
struct LogImportCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "import",
        abstract: "Add what `sluice log export` wrote at another site.",
        discussion: """
            Logs keep their ids and offsets, so that importing twice, overlapping parts, or what \
            also came through Kafka counts once.

            EXAMPLES:
              sluice log import sluice-data /media/stick
            """
    )

    @Argument(
        help: ArgumentHelp("Data directory; made if it is not there.", valueName: "dir"),
        completion: .directory
    )
    var directory: String

    @Argument(
        help: ArgumentHelp("What `sluice log export` wrote.", valueName: "from"),
        completion: .directory
    )
    var source: String

    @OptionGroup var options: CarryOptions

    mutating func run() async throws {
        let (carried, only) = try LogCommand.open(source)
        let data = DataDirectory(directory)
        guard LogCommand.standardized(carried.path) != LogCommand.standardized(directory) else {
            throw CommandFailure.usage("import: source and target are the same directory")
        }
        try data.create()
        try options.carry(from: carried, only: only, to: data.logs())
    }
}
