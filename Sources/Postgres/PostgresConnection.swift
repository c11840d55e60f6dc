import CLibpq
import Glibc

/// How a connection is made and kept.
package struct PostgresConnectionOptions: Sendable {
    /// Shown in `pg_stat_activity` and the server's log.
    package var applicationName: String
    /// Seconds after which connecting gives up; a `connect_timeout` in the URI takes precedence.
    package var connectTimeoutSeconds: Int
    /// Milliseconds after which the server cancels a statement; 0 is no limit.
    package var statementTimeoutMilliseconds: Int
    /// Called with each notice on the thread that uses the connection; nil discards them.
    package var onNotice: (@Sendable (String) -> Void)?

    /// Ten seconds to connect and no statement timeout, unless told otherwise.
    package init(
        applicationName: String = "sluice",
        connectTimeoutSeconds: Int = 10,
        statementTimeoutMilliseconds: Int = 0,
        onNotice: (@Sendable (String) -> Void)? = nil
    ) {
        self.applicationName = applicationName
        self.connectTimeoutSeconds = connectTimeoutSeconds
        self.statementTimeoutMilliseconds = statementTimeoutMilliseconds
        self.onNotice = onNotice
    }
}

/// One blocking connection to PostgreSQL; owned by one thread or actor, closed when it goes.
///
/// Every call blocks until the server answers, so it belongs on a thread of its own
/// (`PostgresClient`, `PostgresPool`), never on an event loop or the cooperative pool.
package final class PostgresConnection {
    private let handle: ConnectionHandle
    private let notices: NoticeReceiver

    /// Whether a statement, COPY or stream is under way that was not read to its end.
    private var isBusy = false

    /// Connects to `uri` (`postgres://…` or `key=value …`) and sets the session up: UTF-8, UTC.
    package init(
        _ uri: String,
        options: PostgresConnectionOptions = PostgresConnectionOptions()
    ) throws(PostgresError) {
        try Self.validate(uri)
        let connected = unsafe Self.connect(uri, options)
        guard let pointer = unsafe connected else {
            throw PostgresError(
                sqlState: "53200",
                call: "PQconnectdbParams",
                message: "could not connect to PostgreSQL: out of memory"
            )
        }
        handle = unsafe ConnectionHandle(owning: pointer)
        notices = NoticeReceiver(options.onNotice)
        unsafe handle.with { unsafe notices.install(on: $0) }
        guard unsafe handle.with({ unsafe PQstatus($0) }) == CONNECTION_OK else {
            throw PostgresError(
                call: "PQconnectdbParams",
                message: "could not connect to PostgreSQL: \(libpqMessage)",
                isConnectionLost: true
            )
        }
        try execute(
            """
            SET client_encoding = 'UTF8'; SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; \
            SET statement_timeout = \(max(0, options.statementTimeoutMilliseconds))
            """
        )
    }

    /// Connects with the default options.
    package convenience init(_ uri: String, applicationName: String) throws(PostgresError) {
        try self.init(uri, options: PostgresConnectionOptions(applicationName: applicationName))
    }

    /// Whether the connection was usable when it was last used; a server that died since is
    /// noticed by the next statement.
    package var isAlive: Bool { unsafe handle.with { unsafe PQstatus($0) } == CONNECTION_OK }

    /// The process id of the server's backend for this connection.
    package var backendPID: Int32 { unsafe handle.with { unsafe PQbackendPID($0) } }

    /// Blocks until the server closes the connection or `milliseconds` have passed, and says
    /// whether it was closed; for noticing the end of a server while nothing is asked of it.
    package func waitForClose(milliseconds: Int32) -> Bool {
        let descriptor = unsafe handle.with { unsafe PQsocket($0) }
        guard descriptor >= 0 else { return true }
        // Before it closes, a server says why; that alone is no end. Each round takes data, so the
        // rounds end.
        while true {
            var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            guard unsafe poll(&entry, 1, milliseconds) > 0 else { return false }
            if unsafe handle.with({ unsafe PQconsumeInput($0) }) == 0 || !isAlive { return true }
        }
    }

    /// Whether a transaction is open, failed or not.
    package var isInTransaction: Bool {
        let status = unsafe handle.with { unsafe PQtransactionStatus($0) }
        return status == PQTRANS_INTRANS || status == PQTRANS_INERROR || status == PQTRANS_ACTIVE
    }

    /// Executes one or more statements without parameters, separated by semicolons, in one
    /// implicit transaction; rows are discarded.
    package func execute(_ sql: String) throws(PostgresError) {
        try checkUsable(sql)
        let pointer = unsafe handle.with { connection in unsafe PQexec(connection, sql) }
        _ = try unsafe checked(pointer, call: "PQexec", statement: sql)
    }

    /// Executes one statement with parameters; results are binary.
    @discardableResult
    package func query(
        _ sql: String,
        _ parameters: [PostgresValue] = []
    ) throws(PostgresError) -> PostgresResult {
        try checkUsable(sql)
        let list = try ParameterList(parameters, statement: sql)
        let pointer = unsafe handle.with { connection in
            unsafe list.withPointers { values in
                unsafe PQexecParams(
                    connection,
                    sql,
                    list.count,
                    list.types,
                    values,
                    list.lengths,
                    list.formats,
                    1
                )
            }
        }
        return PostgresResult(
            ResultStorage(try unsafe checked(pointer, call: "PQexecParams", statement: sql))
        )
    }

    // MARK: Used by the extensions in this module

    /// Lends the connection to a libpq call; the pointer must not outlive `body`.
    func withConnection<T>(_ body: (OpaquePointer) -> T) -> T { unsafe handle.with(body) }

    /// Refuses statements while a stream is under way, and text that C would cut short.
    func checkUsable(_ sql: String) throws(PostgresError) {
        precondition(!isBusy, "the connection is inside a COPY or a stream of rows")
        if sql.utf8.contains(0) {
            throw PostgresError(
                sqlState: "22021",
                call: "PQexec",
                message: "the statement contains U+0000"
            )
        }
    }

    /// Marks the connection as streaming for the time of `body`.
    func whileBusy<T, Failure: Error>(_ body: () throws(Failure) -> T) throws(Failure) -> T {
        isBusy = true
        defer { isBusy = false }
        return try body()
    }

    /// Takes ownership of a result and turns a failed one into an error.
    func checked(
        _ pointer: OpaquePointer?,
        call: String,
        statement: String
    ) throws(PostgresError) -> ResultHandle {
        guard let pointer = unsafe pointer else {
            throw failure(call: call, statement: statement)
        }
        let result = unsafe ResultHandle(owning: pointer)
        let status = unsafe result.with { unsafe PQresultStatus($0) }
        switch status {
        case PGRES_COMMAND_OK, PGRES_TUPLES_OK, PGRES_SINGLE_TUPLE, PGRES_COPY_IN, PGRES_COPY_OUT,
            PGRES_COPY_BOTH:
            return result
        case PGRES_EMPTY_QUERY:
            return result
        default:
            throw PostgresError(
                result,
                call: call,
                statement: statement,
                isConnectionLost: !isAlive
            )
        }
    }

    /// The error of a call that gave no result: what libpq says of the connection.
    func failure(call: String, statement: String?) -> PostgresError {
        PostgresError(
            call: call,
            message: libpqMessage,
            statement: statement,
            isConnectionLost: !isAlive
        )
    }

    /// What libpq last said of the connection, without the trailing newline.
    private var libpqMessage: String {
        unsafe handle.with { connection in
            guard let text = unsafe PQerrorMessage(connection) else { return "unknown error" }
            let message = PostgresError.trimmed(unsafe String(cString: text))
            return message.isEmpty ? "unknown error" : message
        }
    }

    // MARK: Connecting

    /// Checks the connection string first: libpq would quote it, password included, in its error.
    private static func validate(_ uri: String) throws(PostgresError) {
        var message: UnsafeMutablePointer<CChar>?
        if let options = unsafe PQconninfoParse(uri, &message) {
            unsafe PQconninfoFree(options)
            return
        }
        var text = "out of memory"
        if let pointer = unsafe message {
            text = PostgresError.trimmed(unsafe String(cString: pointer))
            unsafe PQfreemem(pointer)
        }
        if let quote = text.firstIndex(of: "\"") { text = String(text[..<quote]) + "…" }
        throw PostgresError(
            call: "PQconninfoParse",
            message: "the connection string is malformed: \(text)",
            hint: "write postgres://user@host:port/database, special characters as %XX"
        )
    }

    private static func connect(
        _ uri: String,
        _ options: PostgresConnectionOptions
    ) -> OpaquePointer? {
        // Later entries win, so what the URI says overrides the defaults before it. A dead peer is
        // noticed within about 60 s + 3 × 10 s when idle, 30 s when data is unacknowledged.
        let settings: [(String, String)] = [
            ("connect_timeout", String(options.connectTimeoutSeconds)),
            ("keepalives_idle", "60"),
            ("keepalives_interval", "10"),
            ("keepalives_count", "3"),
            ("tcp_user_timeout", "30000"),
            ("fallback_application_name", options.applicationName),
            ("dbname", uri),
        ]
        var text: [[CChar]] = []
        for (keyword, value) in settings {
            text.append(Array(keyword.utf8CString))
            text.append(Array(value.utf8CString))
        }
        let flat = text.flatMap { $0 }
        return unsafe flat.withUnsafeBufferPointer { buffer in
            var keywords: [UnsafePointer<CChar>?] = unsafe []
            var values: [UnsafePointer<CChar>?] = unsafe []
            var start = 0
            for (index, string) in text.enumerated() {
                let pointer = unsafe buffer.baseAddress.map { unsafe $0 + start }
                if index % 2 == 0 {
                    unsafe keywords.append(pointer)
                } else {
                    unsafe values.append(pointer)
                }
                start += string.count
            }
            unsafe keywords.append(nil)
            unsafe values.append(nil)
            return unsafe PQconnectdbParams(keywords, values, 1)
        }
    }
}

