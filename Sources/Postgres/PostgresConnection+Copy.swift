import CLibpq

extension PostgresConnection {
    /// Executes a `COPY … FROM STDIN (FORMAT binary)` with the rows that `body` writes.
    ///
    /// Returns the number of rows copied. When `body` throws, the server is told to forget the rows
    /// and the error is passed on.
    @discardableResult
    package func copyIn(
        _ sql: String,
        _ body: (inout CopyWriter) throws(PostgresError) -> Void
    ) throws(PostgresError) -> Int {
        try copyIn(sql, mapping: { error in error }, body)
    }

    /// As `copyIn(_:_:)`, for callers with an error type of their own.
    @discardableResult
    package func copyIn<Failure: Error>(
        _ sql: String,
        mapping: (PostgresError) -> Failure,
        _ body: (inout CopyWriter) throws(Failure) -> Void
    ) throws(Failure) -> Int {
        do throws(PostgresError) {
            try checkUsable(sql)
            let pointer = unsafe withConnection { unsafe PQexec($0, sql) }
            let result = try unsafe checked(pointer, call: "PQexec", statement: sql)
            try expect(PGRES_COPY_IN, result, "COPY … FROM STDIN", sql)
        } catch { throw mapping(error) }

        var writer = CopyWriter(connection: self)
        do throws(Failure) {
            try whileBusy { () throws(Failure) in try body(&writer) }
        } catch {
            abandonCopy()
            throw error
        }
        do throws(PostgresError) {
            try writer.finish()
            guard unsafe withConnection({ unsafe PQputCopyEnd($0, nil) }) == 1 else {
                throw failure(call: "PQputCopyEnd", statement: sql)
            }
            return try drain(sql)
        } catch { throw mapping(error) }
    }

    /// Executes one statement and lends each row as a result of one row, without keeping the
    /// others: for results larger than memory.
    ///
    /// When `body` throws, the statement is cancelled and the error is passed on.
    package func forEachRow(
        _ sql: String,
        _ parameters: [PostgresValue] = [],
        _ body: (PostgresResult) throws(PostgresError) -> Void
    ) throws(PostgresError) {
        try checkUsable(sql)
        let list = try ParameterList(parameters, statement: sql)
        let sent = unsafe withConnection { connection in
            unsafe list.withPointers { values in
                unsafe PQsendQueryParams(
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
        guard sent == 1 else { throw failure(call: "PQsendQueryParams", statement: sql) }
        _ = unsafe withConnection { unsafe PQsetSingleRowMode($0) }
        var refusal: PostgresError?
        while let pointer = unsafe withConnection({ unsafe PQgetResult($0) }) {
            do throws(PostgresError) {
                let row = PostgresResult(
                    ResultStorage(
                        try unsafe checked(pointer, call: "PQgetResult", statement: sql)
                    )
                )
                if refusal == nil, row.rowCount > 0 {
                    try whileBusy { () throws(PostgresError) in try body(row) }
                }
            } catch {
                if refusal == nil {
                    refusal = error
                    cancel()
                }
            }
        }
        if let refusal { throw refusal }
    }

    /// Asks the server to cancel the statement under way; it then fails with SQLSTATE 57014.
    ///
    /// Opens a short connection of its own; its failure is ignored, as the statement then ends by
    /// itself.
    package func cancel() {
        guard let cancel = unsafe withConnection({ unsafe PQgetCancel($0) }) else { return }
        var message = [CChar](repeating: 0, count: 256)
        _ = unsafe PQcancel(cancel, &message, Int32(message.count))
        unsafe PQfreeCancel(cancel)
    }

    /// Hands a piece of COPY data to libpq, which sends it when its own buffer is full.
    func putCopyData(_ bytes: UnsafeRawBufferPointer) throws(PostgresError) {
        guard bytes.count > 0 else { return }
        let status = unsafe withConnection { connection in
            unsafe PQputCopyData(
                connection,
                bytes.baseAddress?.assumingMemoryBound(to: CChar.self),
                Int32(bytes.count)
            )
        }
        guard status == 1 else { throw failure(call: "PQputCopyData", statement: nil) }
    }

    private func expect(
        _ wanted: ExecStatusType,
        _ result: borrowing ResultHandle,
        _ name: String,
        _ sql: String
    ) throws(PostgresError) {
        let status = unsafe result.with { unsafe PQresultStatus($0) }
        if status == wanted { return }
        if status == PGRES_COPY_IN { abandonCopy() }
        throw PostgresError(
            sqlState: "42601",
            call: "PQexec",
            message: "the statement is not a \(name)",
            statement: sql
        )
    }

    /// Ends a COPY without its rows, and reads the refusal that the server answers.
    private func abandonCopy() {
        _ = unsafe withConnection { unsafe PQputCopyEnd($0, "abandoned by the client") }
        _ = try? drain("")
    }

    /// Reads all results of the statement under way; returns the rows that the last one touched.
    private func drain(_ sql: String) throws(PostgresError) -> Int {
        var rows = 0
        var first: PostgresError?
        while let pointer = unsafe withConnection({ unsafe PQgetResult($0) }) {
            do throws(PostgresError) {
                let result = try unsafe checked(pointer, call: "PQgetResult", statement: sql)
                rows = ResultStorage(result).affectedRows
            } catch {
                if first == nil { first = error }
                if error.isConnectionLost { break }
            }
        }
        if let first { throw first }
        return rows
    }
}
