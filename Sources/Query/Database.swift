package import Logging
package import Postgres
package import Telemetry

/// The query API's access to PostgreSQL: bounded connections, and failures put into words.
package struct Database: Sendable {
    private let pool: PostgresPool
    private let exports: PostgresPool
    private let replicas: ReplicaSet
    private let logger: Logger

    /// A database with at most `poolSize` connections, made when first needed, and as many to each
    /// replica.
    package init(
        _ configuration: QueryConfiguration,
        metrics: MetricsRegistry,
        logger: Logger
    ) {
        func makePool(
            _ size: Int,
            _ waiters: Int,
            _ timeout: Int,
            uri: String? = nil
        ) -> PostgresPool {
            PostgresPool(
                uri ?? configuration.postgresURI,
                size: size,
                waitersMax: waiters,
                options: PostgresConnectionOptions(
                    applicationName: "sluice query",
                    connectTimeoutSeconds: 5,
                    statementTimeoutMilliseconds: timeout
                )
            ) { connection in
                // Compiling expressions takes longer than the short questions that we ask; merging
                // a quarter's histograms spills to disk with the default of 4 MB (1.7 s, 260,000
                // rows).
                // The role is the session's too: what reads outside a transaction with a scope sees
                // no rows of anybody.
                try connection.execute(
                    "SET jit = off; SET work_mem = '32MB'; SET ROLE \(ReaderRole.name)"
                )
            }
        }
        pool = makePool(
            configuration.poolSize,
            configuration.poolWaitersMax,
            configuration.statementTimeoutMilliseconds
        )
        exports = makePool(
            configuration.exportsMax,
            configuration.exportsMax,
            configuration.exportTimeoutMilliseconds
        )
        replicas = ReplicaSet(
            configuration.replicaURIs.enumerated().map { index, uri in
                Replica(
                    uri,
                    number: index + 1,
                    pool: makePool(
                        configuration.poolSize,
                        configuration.poolWaitersMax,
                        configuration.statementTimeoutMilliseconds,
                        uri: uri
                    ),
                    metrics: metrics
                )
            },
            primary: configuration.postgresURI,
            lagMax: configuration.replicaLagMax,
            logger: logger
        )
        self.logger = logger
    }

    /// Watches the replicas until cancelled; none is read from otherwise.
    func watchReplicas() async { await replicas.run() }

    /// Does `body` in a transaction that sees what `scope` may see, as `read(_:)` does.
    package func read<T: Sendable>(
        as scope: TokenScope,
        _ body: @Sendable (PostgresConnection) throws(QueryFailure) -> T
    ) async throws(Problem) -> T {
        try await read { connection throws(QueryFailure) in
            try connection.beginReading(as: scope)
            defer { connection.rollback() }
            return try body(connection)
        }
    }

    /// Does `body`, which only reads, with a connection to a replica that is up to date, else to
    /// the primary, on that connection's thread; once more if the connection turned out to be lost.
    ///
    /// No rows of anybody can be seen unless `body` says as whom it reads. It may be called twice.
    ///
    /// On cancellation while waiting for a connection nothing has been read.
    package func read<T: Sendable>(
        _ body: @Sendable (PostgresConnection) throws(QueryFailure) -> T
    ) async throws(Problem) -> T {
        do {
            if let value = try await replicas.read(body) { return value }
            let replicas = replicas
            return try await onPrimary { connection throws(QueryFailure) in
                let value = try body(connection)
                try replicas.promise(of: connection)
                return value
            }
        } catch {
            throw problem(error)
        }
    }

    /// As `read(_:)`, but with the primary whenever that can be reached: for what must hold at once
    /// everywhere, such as the end of a token.
    package func readPrimary<T: Sendable>(
        _ body: @Sendable (PostgresConnection) throws(QueryFailure) -> T
    ) async throws(Problem) -> T {
        do {
            do {
                return try await onPrimary(body)
            } catch {
                guard Self.isLost(error), let value = try await replicas.read(body) else {
                    throw error
                }
                return value
            }
        } catch {
            throw problem(error)
        }
    }

    /// Does `body` with the primary; once more if the connection turned out to be lost, as after a
    /// restart of the database.
    private func onPrimary<T: Sendable>(
        _ body: @Sendable (PostgresConnection) throws(QueryFailure) -> T
    ) async throws -> T {
        do {
            return try await pool.run { connection in try body(connection) }
        } catch QueryFailure.database(let error) where error.isConnectionLost {
            return try await pool.run { connection in try body(connection) }
        }
    }

    /// Whether the database could not be reached.
    private static func isLost(_ error: any Error) -> Bool {
        switch error {
        case QueryFailure.database(let cause): cause.isConnectionLost
        case let cause as PostgresError: cause.isConnectionLost
        default: false
        }
    }

    /// Does `body`, which only reads and may take long, with one of the few connections for that.
    ///
    /// On cancellation while waiting for a connection nothing has been read.
    func export(
        _ body: @Sendable (PostgresConnection) throws(QueryFailure) -> Void
    ) async throws(Problem) {
        do {
            try await exports.run { connection in try body(connection) }
        } catch {
            throw problem(error)
        }
    }

    /// Closes idle connections.
    package func close() async {
        await pool.close()
        await exports.close()
        await replicas.close()
    }

    private func problem(_ error: any Error) -> Problem {
        let failure: QueryFailure
        switch error {
        case let known as QueryFailure: failure = known
        case let known as PostgresError: failure = .database(known)
        case is CancellationError: return Problem(.unavailable, "the server is shutting down")
        default:
            logger.error("question failed", metadata: ["error": "\(error)"])
            return Problem(.internalError, "something failed here; the server's log says what")
        }
        let problem = failure.problem
        if case .database(let cause) = failure, problem.kind.status >= 500 {
            let level: Logger.Level = problem.kind == .internalError ? .error : .warning
            logger.log(level: level, "question failed", metadata: ["error": "\(cause)"])
        }
        return problem
    }
}
