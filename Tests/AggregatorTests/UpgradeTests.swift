import Aggregator
import Postgres
import PostgresTesting
import Records
import Rollups
import Testing

/// Databases of earlier versions get the rollups that came later.
@Suite("Upgrades", .timeLimit(.minutes(5)))
struct UpgradeTests {
    /// Since when a rollup is complete, microseconds since the epoch; nil from the beginning.
    private static func completeSince(
        _ name: String,
        _ connection: PostgresConnection
    ) throws -> Int64? {
        let found = try connection.query(
            "SELECT complete_since FROM sluice.rollup WHERE name = $1::text",
            [.text(name)]
        )
        try #require(found.rowCount == 1)
        return found.timestamp(0, 0)
    }

    @Test("rollups are installed as they are compiled, complete from the beginning")
    func fresh() async throws {
        try await TestDatabase.with { uri in
            _ = try await Migrator().migrate(uri)
            let connection = try PostgresConnection(uri, applicationName: "tests")
            let found = try connection.query(
                """
                SELECT array_to_string(dimensions, ','), array_to_string(tiers, ','),
                    complete_since IS NULL, name
                FROM sluice.rollup
                """
            )
            #expect(found.rowCount == RollupDefinition.builtIn.count)
            for row in 0..<found.rowCount {
                let name = found.text(row, 3)
                let definition = try #require(
                    RollupDefinition.builtIn.first { $0.name == name },
                    "\(name ?? "")"
                )
                let dimensions = definition.dimensions.map(\.name).joined(separator: ",")
                #expect(found.text(row, 0) == dimensions)
                #expect(
                    found.text(row, 1) == definition.tiers.map(\.rawValue).joined(separator: ",")
                )
                #expect(found.bool(row, 2) == true)
            }
        }
    }

    @Test("rollups added to a database in use are complete since the last bucket counted before")
    func used() async throws {
        try await TestDatabase.with { uri in
            let old = Migration.all.filter { $0.version < 3 }
            _ = try await Migrator(old).migrate(uri)
            let connection = try PostgresConnection(uri, applicationName: "tests")
            try connection.execute(
                """
                INSERT INTO sluice_g1.consumer_delta VALUES
                ('2026-01-02T03:15:00Z', 1, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0,
                    0, 0, 0, 0, 0, 0, 0, 0, '', '', '')
                """
            )
            _ = try await Migrator().migrate(uri)
            #expect(try Self.completeSince("consumer", connection) == nil)
            for definition in RollupDefinition.builtIn
            where ![.api, .consumer].contains(definition) {
                // 2026-01-02T03:30:00Z.
                #expect(
                    try Self.completeSince(definition.name, connection) == 1_767_324_600_000_000
                )
            }
        }
    }
}
