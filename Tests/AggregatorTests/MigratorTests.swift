import Aggregator
import Foundation
import Postgres
import PostgresTesting
import Testing

@Suite("Migrator")
struct MigratorTests {
    @Test("the compiled migrations are the files in schemas, with their SHA-256")
    func compiled() throws {
        let root = URL(fileURLWithPath: #filePath)
            .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        let folder = root.appendingPathComponent("schemas/postgres")
        let files = try FileManager.default.contentsOfDirectory(atPath: folder.path)
            .filter { $0.hasSuffix(".sql") }.sorted()
        #expect(files.count == Migration.all.count)
        for (file, migration) in zip(files, Migration.all) {
            let text = try String(contentsOf: folder.appendingPathComponent(file), encoding: .utf8)
            #expect(
                migration.sql + "\n" == text,
                "run scripts/generate-migrations.sh after editing"
            )
            let number =
                String(repeating: "0", count: 4 - String(migration.version).count)
                + String(migration.version)
            #expect(file == "\(number)_\(migration.name).sql")
        }
    }

    @Test("a fresh database gets all migrations once, and a second run has nothing to do")
    func fresh() async throws {
        try await TestDatabase.with { uri in
            let first = try await Migrator().migrate(uri)
            #expect(first == Migration.all)
            let second = try await Migrator().migrate(uri)
            #expect(second.isEmpty)
        }
    }

    @Test("processes that migrate at once apply each migration once")
    func concurrent() async throws {
        try await TestDatabase.with { uri in
            let applied = try await withThrowingTaskGroup(of: Int.self) { group in
                for _ in 0..<8 {
                    group.addTask { try await Migrator().migrate(uri).count }
                }
                return try await group.reduce(0, +)
            }
            #expect(applied == Migration.all.count)
        }
    }

    @Test("a database that is newer than the binary is refused")
    func newer() async throws {
        try await TestDatabase.with { uri in
            let future = Migration(
                version: 9_000,
                name: "future",
                sha256: "00",
                sql: "CREATE TABLE sluice.t ()"
            )
            _ = try await Migrator(Migration.all + [future]).migrate(uri)
            await #expect(
                throws: MigrationError.databaseNewer(
                    version: 9_000,
                    known: Migration.all.last?.version ?? 0
                )
            ) { try await Migrator().migrate(uri) }
        }
    }

    @Test("an edited migration is refused")
    func edited() async throws {
        try await TestDatabase.with { uri in
            _ = try await Migrator().migrate(uri)
            let first = try #require(Migration.all.first)
            let edited = Migration(
                version: first.version,
                name: first.name,
                sha256: "00",
                sql: first.sql
            )
            await #expect(
                throws: MigrationError.edited(
                    version: first.version,
                    name: first.name,
                    applied: first.sha256,
                    compiled: "00"
                )
            ) { try await Migrator([edited] + Migration.all.dropFirst()).migrate(uri) }
        }
    }

    @Test("a migration that fails leaves nothing behind")
    func failing() async throws {
        try await TestDatabase.with { uri in
            let broken = Migration(
                version: 9_000,
                name: "broken",
                sha256: "00",
                sql: "CREATE TABLE sluice.half (); SELECT 1 / 0"
            )
            await #expect(throws: MigrationError.self) {
                try await Migrator(Migration.all + [broken]).migrate(uri)
            }
            let repaired = try await Migrator().migrate(uri)
            #expect(repaired.isEmpty)
            let connection = try PostgresConnection(uri, applicationName: "tests")
            let found = try connection.query("SELECT to_regclass('sluice.half') IS NULL")
            #expect(found.bool(0, 0) == true)
        }
    }
}

/// What a database user needs that is no superuser and may not create roles.
@Suite("Migrator of a plain user")
struct PlainUserTests {
    @Test("a user who may not create roles is told the grant that is missing, and needs no more")
    func plainUser() async throws {
        let database = try TestDatabase()
        let role = "plain_\(database.name)"
        let superuser = try PostgresConnection(database.superuserURI, applicationName: "tests")
        // The role is the server's: made here if no other test has yet.
        try await TestDatabase.with { _ = try await Migrator().migrate($0) }
        try superuser.execute(
            """
            CREATE ROLE \(role) LOGIN;
            ALTER DATABASE \(database.name) OWNER TO \(role)
            """
        )
        defer {
            try? database.drop()
            try? superuser.execute("DROP ROLE IF EXISTS \(role)")
        }
        let connection = try PostgresConnection(database.superuserURI, applicationName: "plain")
        try connection.execute("SET SESSION AUTHORIZATION \(role)")
        do {
            _ = try Migrator().migrate(connection)
            Issue.record("migrated without the grant")
        } catch {
            let text = "\(error)"
            #expect(text.contains("migration 14 \"access\""), "\(text)")
            #expect(text.contains("GRANT sluice_reader TO \(role);"), "\(text)")
        }
        try superuser.execute("GRANT sluice_reader TO \(role)")
        let rest = try Migrator().migrate(connection)
        #expect(rest.first?.version == 14)
        try connection.execute(
            """
            BEGIN;
            SET LOCAL ROLE sluice_reader;
            SELECT sluice.enter('org', 'acme', NULL);
            SELECT * FROM sluice_g1.api_delta;
            ROLLBACK
            """
        )
        // COPY is what the fold does, and what FORCE ROW LEVEL SECURITY would refuse.
        try connection.copyIn("COPY sluice_g1.api_delta FROM STDIN (FORMAT binary)") { _ in }
    }
}
