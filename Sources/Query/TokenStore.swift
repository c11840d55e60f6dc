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
}

/// Why tokens could not be stored or read.
package enum TokenStoreError: Error, Equatable, Sendable {
    /// The database refused or could not be reached; the text is the database's own.
    case database(String)

    /// There is no token with this id.
    case unknownToken(String)
}

/// Creates, lists and revokes the bearer tokens of the query API.
package struct TokenStore: Sendable {
    private let postgresURI: String

    /// A store over the database at `postgresURI`; each call uses a connection of its own.
    package init(postgresURI: String) {
        self.postgresURI = postgresURI
    }

    /// Stores a new token and returns its secret (`sluice_…`), which is never shown again.
    package func create(
        scope: TokenScope,
        description: String? = nil,
        expiresAt: Int64? = nil
    ) async throws(TokenStoreError) -> (secret: String, token: StoredToken) {
        throw .database("not implemented")
    }

    /// All tokens, revoked ones included, oldest first.
    package func list() async throws(TokenStoreError) -> [StoredToken] { [] }

    /// Ends the validity of the token `id`; servers notice within seconds.
    package func revoke(id: String) async throws(TokenStoreError) {
        throw .unknownToken(id)
    }

    /// True if some admin token is valid, so that the first start need not make one.
    package func hasAdminToken() async throws(TokenStoreError) -> Bool { false }
}
