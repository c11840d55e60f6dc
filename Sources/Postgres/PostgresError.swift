/// Why a call to PostgreSQL failed, with everything the server and libpq said about it.
///
/// Parameters of the statement are never kept: they may be personal or secret.
package struct PostgresError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The five-character SQLSTATE; nil when the failure arose in the client or on the network.
    package var sqlState: String?
    /// The libpq function that failed, as `PQexecParams`; or the method of this module.
    package var call: String
    /// The primary message, without trailing newline.
    package var message: String
    /// The server's detail line, when it gave one.
    package var detail: String?
    /// The server's hint, when it gave one.
    package var hint: String?
    /// The constraint that was violated, when the server named one.
    package var constraint: String?
    /// The statement with its parameters as `$1`, `$2`; nil when none was being executed.
    package var statement: String?
    /// Whether the connection is gone, so that what was in flight may or may not have happened.
    package var isConnectionLost: Bool

    /// Describes a failure; the client's own failures have no SQLSTATE.
    package init(
        sqlState: String? = nil,
        call: String,
        message: String,
        detail: String? = nil,
        hint: String? = nil,
        constraint: String? = nil,
        statement: String? = nil,
        isConnectionLost: Bool = false
    ) {
        self.sqlState = sqlState
        self.call = call
        self.message = message
        self.detail = detail
        self.hint = hint
        self.constraint = constraint
        self.statement = statement
        self.isConnectionLost = isConnectionLost
    }

    /// Whether the same work may succeed later, after a backoff and a reload of what it depends on.
    ///
    /// Serialisation failures, deadlocks, lost or refused connections, a server that is starting or
    /// stopping, and too many connections. A transaction whose COMMIT was in flight when the
    /// connection went may have been committed: look before doing it again.
    package var isRetriable: Bool {
        if isConnectionLost { return true }
        guard let sqlState else { return false }
        return sqlState == "40001" || sqlState == "40P01" || sqlState == "53300"
            || isLockTimeout || sqlState.hasPrefix("08") || sqlState.hasPrefix("57P0")
    }

    /// Whether a lock was waited for longer than `lock_timeout` (55P03).
    package var isLockTimeout: Bool { sqlState == "55P03" }

    /// Whether a table or schema is not there (42P01, 3F000).
    package var isUndefinedTable: Bool { sqlState == "42P01" || sqlState == "3F000" }

    /// Whether a unique or exclusion constraint was violated (23505, 23P01).
    package var isUniqueViolation: Bool { sqlState == "23505" || sqlState == "23P01" }

    /// One paragraph for a log line: message, detail, hint, SQLSTATE, call and statement.
    package var description: String {
        var text = message
        if let detail { text += "; \(detail)" }
        if let hint { text += "; hint: \(hint)" }
        text += " ("
        if let sqlState { text += "SQLSTATE \(sqlState), " }
        text += "\(call))"
        if let statement { text += " in: \(Self.shortened(statement))" }
        return text
    }

    /// Longest statement text in a description; chosen: enough to recognise the statement.
    private static let statementCharactersMax = 300

    private static func shortened(_ statement: String) -> String {
        let prefix = statement.prefix(statementCharactersMax)
        return prefix.endIndex == statement.endIndex ? statement : prefix + "…"
    }
}
