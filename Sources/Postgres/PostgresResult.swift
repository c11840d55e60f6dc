import CLibpq

/// What a statement returned: rows of binary columns, and the number of rows it touched.
///
/// The rows stay in libpq's memory until the last copy of the value goes. Asking for a column as a
/// type that it does not have is a programming error and traps; cast in the statement.
package struct PostgresResult: Sendable {
    private let storage: ResultStorage

    /// Rows returned.
    package let rowCount: Int
    /// Columns per row.
    package let columnCount: Int

    init(_ storage: ResultStorage) {
        self.storage = storage
        self.rowCount = storage.rowCount
        self.columnCount = storage.columnCount
    }

    /// Rows inserted, updated, deleted, copied or selected; 0 for statements that count none.
    package var affectedRows: Int { storage.affectedRows }

    /// The command tag, as `INSERT 0 1`.
    package var commandTag: String { storage.commandTag }

    /// The name of column `column`.
    package func name(ofColumn column: Int) -> String {
        checkColumn(column)
        return storage.columnName(column)
    }

    /// The first column of that name, or nil.
    package func column(_ name: String) -> Int? {
        (0..<columnCount).first { storage.columnName($0) == name }
    }

    /// The type number of column `column`; see `PostgresType`.
    package func type(ofColumn column: Int) -> UInt32 {
        checkColumn(column)
        return storage.types[column]
    }

    /// Whether the value is NULL.
    package func isNull(_ row: Int, _ column: Int) -> Bool {
        check(row, column)
        return storage.isNull(row, column)
    }

    /// An `int2`, `int4`, `int8`, `oid`, or a `numeric` without fraction that fits; nil is NULL.
    package func int(_ row: Int, _ column: Int) -> Int64? {
        withValue(row, column) { bytes, type in
            guard let number = PostgresDecoding.int(bytes, type: type) else {
                mismatch(column, type, "an integer")
            }
            return number
        }
    }

    /// A `float4`, `float8`, `numeric` or an integer; nil is NULL.
    package func double(_ row: Int, _ column: Int) -> Double? {
        withValue(row, column) { bytes, type in
            guard let number = PostgresDecoding.double(bytes, type: type) else {
                mismatch(column, type, "a number")
            }
            return number
        }
    }

    /// A `bool`; nil is NULL.
    package func bool(_ row: Int, _ column: Int) -> Bool? {
        withValue(row, column) { bytes, type in
            guard type == PostgresType.bool, bytes.byteCount == 1 else {
                mismatch(column, type, "a bool")
            }
            return bytes.firstByteOrZero != 0
        }
    }

    /// Text, names, JSON, enums; integers and `uuid` in their usual spelling; nil is NULL.
    package func text(_ row: Int, _ column: Int) -> String? {
        withValue(row, column) { bytes, type in PostgresDecoding.text(bytes, type: type) }
    }

    /// A `timestamptz` or `timestamp` (taken as UTC) in microseconds since 1970; nil is NULL.
    package func timestamp(_ row: Int, _ column: Int) -> Int64? {
        withValue(row, column) { bytes, type in
            guard
                type == PostgresType.timestamptz || type == PostgresType.timestamp,
                let value = PostgresDecoding.bigEndian64(bytes)
            else { mismatch(column, type, "a timestamp") }
            return PostgresTimestamp.toUnix(Int64(bitPattern: value))
        }
    }

    /// A `uuid` as two big-endian halves; nil is NULL.
    package func uuid(_ row: Int, _ column: Int) -> (high: UInt64, low: UInt64)? {
        withValue(row, column) { bytes, type in
            guard
                type == PostgresType.uuid, bytes.byteCount == 16,
                let high = PostgresDecoding.bigEndian64(bytes.extracting(0..<8)),
                let low = PostgresDecoding.bigEndian64(bytes.extracting(8..<16))
            else { mismatch(column, type, "a uuid") }
            return (high, low)
        }
    }

    /// The value's binary form as the server sent it, copied; nil is NULL.
    package func bytes(_ row: Int, _ column: Int) -> [UInt8]? {
        withValue(row, column) { bytes, _ in PostgresDecoding.array(bytes) }
    }

    /// Lends the value's binary form without copying; NULL is lent as no bytes.
    package func withBytes<T, E: Error>(
        _ row: Int,
        _ column: Int,
        _ body: (RawSpan) throws(E) -> T
    ) throws(E) -> T {
        check(row, column)
        return try storage.withBytes(row, column, body)
    }

    private func withValue<T>(
        _ row: Int,
        _ column: Int,
        _ body: (RawSpan, UInt32) -> T
    ) -> T? {
        check(row, column)
        if storage.isNull(row, column) { return nil }
        return storage.withBytes(row, column) { bytes in body(bytes, storage.types[column]) }
    }

    private func check(_ row: Int, _ column: Int) {
        precondition(row >= 0 && row < rowCount, "row \(row) of a result with \(rowCount)")
        checkColumn(column)
    }

    private func checkColumn(_ column: Int) {
        precondition(
            column >= 0 && column < columnCount,
            "column \(column) of a result with \(columnCount)"
        )
    }

    private func mismatch(_ column: Int, _ type: UInt32, _ wanted: String) -> Never {
        preconditionFailure(
            "column \(column) (\"\(storage.columnName(column))\", type \(type)) is not \(wanted)"
        )
    }
}

// Safety: libpq documents that reading one PGresult from several threads is allowed, and nothing
// here changes it after `init`; the handle is cleared once, when the last reference goes.
/// One libpq result, shared by the copies of a `PostgresResult`.
final class ResultStorage: @unchecked Sendable {
    private let handle: ResultHandle
    let rowCount: Int
    let columnCount: Int
    let types: [UInt32]

    init(_ handle: consuming ResultHandle) {
        self.rowCount = Int(unsafe handle.with { unsafe PQntuples($0) })
        let columnCount = Int(unsafe handle.with { unsafe PQnfields($0) })
        self.columnCount = columnCount
        var types: [UInt32] = []
        for column in 0..<columnCount {
            types.append(unsafe handle.with { unsafe PQftype($0, Int32(column)) })
        }
        self.types = types
        self.handle = handle
    }

    var affectedRows: Int {
        unsafe handle.with { result in
            guard let text = unsafe PQcmdTuples(result) else { return 0 }
            return Int(unsafe String(cString: text)) ?? 0
        }
    }

    var commandTag: String {
        unsafe handle.with { result in
            guard let text = unsafe PQcmdStatus(result) else { return "" }
            return unsafe String(cString: text)
        }
    }

    func columnName(_ column: Int) -> String {
        unsafe handle.with { result in
            guard let text = unsafe PQfname(result, Int32(column)) else { return "" }
            return unsafe String(cString: text)
        }
    }

    func isNull(_ row: Int, _ column: Int) -> Bool {
        unsafe handle.with { unsafe PQgetisnull($0, Int32(row), Int32(column)) } != 0
    }

    /// Lends a value that is within bounds; libpq gives NULL as no bytes.
    func withBytes<T, E: Error>(
        _ row: Int,
        _ column: Int,
        _ body: (RawSpan) throws(E) -> T
    ) throws(E) -> T {
        let buffer = unsafe handle.with { result in
            let count = unsafe Int(PQgetlength(result, Int32(row), Int32(column)))
            let base = unsafe PQgetvalue(result, Int32(row), Int32(column))
            return unsafe UnsafeRawBufferPointer(start: base, count: base == nil ? 0 : count)
        }
        let answer = try unsafe body(RawSpan(_unsafeBytes: buffer))
        extendLifetime(self)
        return answer
    }
}
