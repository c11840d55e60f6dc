import Postgres
import Synchronization

/// Finds out what the bearer of a token may see; remembers tokens for a short time.
package final class Access: Sendable {
    /// What the database said of one secret.
    private struct Entry {
        /// The token, nil if there is none with this secret.
        var token: StoredToken?
        /// When it was read, microseconds since the Unix epoch.
        var readAt: Int64
    }

    /// Entries by SHA-256 of the secret. Owner: the lock.
    private let entries = Mutex<[[UInt8]: Entry]>([:])
    private let database: Database
    private let lifetimeMicroseconds: Int64
    private let entriesMax: Int
    private let now: @Sendable () -> Int64

    /// Reads tokens through `database`.
    package init(
        _ configuration: QueryConfiguration,
        database: Database,
        now: @escaping @Sendable () -> Int64
    ) {
        self.database = database
        lifetimeMicroseconds = Int64(configuration.tokenCacheMilliseconds) * 1_000
        entriesMax = configuration.tokenCacheMax
        self.now = now
    }

    /// What the bearer may see, from the value of the `Authorization` header.
    package func scope(authorization: String?) async throws(Problem) -> TokenScope {
        guard let authorization else {
            throw Problem(.unauthorized, "send a token: Authorization: Bearer sluice_…")
        }
        let parts = authorization.split(separator: " ", omittingEmptySubsequences: true)
        guard parts.count == 2, parts[0].lowercased() == "bearer",
            TokenStore.isWellFormed(parts[1])
        else { throw Self.invalid }
        guard let token = try await token(hash: TokenStore.hash(String(parts[1]))) else {
            throw Self.invalid
        }
        let time = now()
        if token.revokedAt != nil || token.expiresAt.map({ $0 <= time }) ?? false {
            throw Self.invalid
        }
        return token.scope
    }

    /// The same words for every wrong token, so that nobody learns which ones exist.
    private static let invalid = Problem(
        .unauthorized,
        "this token is not valid; make one with sluice token create"
    )

    private func token(hash: [UInt8]) async throws(Problem) -> StoredToken? {
        let time = now()
        let known = entries.withLock { $0[hash] }
        // A clock that was set back must not keep an entry alive.
        if let known, time >= known.readAt, time - known.readAt < lifetimeMicroseconds {
            return known.token
        }
        let token = try await database.read { connection throws(QueryFailure) in
            do throws(PostgresError) {
                return try TokenStore.find(hash: hash, connection)
            } catch { throw .database(error) }
        }
        entries.withLock { entries in
            if entries.count >= entriesMax { entries.removeAll(keepingCapacity: true) }
            entries[hash] = Entry(token: token, readAt: time)
        }
        return token
    }
}
