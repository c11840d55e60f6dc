import CLibpq

/// The one owner of a libpq connection; closes it when it goes.
@safe
struct ConnectionHandle: ~Copyable {
    /// The connection, never NULL; libpq's `PGconn`.
    private let connection: OpaquePointer

    /// Takes ownership of `connection`, as returned by `PQconnectdbParams`.
    init(owning connection: OpaquePointer) {
        unsafe self.connection = unsafe connection
    }

    deinit { unsafe PQfinish(connection) }

    /// Lends the connection to a libpq call; the pointer must not outlive `body`.
    @inline(always)
    borrowing func with<T>(_ body: (OpaquePointer) -> T) -> T {
        unsafe body(connection)
    }
}

/// The one owner of a libpq result; clears it when it goes.
@safe
struct ResultHandle: ~Copyable {
    /// The result, never NULL; libpq's `PGresult`.
    private let result: OpaquePointer

    /// Takes ownership of `result`, as returned by `PQexecParams` or `PQgetResult`.
    init(owning result: OpaquePointer) {
        unsafe self.result = unsafe result
    }

    deinit { unsafe PQclear(result) }

    /// Lends the result to a libpq call; the pointer must not outlive `body`.
    @inline(always)
    borrowing func with<T>(_ body: (OpaquePointer) -> T) -> T {
        unsafe body(result)
    }
}
