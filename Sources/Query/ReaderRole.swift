package import Postgres

/// The role that the query API reads with: it owns nothing, may only read, and row-level security
/// shows it what a transaction's settings say (docs/decisions/0050-row-level-security.md).
package enum ReaderRole {
    /// Its name; migration 14 makes it.
    package static let name = "sluice_reader"
}

extension PostgresConnection {
    /// Begins a transaction that reads one snapshot and sees what `scope` may see; its end, by
    /// `rollback()`, is the caller's.
    ///
    /// Every statement of the query API that reads rollups, records or accounts is in one of these.
    package func beginReading(as scope: TokenScope) throws(QueryFailure) {
        // A token that is bound to nothing is refused in words.
        _ = try scope.filters
        do throws(PostgresError) {
            try begin(
                "ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL ROLE \(ReaderRole.name)"
            )
            try query(
                "SELECT sluice.enter($1::text, $2::text, $3::text)",
                [.text(scope.name), .init(scope.org), .init(scope.application)]
            )
        } catch {
            rollback()
            throw .database(error)
        }
    }
}
