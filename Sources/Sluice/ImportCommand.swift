import ArgumentParser
import Console
import EventLog
import Foundation
import Importing
import Records
import SluiceConfiguration

/// `sluice import`.
struct ImportCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "import",
        abstract: "Append foreign access logs, each line counted once however often it comes.",
        discussion: """
            Files may be compressed with gzip. The same file twice counts once; a file that has \
            grown adds only its new lines. Lines that cannot be read go to the dead letters.

            EXAMPLES:
              sluice import --format combined --org acme --api web --wait access.log
              sluice import --org acme --api web access.log.*.gz
            """
    )

    @OptionGroup var options: ConfigurationOptions

    @Option(
        help: ArgumentHelp(
            "Format of the files: combined or common. Default: recognised by the first lines.",
            valueName: "name"
        ),
        completion: .list(ImportFormat.allCases.map(\.rawValue)),
        transform: { name in
            do {
                return try ImportFormat(name: name)
            } catch {
                throw ValidationError("--format: \(error)")
            }
        }
    )
    var format: ImportFormat?

    @Option(help: "Organisation that the requests are counted for.")
    var org: String

    @Option(help: "API that the requests are counted for.")
    var api: String

    @Flag(help: "Return only when every line is visible in queries.")
    var wait = false

    @Option(help: ArgumentHelp("Longest wait: 30s, 5m, 1h.", valueName: "duration"))
    var waitTimeout = "5m"

    @Flag(help: "Import a file even if it cannot be decided whether it was imported before.")
    var force = false

    @Option(help: "Format of the summary: table, json, csv or ndjson.")
    var output = OutputFormat.table

    @Argument(
        help: ArgumentHelp("Access logs, plain or gzip.", valueName: "file"),
        completion: .file()
    )
    var files: [String]

    mutating func validate() throws {
        for (name, value) in [("--org", org), ("--api", api)] {
            guard (1...128).contains(value.utf8.count), !value.hasPrefix("__"),
                value.unicodeScalars.allSatisfy({ $0.value >= 0x20 && $0.value != 0x7F })
            else {
                throw ValidationError(
                    "\(name): \"\(value)\" is no name: 1 to 128 printable characters, not "
                        + "beginning with two underscores"
                )
            }
        }
        guard DurationText.seconds(waitTimeout) != nil else {
            throw ValidationError(
                "--wait-timeout: \"\(waitTimeout)\" is no duration; write 30s, 5m or 1h"
            )
        }
    }

    mutating func run() async throws {
        let settings = try options.load()
        let data = DataDirectory(settings.data)
        try data.create()
        let logs = try data.logs()
        var table = Table(
            [
                "file", "format", "lines", "bad_lines", "bytes", "already_imported_bytes",
                "unfinished_bytes", "log",
            ]
        )
        var imported: [LogID] = []
        var failures = 0
        for file in files {
            do {
                let outcome = try await importFile(file, settings, logs)
                imported += outcome.logs
                table.rows.append([
                    .text(file), .text(outcome.format.rawValue), .integer(Int64(outcome.lines)),
                    .integer(Int64(outcome.badLines)), .bytes(Int64(outcome.bytes)),
                    .bytes(Int64(outcome.knownBytes)), .bytes(Int64(outcome.unfinishedBytes)),
                    outcome.log.map { .text("\($0)") } ?? .none,
                ])
            } catch {
                Terminal.error("\(error)")
                failures += 1
            }
        }
        Terminal.show(table, output)
        if wait, !imported.isEmpty {
            let seconds = DurationText.seconds(waitTimeout) ?? 300
            try await ImportWait(settings: settings, data: data, logs: logs)
                .wait(for: imported, seconds: seconds)
        }
        guard failures == 0 else {
            throw CommandFailure.failed("\(failures) of \(files.count) files were not imported")
        }
    }

    private func importFile(
        _ file: String,
        _ settings: Settings,
        _ logs: LogDirectory
    ) async throws -> ImportOutcome {
        let request = ImportRequest(
            path: file,
            org: org,
            api: api,
            format: format,
            isForced: force,
            configuration: settings.logConfiguration()
        )
        let name = URL(fileURLWithPath: file).lastPathComponent
        let reading = ProgressBar("reading \(name)", total: nil, unit: .bytes)
        defer { reading.finish() }
        return try await blocking("import") {
            var appending: ProgressBar?
            defer { appending?.finish() }
            return try Importer(directory: logs).run(request) { progress in
                switch progress.phase {
                case .hashing: reading.update(Int(clamping: progress.bytes))
                case .appending:
                    let bar =
                        appending
                        ?? ProgressBar(
                            "importing \(name)",
                            total: progress.bytesTotal.map { Int(clamping: $0) },
                            unit: .bytes
                        )
                    appending = bar
                    bar.update(Int(clamping: progress.bytes))
                }
            }
        }
    }
}
