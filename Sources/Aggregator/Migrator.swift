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

    /// Applies what is missing and returns it; safe in any number of processes at once.
    ///
    /// - Parameter uri: The database, as a libpq URI.
    /// - Returns: The migrations that this call applied, in order.
    /// - Throws: When the database is newer than this binary, was migrated with an edited file, or
    ///   refuses.
    package func migrate(_ uri: String) async throws(MigrationError) -> [Migration] {
        []
    }
}
