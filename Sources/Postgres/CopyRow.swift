/// One row of a binary COPY from the server, read value by value in the order of the columns.
///
/// Valid only inside the closure that it is lent to. Reading a value as a type that it does not
/// have, or past the last one, throws; values that are not read are passed over.
package struct CopyRow: ~Escapable {
    private let piece: RawSpan
    private var position: Int

    /// Values not yet read.
    package private(set) var valuesLeft: Int

    /// Starts at the first value of a row in `piece`, after its count of values.
    @_lifetime(copy piece)
    init(_ piece: RawSpan, position: Int, columns: Int) {
        self.piece = piece
        self.position = position
        self.valuesLeft = columns
    }

    /// An `int8`; nil is NULL.
    package mutating func int64() throws(PostgresError) -> Int64? {
        guard let number = try number(8, "int8") else { return nil }
        return Int64(bitPattern: number)
    }

    /// An `int4`; nil is NULL.
    package mutating func int32() throws(PostgresError) -> Int32? {
        guard let number = try number(4, "int4") else { return nil }
        return Int32(truncatingIfNeeded: number)
    }

    /// An `int2`; nil is NULL.
    package mutating func int16() throws(PostgresError) -> Int16? {
        guard let number = try number(2, "int2") else { return nil }
        return Int16(truncatingIfNeeded: number)
    }

    /// A `bool`; nil is NULL.
    package mutating func bool() throws(PostgresError) -> Bool? {
        guard let number = try number(1, "bool") else { return nil }
        return number != 0
    }

    /// A `float8`; nil is NULL.
    package mutating func double() throws(PostgresError) -> Double? {
        guard let number = try number(8, "float8") else { return nil }
        return Double(bitPattern: number)
    }

    /// A `timestamptz` in microseconds since 1970 UTC; nil is NULL.
    package mutating func timestamp() throws(PostgresError) -> Int64? {
        guard let number = try number(8, "timestamptz") else { return nil }
        return PostgresTimestamp.toUnix(Int64(bitPattern: number))
    }

    /// A `uuid` as two big-endian halves; nil is NULL.
    package mutating func uuid() throws(PostgresError) -> (high: UInt64, low: UInt64)? {
        guard let range = try next() else { return nil }
        guard
            range.count == 16,
            let high = PostgresDecoding.bigEndian64(
                piece.extracting(range.lowerBound..<range.lowerBound + 8)
            ),
            let low = PostgresDecoding.bigEndian64(
                piece.extracting(range.lowerBound + 8..<range.upperBound)
            )
        else { throw Self.malformed("\(range.count) bytes are no uuid") }
        return (high, low)
    }

    /// A `text`; nil is NULL.
    package mutating func text() throws(PostgresError) -> String? {
        guard let range = try next() else { return nil }
        return PostgresDecoding.string(piece.extracting(range))
    }

    /// A `bytea`, or any other type in its binary form, copied; nil is NULL.
    package mutating func bytes() throws(PostgresError) -> [UInt8]? {
        guard let range = try next() else { return nil }
        return PostgresDecoding.array(piece.extracting(range))
    }

    /// Lends a `bytea`, or any other type in its binary form; NULL is lent as no bytes.
    package mutating func withBytes<T>(
        _ body: (RawSpan) throws(PostgresError) -> T
    ) throws(PostgresError) -> T {
        let range = try next() ?? position..<position
        return try body(piece.extracting(range))
    }

    /// Passes over a value.
    package mutating func skip() throws(PostgresError) { _ = try next() }

    /// Where the row ends in the bytes, after passing over what was not read.
    mutating func end() throws(PostgresError) -> Int {
        while valuesLeft > 0 { _ = try next() }
        return position
    }

    /// The bytes of the next value; nil is NULL.
    private mutating func next() throws(PostgresError) -> Range<Int>? {
        guard valuesLeft > 0 else { throw Self.malformed("the row has no more values") }
        let start = position + 4
        guard
            start <= piece.byteCount,
            let length = PostgresDecoding.unsigned(piece.extracting(position..<start), 4)
        else { throw Self.malformed("the row ends inside a length") }
        valuesLeft -= 1
        position = start
        let count = Int(Int32(truncatingIfNeeded: length))
        if count == -1 { return nil }
        guard count >= 0, count <= piece.byteCount - start else {
            throw Self.malformed("the row ends inside a value")
        }
        position = start + count
        return start..<position
    }

    private mutating func number(
        _ width: Int,
        _ name: String
    ) throws(PostgresError) -> UInt64? {
        guard let range = try next() else { return nil }
        guard let number = PostgresDecoding.unsigned(piece.extracting(range), width) else {
            throw Self.malformed("\(range.count) bytes are no \(name)")
        }
        return number
    }

    static func malformed(_ what: String) -> PostgresError {
        PostgresError(
            sqlState: "08P01",
            call: "CopyRow",
            message: "malformed binary COPY data: \(what)"
        )
    }
}

/// Splits the pieces of a binary COPY into rows.
struct CopyReader {
    private var isHeaderRead = false

    /// Calls `body` with every row of a piece as libpq hands it over: whole rows, the header before
    /// the first, the trailer after the last.
    mutating func forEachRow(
        _ piece: RawSpan,
        _ body: (inout CopyRow) throws(PostgresError) -> Void
    ) throws(PostgresError) {
        var position = 0
        if !isHeaderRead {
            // Signature (11), flags (4), length of the extension (4), extension.
            guard
                piece.byteCount >= 19,
                let length = PostgresDecoding.unsigned(piece.extracting(15..<19), 4),
                Int(length) <= piece.byteCount - 19
            else { throw CopyRow.malformed("the header is incomplete") }
            position = 19 + Int(length)
            isHeaderRead = true
        }
        while position < piece.byteCount {
            guard
                position + 2 <= piece.byteCount,
                let count = PostgresDecoding.unsigned(
                    piece.extracting(position..<position + 2),
                    2
                )
            else { throw CopyRow.malformed("a row ends inside its count") }
            let columns = Int(Int16(truncatingIfNeeded: count))
            if columns < 0 { return }
            var row = CopyRow(piece, position: position + 2, columns: columns)
            try body(&row)
            position = try row.end()
        }
    }
}
