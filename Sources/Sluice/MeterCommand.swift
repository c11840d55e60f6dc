import Aggregator
import ArgumentParser
import Console
import Foundation
import Logging
import Query
import SluiceConfiguration
import Telemetry

/// `sluice meter`.
struct MeterCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "meter",
        abstract: "Quantities for bills: list meters, show and export closed periods, close now.",
        subcommands: [List.self, Show.self, Export.self, Close.self]
    )

    /// Which rows of a meter.
    struct Selection: ParsableArguments {
        @Option(
            parsing: .unconditional,
            help: "Periods that end after this: RFC 3339, a date, or relative as -90d."
        )
        var from: String?

        @Option(parsing: .unconditional, help: "Periods that begin before this.")
        var to: String?

        @Option(help: "IANA time zone of dates in --from and --to. Default: UTC.")
        var tz: String?

        /// The parameters of the query API.
        var parameters: [(String, String)] {
            [("from", from), ("to", to), ("tz", tz)].compactMap { name, value in
                value.map { (name, $0) }
            }
        }
    }

    /// `sluice meter ls`.
    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "ls",
            abstract: "List the meters and up to when they are closed.",
            discussion: """
                EXAMPLES:
                  sluice meter ls
                  sluice meter ls --format json
                """
        )

        @OptionGroup var options: ConfigurationOptions
        @OptionGroup var server: ServerOptions

        @Option(help: "Format of the list: table, json, csv or ndjson.")
        var format = OutputFormat.table

        mutating func run() async throws {
            let client = try server.resolve(options)
            let meters = try await MeterCommand.list(client)
            var table = Table([
                "name", "aggregate", "field", "filter", "unit", "period", "tz", "first_start",
                "closed_to",
            ])
            table.rows = meters.map { meter in
                func cell(_ text: String?) -> Cell { text.map(Cell.text) ?? .none }
                return [
                    .text(meter.name), .text(meter.aggregate), cell(meter.field),
                    cell(meter.filter?.joined(separator: " ")), .text(meter.unit),
                    .text(meter.period), .text(meter.tz), cell(meter.first_start),
                    cell(meter.closed_to),
                ]
            }
            Terminal.show(table, format)
        }
    }

    /// A meter as `/v1/meters` has it.
    struct Listed: Decodable {
        var name: String
        var aggregate: String
        var field: String?
        var filter: [String]?
        var unit: String
        var period: String
        var tz: String
        var first_start: String?
        var closed_to: String?
    }

    /// The meters that the token may see.
    fileprivate static func list(_ client: QueryClient) async throws -> [Listed] {
        struct Answer: Decodable { var meters: [Listed] }
        let body = try await client.get("/v1/meters", [])
        do {
            return try JSONDecoder().decode(Answer.self, from: Data(body.utf8)).meters
        } catch {
            throw CommandFailure.failed("the answer of /v1/meters cannot be read: \(error)")
        }
    }

    /// `sluice meter show`.
    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show what applications used in the closed periods of a meter.",
            discussion: """
                EXAMPLES:
                  sluice meter show api-calls
                  sluice meter show api-calls --from 2026-01-01 --tz Europe/Berlin
                  sluice meter show api-calls --revision all     every correction, too
                  sluice meter show api-calls --revision 1       as first billed
                """
        )

        @OptionGroup var options: ConfigurationOptions
        @OptionGroup var server: ServerOptions
        @OptionGroup var selection: Selection

        @Argument(help: "The meter.")
        var name: String

        @Option(help: "latest, all, or the number of a revision.")
        var revision = "latest"

        @Option(help: "Format of the answer: table, json, csv or ndjson.")
        var format = OutputFormat.table

        mutating func run() async throws {
            let client = try server.resolve(options)
            let form = format == .table ? "csv" : format.rawValue
            let answer = try await client.get(
                "/v1/meters/\(name)",
                selection.parameters + [("revision", revision), ("format", form)]
            )
            guard format == .table else {
                return Terminal.output(answer.hasSuffix("\n") ? answer : answer + "\n")
            }
            var lines = CSVReader.rows(answer)
            let header = lines.isEmpty ? [] : lines.removeFirst()
            guard !lines.isEmpty else {
                return Terminal.output("no rows: no period of these is closed, or all are empty\n")
            }
            let numbers: Set<String> = ["revision", "quantity", "correction"]
            Terminal.output(
                Table.aligned(
                    header,
                    lines.map { $0.map { $0.isEmpty ? "–" : $0 } },
                    numeric: header.map(numbers.contains),
                    inBold: Terminal.bold
                )
            )
        }
    }

    /// `sluice meter export`.
    struct Export: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Write closed periods as CSV for invoices, corrections included.",
            discussion: """
                One line per application, period and revision. The first revision has the quantity \
                of the period; further ones have the new quantity and what it adds.

                EXAMPLES:
                  sluice meter export > usage.csv                     all meters
                  sluice meter export api-calls --from 2026-01-01 --to 2026-02-01
                """
        )

        @OptionGroup var options: ConfigurationOptions
        @OptionGroup var server: ServerOptions
        @OptionGroup var selection: Selection

        @Argument(help: "The meters; all if none is named.")
        var names: [String] = []

        @Option(help: "all, latest, or the number of a revision.")
        var revision = "all"

        mutating func run() async throws {
            let client = try server.resolve(options)
            let chosen =
                names.isEmpty ? try await MeterCommand.list(client).map(\.name) : names
            // Everything is read before anything is written: no half of a bill.
            var text = ""
            for name in chosen {
                let answer = try await client.get(
                    "/v1/meters/\(name)",
                    selection.parameters + [("revision", revision), ("format", "csv")]
                )
                if text.isEmpty {
                    text = answer
                } else if let end = answer.firstIndex(where: \.isNewline) {
                    text += answer[answer.index(after: end)...]
                }
            }
            Terminal.output(text)
        }
    }

    /// `sluice meter close`.
    struct Close: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Close what is due and correct what has changed, now, as the server does.",
            discussion: """
                A period closes when everything is counted up to its end and the meter's grace. \
                Prints the revisions that were made; none if nothing was due.

                EXAMPLES:
                  sluice meter close
                  sluice meter close api-calls --format json
                """
        )

        @OptionGroup var options: ConfigurationOptions

        @Argument(help: "The meters; all if none is named.")
        var names: [String] = []

        @Option(help: "Format of the list: table, json, csv or ndjson.")
        var format = OutputFormat.table

        mutating func run() async throws {
            try LogSetup.bootstrap()
            let settings = try options.load()
            let meters = settings.meters.compactMap(\.meter)
            for name in names where !meters.contains(where: { $0.name == name }) {
                throw CommandFailure.usage("the configuration has no meter \"\(name)\"")
            }
            let chosen = names.isEmpty ? nil : Set(names)
            // What fails is told below, once.
            var quiet = Logger(label: "sluice.meters")
            quiet.logLevel = .critical
            let logger = quiet
            let pass = try await DatabaseAccess.with(settings) { uri in
                _ = try await Migrator().migrate(uri)
                return try await MeterCloser(
                    meters,
                    postgresURI: uri,
                    metrics: MetricsRegistry(),
                    logger: logger
                ).pass(chosen)
            }
            guard !pass.isBusy else {
                throw CommandFailure.failed("another process is closing meters at this moment")
            }
            var table = Table(["meter", "period_start", "period_end", "revision", "rows"])
            table.rows = pass.revisions.map { revision in
                [
                    .text(revision.meter), .time(revision.period.start * 1_000_000),
                    .time(revision.period.end * 1_000_000), .integer(revision.revision),
                    .integer(Int64(revision.rowCount)),
                ]
            }
            if format == .table, table.rows.isEmpty {
                Terminal.output("nothing was due\n")
            } else {
                Terminal.show(table, format)
            }
            if !pass.problems.isEmpty {
                throw CommandFailure.failed(pass.problems.joined(separator: "\n"))
            }
        }
    }
}
