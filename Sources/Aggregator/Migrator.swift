package import Postgres

/// One numbered change of the database schema, compiled in from `schemas/postgres`.
package struct Migration: Sendable, Equatable {
    /// The number in the file's name.
    package let version: Int
    /// The rest of the file's name.
    package let name: String
    /// SHA-256 of the file, in lower-case hexadecimal.
    package let sha256: String
    /// The statements.
    package let sql: String

    /// Makes a migration; tests make their own.
    package init(version: Int, name: String, sha256: String, sql: String) {
        self.version = version
        self.name = name
        self.sha256 = sha256
        self.sql = sql
    }
}

/// Why a database cannot be brought to this version's schema.
package enum MigrationError: Error, Sendable, Equatable {
    /// The database has a migration that this binary does not know.
    case databaseNewer(version: Int, known: Int)
    /// A migration was edited after it had been applied.
    case edited(version: Int, name: String, applied: String, compiled: String)
    /// The database refused.
    case database(String)
}

extension MigrationError: CustomStringConvertible {
    /// What was attempted, what was wrong, what to do.
    package var description: String {
        switch self {
        case .databaseNewer(let version, let known):
            """
            the database has schema version \(version), this sluice knows only \(known); \
            use the newer sluice, or restore a backup of the older database
            """
        case .edited(let version, let name, let applied, let compiled):
            """
            migration \(version) "\(name)" was applied with SHA-256 \(applied), but this sluice \
            carries \(compiled); migrations are never edited once released: add another one
            """
        case .database(let text): "could not migrate the database: \(text)"
        }
    }
}

/// Brings a database to the schema of this version.
package struct Migrator: Sendable {
    let migrations: [Migration]

    /// A migrator that applies `migrations`, by default all that are compiled in.
    package init(_ migrations: [Migration] = Migration.all) {
        self.migrations = migrations
    }

    /// The advisory lock that serialises migrations; an arbitrary number ("sluice" in ASCII).
    private static let lock: Int64 = 0x73_6C75_6963_65

    /// Applies what is missing and returns it; safe in any number of processes at once.
    ///
    /// - Parameter uri: The database, as a libpq URI.
    /// - Returns: The migrations that this call applied, in order.
    /// - Throws: When the database is newer than this binary, was migrated with an edited file, or
    ///   refuses.
    package func migrate(_ uri: String) async throws(MigrationError) -> [Migration] {
        let client = PostgresClient(
            uri,
            options: PostgresConnectionOptions(applicationName: "sluice-migrate")
        )
        do {
            return try await client.run { connection in try migrate(connection) }
        } catch let error as MigrationError {
            throw error
        } catch {
            throw .database("\(error)")
        }
    }

    /// Applies what is missing and returns it. Blocks.
    ///
    /// - Parameter connection: A connection without open transaction.
    /// - Returns: The migrations that this call applied, in order.
    package func migrate(
        _ connection: PostgresConnection
    ) throws(MigrationError) -> [Migration] {
        var applied: [Migration] = []
        // Each migration in a transaction of its own; somebody else may apply the next one.
        while let migration = try step(connection) { applied.append(migration) }
        return applied
    }

    /// Applies the next migration that is missing; nil when none is.
    private func step(_ connection: PostgresConnection) throws(MigrationError) -> Migration? {
        func database(_ error: PostgresError) -> MigrationError { .database("\(error)") }
        return try connection.transaction(mapping: database) { () throws(MigrationError) in
            let known: [Int: (name: String, sha256: String)]
            do throws(PostgresError) {
                try connection.query("SELECT pg_advisory_xact_lock($1)", [.int(Self.lock)])
                known = try applied(connection)
            } catch { throw database(error) }
            try verify(known)
            guard let next = migrations.first(where: { known[$0.version] == nil }) else {
                return nil
            }
            do throws(PostgresError) {
                try connection.execute(next.sql)
                try connection.query(
                    "INSERT INTO sluice.migration (version, name, sha256) VALUES ($1, $2, $3)",
                    [.int(Int64(next.version)), .text(next.name), .text(next.sha256)]
                )
            } catch {
                throw .database("migration \(next.version) \"\(next.name)\": \(error)")
            }
            return next
        }
    }

    /// The migrations that the database has.
    private func applied(
        _ connection: PostgresConnection
    ) throws(PostgresError) -> [Int: (name: String, sha256: String)] {
        let table = try connection.query("SELECT to_regclass('sluice.migration') IS NOT NULL")
        guard table.rowCount == 1, table.bool(0, 0) == true else { return [:] }
        let rows = try connection.query("SELECT version, name, sha256 FROM sluice.migration")
        var applied: [Int: (name: String, sha256: String)] = [:]
        for row in 0..<rows.rowCount {
            guard let version = rows.int(row, 0) else { continue }
            applied[Int(version)] = (rows.text(row, 1) ?? "", rows.text(row, 2) ?? "")
        }
        return applied
    }

    /// Refuses a database that this binary must not touch.
    private func verify(_ applied: [Int: (name: String, sha256: String)]) throws(MigrationError) {
        let newest = migrations.last?.version ?? 0
        for (version, found) in applied.sorted(by: { $0.key < $1.key }) {
            guard let migration = migrations.first(where: { $0.version == version }) else {
                throw .databaseNewer(version: version, known: newest)
            }
            guard migration.sha256 == found.sha256 else {
                throw .edited(
                    version: version,
                    name: migration.name,
                    applied: found.sha256,
                    compiled: migration.sha256
                )
            }
        }
    }
}
