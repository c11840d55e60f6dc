import ArgumentParser
import Console
import SluiceConfiguration

/// `sluice sink`.
struct SinkCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sink",
        abstract: "Destinations of the pump: which kinds this binary knows, which are configured.",
        subcommands: [List.self]
    )

    /// `sluice sink ls`.
    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "ls",
            abstract: "List the kinds of sinks, and the sinks of the configuration.",
            discussion: """
                EXAMPLES:
                  sluice sink ls
                  sluice sink ls --config sluice.yaml --format json
                """
        )

        @OptionGroup var options: ConfigurationOptions

        @Option(help: "Format of the list: table, json, csv or ndjson.")
        var format = OutputFormat.table

        /// What this binary can deliver to, and what its receiver may rely on.
        private static let kinds: [(type: String, delivery: String, purpose: String)] = [
            (
                "kafka", "at least once, with identity",
                "the topic of `kafka`, which aggregators and others read"
            ),
            ("file", "exactly once", "files of a directory, one record per line"),
        ]

        mutating func run() async throws {
            let sinks = try options.load().pump.sinks
            var table = Table(["type", "delivery", "purpose", "configured"])
            table.rows = Self.kinds.map { kind in
                let names = sinks.filter { $0.kind.name == kind.type }.map(\.name)
                return [
                    .text(kind.type), .text(kind.delivery), .text(kind.purpose),
                    names.isEmpty ? .none : .text(names.joined(separator: ", ")),
                ]
            }
            Terminal.show(table, format)
        }
    }
}
