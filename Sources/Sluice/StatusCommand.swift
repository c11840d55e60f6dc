import ArgumentParser
import Console

/// `sluice status`.
struct StatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Show what runs, how far behind it is, and whether the ledger balances.",
        discussion: """
            EXAMPLES:
              sluice status
              sluice status --data /var/lib/sluice --format json
            """
    )

    @OptionGroup var options: ConfigurationOptions

    @Option(help: "Format of the report: table, json, csv or ndjson.")
    var format = OutputFormat.table

    mutating func run() async throws {
        let report = try await StatusReport.make(try options.load())
        Terminal.output(report.text(format))
    }
}
