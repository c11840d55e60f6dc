import Crypto
import Postgres
import Rollups

/// What a bearer token may see.
package enum TokenScope: Equatable, Sendable {
    /// Everything.
    case admin

    /// One organisation: the dashboard of its operators.
    case org(String)

    /// One application of one organisation: its own usage only.
    case application(org: String, application: String)

    /// The word for it in the database and on the command line.
    package var name: String {
        switch self {
        case .admin: "admin"
        case .org: "org"
        case .application: "application"
        }
    }

    /// The organisation that it is bound to, if any.
    package var org: String? {
        switch self {
        case .admin: nil
        case .org(let org), .application(let org, _): org
        }
    }

    /// The application that it is bound to, if any.
    package var application: String? {
        if case .application(_, let application) = self { application } else { nil }
    }
}

/// A token of the query API as listed; the secret itself is never stored.
package struct StoredToken: Equatable, Sendable {
    /// Public identifier, for listing and revoking.
    package var id: String

    /// What it may see.
    package var scope: TokenScope

    /// Free text given at creation.
    package var description: String?

    /// Creation time, microseconds since the Unix epoch.
    package var createdAt: Int64

    /// End of validity, microseconds since the Unix epoch; none if nil.
    package var expiresAt: Int64?

    /// When it was revoked; nil while it is valid.
    package var revokedAt: Int64?

    /// When it was last used, to the minute, microseconds since the Unix epoch; nil if never.
    package var lastUsedAt: Int64?
}

/// Why tokens could not be stored or read.
package enum TokenStoreError: Error, Equatable, Sendable {
    /// The database refused or could not be reached; the text is the database's own.
    case database(String)

    /// There is no token with this id.
    case unknownToken(String)

    /// The scope names no organisation or application that a token may be bound to.
    case invalidScope(String)
}

extension TokenStoreError: CustomStringConvertible {
    /// What happened, for the command line.
    package var description: String {
        switch self {
        case .database(let message): "could not use the database: \(message)"
        case .unknownToken(let id): "there is no token \"\(id)\""
        case .invalidScope(let reason): reason
        }
    }
}

