import Threads

/// One connection on a thread of its own, made when first needed and again after it was lost.
///
/// Work is done one piece at a time in the order of the calls. Nothing is retried: a piece of work
/// that fails with `isConnectionLost` is the caller's to repeat after a look at what happened.
package actor PostgresClient {
    private let uri: String
    private let options: PostgresConnectionOptions
    private let executor: ThreadExecutor
    private let prepare: (@Sendable (PostgresConnection) throws -> Void)?
    private var connection: PostgresConnection?

    /// The thread that every blocking call runs on.
    package nonisolated var unownedExecutor: UnownedSerialExecutor {
        unsafe executor.asUnownedSerialExecutor()
    }

    /// Remembers where to connect; connects with the first piece of work.
    ///
    /// `prepare` is executed on every new connection before it is used, as `SET ROLE`.
    package init(
        _ uri: String,
        options: PostgresConnectionOptions = PostgresConnectionOptions(),
        prepare: (@Sendable (PostgresConnection) throws -> Void)? = nil
    ) {
        self.uri = uri
        self.options = options
        self.prepare = prepare
        self.executor = ThreadExecutor(name: "pg-client")
    }

    deinit { executor.shutdown() }

    /// Does `body` with a live connection on the client's thread, reconnecting first if needed.
    ///
    /// A transaction that `body` leaves open is rolled back. Not interrupted by cancellation.
    package func run<T: Sendable>(
        _ body: @Sendable (PostgresConnection) throws -> T
    ) async throws -> T {
        let connection = try connected()
        defer {
            connection.rollback()
            if !connection.isAlive { self.connection = nil }
        }
        return try body(connection)
    }

    /// Closes the connection; the next piece of work makes a new one.
    package func close() { connection = nil }

    private func connected() throws -> PostgresConnection {
        if let connection, connection.isAlive { return connection }
        connection = nil
        let fresh = try PostgresConnection(uri, options: options)
        try prepare?(fresh)
        connection = fresh
        return fresh
    }
}
