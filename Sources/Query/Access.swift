import Postgres
import Synchronization

/// Finds out what the bearer of a token may see and how often; remembers tokens for a short time.
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
    private let requests: RateLimiter
    private let attempts: RateLimiter

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
        requests = RateLimiter(perSecond: configuration.requestsPerSecondMax)
        attempts = RateLimiter(perSecond: configuration.attemptsPerSecondMax)
    }

    /// Lets one request in: its token is valid, and neither the token's requests nor the failed
    /// attempts from `address` are too many.
    func admit(authorization: String?, address: String?) async throws(Problem) -> StoredToken {
        let key = Self.attemptKey(address)
        // Who guesses is not let near the database; who is known already is not kept out by
        // somebody else behind the same address.
        if !isKnown(authorization), let wait = attempts.wait(key, now: now()) {
            throw .tooManyRequests("too many attempts without a valid token", wait)
        }
        let token: StoredToken
        do throws(Problem) {
            token = try await find(authorization)
        } catch {
            if error.kind == .unauthorized { _ = attempts.take(key, now: now()) }
            throw error
        }
        if let wait = requests.take(token.id, now: now()) {
            throw .tooManyRequests("this token has asked too often", wait)
        }
        return token
    }

    /// What the bearer may see, from the value of the `Authorization` header.
    package func scope(authorization: String?) async throws(Problem) -> TokenScope {
        try await find(authorization).scope
    }

    /// The valid token of an `Authorization` header.
    private func find(_ authorization: String?) async throws(Problem) -> StoredToken {
        guard authorization != nil else {
            throw Problem(.unauthorized, "send a token: Authorization: Bearer sluice_…")
        }
        guard let secret = Self.secret(authorization),
            let token = try await token(hash: TokenStore.hash(secret)), isValid(token)
        else { throw Self.invalid }
        return token
    }

    private func isValid(_ token: StoredToken) -> Bool {
        let time = now()
        return token.revokedAt == nil && !(token.expiresAt.map { $0 <= time } ?? false)
    }

    /// Whether the header's token was valid when it was last looked at.
    private func isKnown(_ authorization: String?) -> Bool {
        guard let secret = Self.secret(authorization) else { return false }
        let hash = TokenStore.hash(secret)
        return entries.withLock { $0[hash]?.token }.map(isValid) ?? false
    }

    /// The secret in a header, nil if it does not look like one of ours.
    private static func secret(_ authorization: String?) -> String? {
        let parts = (authorization ?? "").split(separator: " ", omittingEmptySubsequences: true)
        guard parts.count == 2, parts[0].lowercased() == "bearer",
            TokenStore.isWellFormed(parts[1])
        else { return nil }
        return String(parts[1])
    }

    /// Whose attempts are counted together: an IPv4 address, or a network of IPv6, whose
    /// addresses are too many to count.
    static func attemptKey(_ address: String?) -> String {
        guard let address else { return "" }
        guard address.contains(":") else { return address }
        // Four groups are the network; `::` stands for zeros, which may begin within them.
        let halves = address.split(separator: "::", maxSplits: 1, omittingEmptySubsequences: false)
        var groups = halves[0].split(separator: ":")
        if halves.count == 2 {
            let rest = halves[1].split(separator: ":")
            let zeros = max(0, 8 - groups.count - rest.count)
            groups += Array(repeating: "0", count: zeros) + rest
        }
        return groups.prefix(4).joined(separator: ":")
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
        let token = try await database.readPrimary { connection throws(QueryFailure) in
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

extension Problem {
    /// Too much was asked; `seconds` later there is room again.
    static func tooManyRequests(_ detail: String, _ seconds: Int) -> Problem {
        var problem = Problem(.tooManyRequests, "\(detail); try again in \(seconds) s")
        problem.retryAfterSeconds = seconds
        return problem
    }
}
