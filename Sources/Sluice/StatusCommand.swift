import Aggregator
import ArgumentParser
import Console
import Postgres
import Records
import SluiceConfiguration

/// `sluice status`.
struct StatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Show what runs, how far behind it is, and whether the ledger balances.",
        discussion: """
            EXAMPLES:
              sluice status
              sluice status --data /var/lib/sluice --format json
              sluice status --retire efbf7e2e-fa83-8f90-b6eb-5c9acf34b631
            """
    )

    @OptionGroup var options: ConfigurationOptions

    @Option(help: "Format of the report: table, json, csv or ndjson.")
    var format = OutputFormat.table

    @Option(
        help: "Do not wait for this log any more in complete_to: its node is gone for good.",
        transform: { text in
            guard let log = LogID(text) else {
                throw ValidationError("\"\(text)\" is no log id; `sluice status` shows them")
            }
            return log
        }
    )
    var retire: LogID?

    mutating func run() async throws {
        if let retire { return try await Self.retire(retire, try options.load()) }
        let report = try await StatusReport.make(try options.load())
        Terminal.output(report.text(format))
    }

    /// Takes a log out of the set that `complete_to` waits for.
    private static func retire(_ log: LogID, _ settings: Settings) async throws {
        try LogSetup.bootstrap()
        let outcome = try await DatabaseAccess.with(settings) { uri in
            try await blocking("status") {
                let connection = try PostgresConnection(uri, applicationName: "sluice status")
                return try LogCompleteness.retire(log, connection)
            }
        }
        switch outcome {
        case .retired:
            Terminal.output(
                "log \(log) is retired: complete_to does not wait for it; records of it that come "
                    + "later still count\n"
            )
        case .alreadyClosed:
            Terminal.output("log \(log) has ended or was retired before: nothing to do\n")
        case .unknown:
            throw CommandFailure.failed(
                "no aggregator has seen a log \(log); `sluice status` and /v1/ledger list them"
            )
        }
    }
}
