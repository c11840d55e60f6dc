import Aggregator
import ArgumentParser
import Console
import Rollups
import SluiceConfiguration

/// `sluice rollup`.
struct RollupCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rollup",
        abstract: "Rollups: the built-in ones and your own: list, add, drop.",
        subcommands: [List.self, Add.self, Drop.self]
    )

    /// `sluice rollup ls`.
    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "ls",
            abstract: "List the rollups that the database has.",
            discussion: """
                EXAMPLES:
                  sluice rollup ls
                  sluice rollup ls --format json
                """
        )

        @OptionGroup var options: ConfigurationOptions

        @Option(help: "Format of the list: table, json, csv or ndjson.")
        var format = OutputFormat.table

        mutating func run() async throws {
            try LogSetup.bootstrap()
            let settings = try options.load()
            let rollups = try await DatabaseAccess.with(settings) { uri in
                _ = try await Migrator().migrate(uri)
                return try await RollupAccess.with(uri) { try $0.list() }
            }
            let configured = Set(settings.rollups.map(\.definition.name))
            var table = Table(["name", "dimensions", "tiers", "complete_since", "defined"])
            table.rows = rollups.map { rollup in
                let definition = rollup.definition
                let tiers = definition.tiers.map { tier in
                    let kept = rollup.retain[tier].map { " for \(DurationText.text($0))" } ?? ""
                    return tier.rawValue + kept
                }
                return [
                    .text(definition.name),
                    .text(definition.dimensions.map(\.name).joined(separator: ",")),
                    .text(tiers.joined(separator: ", ")),
                    rollup.completeSince.map(Cell.time) ?? .none,
                    .text(
                        rollup.isBuiltIn
                            ? "built in"
                            : configured.contains(definition.name)
                                ? "configuration" : "database only"
                    ),
                ]
            }
            Terminal.show(table, format)
        }
    }

    /// `sluice rollup add`.
    struct Add: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Define a rollup in the database; aggregators fill it from now on.",
            discussion: """
                The same as listing it under `rollups` in the configuration and starting an
                aggregator. `sluice replay --rollups` fills its history.

                EXAMPLES:
                  sluice rollup add by-tag --dimensions org,api,tag.tenant
                  sluice rollup add by-country --dimensions org,country --tiers 1h,1d
                """
        )

        @OptionGroup var options: ConfigurationOptions

        @Argument(help: "Name: a small letter, then small letters, digits, - and _.")
        var name: String

        @Option(help: "Dimensions, with commas between them; tag.NAME is the value of a tag.")
        var dimensions: String

        @Option(help: "Tiers, with commas between them: 1m, 15m, 1h, 1d.")
        var tiers = "1m,15m,1d"

        mutating func validate() throws { _ = try definition() }

        mutating func run() async throws {
            try LogSetup.bootstrap()
            let settings = try options.load()
            let definition = try definition()
            let isNew = try await DatabaseAccess.with(settings) { uri in
                _ = try await Migrator().migrate(uri)
                return try await RollupAccess.with(uri) { try $0.add(definition) }
            }
            Terminal.output(
                isNew
                    ? "added; to keep it in the configuration: \(Self.yaml(definition))\n"
                        + "its history: sluice replay --rollups\n"
                    : "it is there already\n"
            )
        }

        private func definition() throws -> RollupDefinition {
            func list(_ text: String) -> [String] {
                text.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
            }
            let (definition, problems) = RollupDefinition.read(
                user: name,
                dimensions: list(dimensions),
                tiers: list(tiers)
            )
            guard let definition else {
                throw ValidationError(
                    problems.map(\.description).joined(separator: "\n")
                )
            }
            return definition
        }

        private static func yaml(_ definition: RollupDefinition) -> String {
            let dimensions = definition.dimensions.map(\.name).joined(separator: ", ")
            let tiers = definition.tiers.map(\.rawValue).joined(separator: ", ")
            return "rollups: [{ name: \(definition.name), dimensions: [\(dimensions)], "
                + "tiers: [\(tiers)] }]"
        }
    }

    /// `sluice rollup drop`.
    struct Drop: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Drop a rollup of your own with everything that it has counted; asks first.",
            discussion: """
                Take it out of the configuration before, or the next start adds it again.

                EXAMPLES:
                  sluice rollup drop by-tag
                  sluice rollup drop by-tag --yes
                """
        )

        @OptionGroup var options: ConfigurationOptions

        @Argument(help: "Name, as `rollup ls` shows it.")
        var name: String

        @Flag(help: "Do not ask.")
        var yes = false

        mutating func run() async throws {
            try LogSetup.bootstrap()
            let settings = try options.load()
            let name = name
            if settings.rollups.contains(where: { $0.definition.name == name }) {
                throw CommandFailure.failed(
                    "rollup \(name) is in the configuration, so the next start would add it again; "
                        + "take it out there first"
                )
            }
            let mayAsk = !yes
            try await DatabaseAccess.with(settings) { uri in
                _ = try await Migrator().migrate(uri)
                let all = try await RollupAccess.with(uri) { try $0.list() }
                guard let rollup = all.first(where: { $0.definition.name == name }) else {
                    throw CommandFailure.failed("\(RollupRegistryError.unknown(name))")
                }
                guard !rollup.isBuiltIn else {
                    throw CommandFailure.failed("\(RollupRegistryError.builtIn(name))")
                }
                if mayAsk { try Self.ask(name) }
                try await RollupAccess.with(uri) { try $0.drop(name) }
            }
            Terminal.output("dropped the rollup \(name)\n")
        }

        /// Asks on the terminal whether to go on.
        private static func ask(_ name: String) throws {
            guard Terminal.hasError else {
                throw CommandFailure.usage(
                    "nobody can be asked here: say --yes to drop rollup \(name)"
                )
            }
            Terminal.write(
                "Everything that rollup \(name) has counted is dropped. Go on? [y/N] "
            )
            guard let answer = readLine(), ["y", "yes"].contains(answer.lowercased()) else {
                throw CommandFailure.failed("nothing was dropped")
            }
        }
    }
}