extension PostgresError {
    /// Reads the fields of a failed result.
    init(
        _ result: borrowing ResultHandle,
        call: String,
        statement: String?,
        isConnectionLost: Bool
    ) {
        func field(_ code: Character) -> String? {
            guard let ascii = code.asciiValue else { return nil }
            return unsafe result.with { pointer in
                guard let text = unsafe PQresultErrorField(pointer, Int32(ascii)) else {
                    return nil
                }
                return unsafe String(cString: text)
            }
        }
        let whole = unsafe result.with { pointer in
            guard let text = unsafe PQresultErrorMessage(pointer) else { return "" }
            return unsafe Self.trimmed(String(cString: text))
        }
        let sqlState = field("C")
        self.init(
            sqlState: sqlState,
            call: call,
            message: field("M") ?? (whole.isEmpty ? "unknown error" : whole),
            detail: field("D"),
            hint: field("H"),
            constraint: field("n"),
            statement: statement,
            isConnectionLost: isConnectionLost
                || sqlState.map { $0.hasPrefix("08") || $0.hasPrefix("57P0") } ?? false
        )
    }

    /// `text` without trailing white space.
    static func trimmed(_ text: String) -> String {
        var text = text[...]
        while let last = text.last, last.isWhitespace { text.removeLast() }
        return String(text)
    }
}
