extension PostgresConnection {
    /// Executes `body` between BEGIN and COMMIT; any error thrown rolls back and is passed on.
    ///
    /// Nothing is retried. A connection lost at COMMIT surfaces as an error with
    /// `isConnectionLost`: the transaction may or may not have been committed, so the caller must
    /// look before doing it again. `mode` follows BEGIN, as `ISOLATION LEVEL REPEATABLE READ`.
    package func transaction<T>(
        _ mode: String = "",
        _ body: () throws(PostgresError) -> T
    ) throws(PostgresError) -> T {
        try transaction(mode, mapping: { error in error }, body)
    }

    /// As `transaction(_:_:)`, for callers with an error type of their own.
    package func transaction<T, Failure: Error>(
        _ mode: String = "",
        mapping: (PostgresError) -> Failure,
        _ body: () throws(Failure) -> T
    ) throws(Failure) -> T {
        do throws(PostgresError) { try begin(mode) } catch { throw mapping(error) }
        let value: T
        do throws(Failure) {
            value = try body()
        } catch {
            rollback()
            throw error
        }
        do throws(PostgresError) {
            try commit()
        } catch {
            rollback()
            throw mapping(error)
        }
        return value
    }

    /// Begins a transaction; `mode` follows BEGIN.
    package func begin(_ mode: String = "") throws(PostgresError) {
        precondition(!isInTransaction, "a transaction is open already")
        try execute(mode.isEmpty ? "BEGIN" : "BEGIN " + mode)
    }

    /// Commits; throws if the server rolled back instead because a statement had failed.
    package func commit() throws(PostgresError) {
        let result = try query("COMMIT")
        guard result.commandTag == "COMMIT" else {
            throw PostgresError(
                sqlState: "25P02",
                call: "PQexecParams",
                message: "the transaction was rolled back because a statement in it had failed",
                statement: "COMMIT"
            )
        }
    }

    /// Rolls back what is open; a failure to do so means that the connection, and with it the
    /// transaction, is gone.
    package func rollback() {
        guard isAlive, isInTransaction else { return }
        _ = try? execute("ROLLBACK")
    }
}