/// Creates, lists and revokes the bearer tokens of the query API.
package struct TokenStore: Sendable {
    /// What every secret starts with, so that scanners for leaked secrets can know it.
    package static let secretPrefix = "sluice_"

    private let client: PostgresClient

    /// A store over the database at `postgresURI`, with one connection made when first needed.
    package init(postgresURI: String) {
        client = PostgresClient(
            postgresURI,
            options: PostgresConnectionOptions(applicationName: "sluice tokens")
        )
    }

    /// Stores a new token and returns its secret (`sluice_…`), which is never shown again.
    package func create(
        scope: TokenScope,
        description: String? = nil,
        expiresAt: Int64? = nil
    ) async throws(TokenStoreError) -> (secret: String, token: StoredToken) {
        for name in [scope.org, scope.application].compactMap({ $0 }) {
            guard !name.isEmpty, name != Dimension.otherValue, !name.utf8.contains(0) else {
                throw .invalidScope(
                    "\"\(name)\" cannot be the name of an organisation or application"
                )
            }
        }
        let secret = Self.secretPrefix + Self.base64URL(Self.random(byteCount: 32))
        let id = Self.random(byteCount: 6).map { Self.hexadecimal($0) }.joined()
        let token = try await run { connection throws(PostgresError) in
            let result = try connection.query(
                """
                INSERT INTO sluice.token
                  (id, secret_hash, scope, org, application, description, expires_at)
                VALUES ($1::text, $2, $3::text, $4::text, $5::text, $6::text, $7)
                RETURNING \(Self.columns)
                """,
                [
                    .text(id), .bytes(Self.hash(secret)), .text(scope.name), .init(scope.org),
                    .init(scope.application), .init(description),
                    expiresAt.map { .timestamp($0) } ?? .null,
                ]
            )
            return Self.token(result, 0)
        }
        guard let token else { throw .database("the new token cannot be read back") }
        return (secret, token)
    }

    /// All tokens, revoked ones included, oldest first.
    package func list() async throws(TokenStoreError) -> [StoredToken] {
        try await run { connection throws(PostgresError) in
            let result = try connection.query(
                "SELECT \(Self.columns) FROM sluice.token ORDER BY created_at, id"
            )
            return (0..<result.rowCount).compactMap { Self.token(result, $0) }
        }
    }

    /// Ends the validity of the token `id`; servers notice within seconds. Revoking twice keeps the
    /// first time.
    package func revoke(id: String) async throws(TokenStoreError) {
        let found = try await run { connection throws(PostgresError) in
            try connection.query(
                """
                UPDATE sluice.token SET revoked_at = coalesce(revoked_at, now())
                WHERE id = $1::text
                """,
                [.text(id)]
            ).affectedRows
        }
        guard found == 1 else { throw .unknownToken(id) }
    }

    /// Uses of the token `id`, or of all, since `since`, latest first, at most `limit`.
    package func uses(
        of id: String? = nil,
        since: Int64,
        limit: Int
    ) async throws(TokenStoreError) -> [TokenUse] {
        try await run { connection throws(PostgresError) in
            let result = try connection.query(
                """
                SELECT used_at, token_id, address, method, path, question, status::int8, duration_us
                FROM sluice.token_use
                WHERE used_at >= $1 AND ($2::text IS NULL OR token_id = $2::text)
                ORDER BY used_at DESC, id DESC LIMIT $3
                """,
                [.timestamp(since), .init(id), .int(Int64(limit))]
            )
            return (0..<result.rowCount).map { row in
                TokenUse(
                    usedAt: result.timestamp(row, 0) ?? 0,
                    tokenID: result.text(row, 1) ?? "",
                    address: result.text(row, 2),
                    method: result.text(row, 3) ?? "",
                    path: result.text(row, 4) ?? "",
                    question: result.text(row, 5),
                    status: Int(result.int(row, 6) ?? 0),
                    microseconds: result.int(row, 7) ?? 0
                )
            }
        }
    }

    /// True if some admin token is valid, so that the first start need not make one.
    package func hasAdminToken() async throws(TokenStoreError) -> Bool {
        try await run { connection throws(PostgresError) in
            try connection.query(
                """
                SELECT FROM sluice.token WHERE scope = 'admin' AND revoked_at IS NULL
                  AND (expires_at IS NULL OR expires_at > now()) LIMIT 1
                """
            ).rowCount > 0
        }
    }

    /// The token whose secret has the SHA-256 `hash`, valid or not.
    static func find(
        hash: [UInt8],
        _ connection: PostgresConnection
    ) throws(PostgresError) -> StoredToken? {
        let result = try connection.query(
            "SELECT \(columns) FROM sluice.find_token($1)",
            [.bytes(hash)]
        )
        return result.rowCount == 1 ? token(result, 0) : nil
    }

    /// SHA-256 of a secret: all that is stored. A slow hash would add nothing to 256 random bits.
    static func hash(_ secret: String) -> [UInt8] { Array(SHA256.hash(data: Array(secret.utf8))) }

    /// Whether `text` looks like one of our secrets, so that others cost no database query.
    static func isWellFormed(_ text: some StringProtocol) -> Bool {
        guard text.hasPrefix(secretPrefix), text.utf8.count == secretPrefix.utf8.count + 43 else {
            return false
        }
        return text.utf8.dropFirst(secretPrefix.utf8.count).allSatisfy { alphabet.contains($0) }
    }

    private static let columns =
        "id, scope, org, application, description, created_at, expires_at, revoked_at, "
        + "last_used_at"

    private static func token(_ result: PostgresResult, _ row: Int) -> StoredToken? {
        guard let id = result.text(row, 0), let word = result.text(row, 1),
            let createdAt = result.timestamp(row, 5)
        else { return nil }
        let org = result.text(row, 2)
        let application = result.text(row, 3)
        let scope: TokenScope
        switch (word, org, application) {
        case ("admin", _, _): scope = .admin
        case ("org", let org?, nil): scope = .org(org)
        case ("application", let org?, let application?):
            scope = .application(org: org, application: application)
        default: return nil
        }
        return StoredToken(
            id: id,
            scope: scope,
            description: result.text(row, 4),
            createdAt: createdAt,
            expiresAt: result.timestamp(row, 6),
            revokedAt: result.timestamp(row, 7),
            lastUsedAt: result.timestamp(row, 8)
        )
    }

    private func run<T: Sendable>(
        _ body: @Sendable (PostgresConnection) throws(PostgresError) -> T
    ) async throws(TokenStoreError) -> T {
        do {
            return try await client.run { connection in try body(connection) }
        } catch let error as PostgresError {
            throw .database(error.message)
        } catch {
            throw .database("\(error)")
        }
    }

    /// Bytes of the operating system's generator of secrets.
    private static func random(byteCount: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        var generator = SystemRandomNumberGenerator()
        while bytes.count < byteCount { bytes.append(UInt8.random(in: 0...255, using: &generator)) }
        return bytes
    }

    private static let alphabet = Array(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8
    )

    /// RFC 4648 section 5, without padding.
    private static func base64URL(_ bytes: [UInt8]) -> String {
        var text: [UInt8] = []
        var bits = 0
        var bitCount = 0
        for byte in bytes {
            bits = bits << 8 | Int(byte)
            bitCount += 8
            while bitCount >= 6 {
                bitCount -= 6
                text.append(alphabet[bits >> bitCount & 63])
            }
            bits &= 63
        }
        if bitCount > 0 { text.append(alphabet[bits << (6 - bitCount) & 63]) }
        return String(decoding: text, as: UTF8.self)
    }

    private static func hexadecimal(_ byte: UInt8) -> String {
        let digits = String(byte, radix: 16)
        return byte < 16 ? "0" + digits : digits
    }
}

extension PostgresValue {
    /// A text, or NULL.
    init(_ text: String?) { self = text.map { .text($0) } ?? .null }
}
