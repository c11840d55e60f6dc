import Aggregator
import ArgumentParser
import Console

/// `sluice migrate`.
struct MigrateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "migrate",
        abstract:
            "Apply schema migrations to the database, and add the rollups of the configuration.",
        discussion: """
            Server commands do this by themselves; use it to migrate before a new version starts.

            EXAMPLES:
              sluice migrate --config sluice.yaml
            """
    )

    @OptionGroup var options: ConfigurationOptions

    @Option(help: "Format of the list: table, json, csv or ndjson.")
    var format = OutputFormat.table

    mutating func run() async throws {
        try LogSetup.bootstrap()
        let settings = try options.load()
        let (applied, added) = try await DatabaseAccess.with(settings) { uri in
            (try await Migrator().migrate(uri), try await RollupAccess.register(settings, uri))
        }
        if format == .table, applied.isEmpty {
            let known = Migration.all.map(\.version).max() ?? 0
            Terminal.output("the database is up to date: schema version \(known)\n")
            for name in added { Terminal.output("added the rollup \(name)\n") }
            return
        }
        var table = Table(["version", "name", "sha256"])
        table.rows = applied.map { migration in
            [
                .integer(Int64(migration.version)), .text(migration.name),
                .text(format == .table ? String(migration.sha256.prefix(12)) : migration.sha256),
            ]
        }
        Terminal.show(table, format)
    }
}
