import CLibpq

/// The parameters of one statement in the form that libpq takes.
///
/// All bytes stand in one buffer, so that one scoped pointer serves every parameter.
struct ParameterList {
    /// Type numbers; 0 lets the server infer the type.
    private(set) var types: [Oid] = []
    /// Where each parameter starts in `bytes`; negative is NULL.
    private var starts: [Int] = []
    private(set) var lengths: [Int32] = []
    /// 0 is text, 1 is binary.
    private(set) var formats: [Int32] = []
    private var bytes: [UInt8] = []

    /// The number of parameters.
    var count: Int32 { Int32(types.count) }

    /// Encodes `values`.
    ///
    /// Throws when a text contains U+0000, which PostgreSQL cannot store, and when there are more
    /// parameters than the protocol can number.
    init(_ values: [PostgresValue], statement: String) throws(PostgresError) {
        guard values.count <= 65_535 else {
            throw PostgresError(
                sqlState: "54023",
                call: "PQexecParams",
                message: "\(values.count) parameters given, at most 65535 are possible",
                statement: statement
            )
        }
        for value in values {
            if let name = Self.textWithNul(value) {
                throw PostgresError(
                    sqlState: "22021",
                    call: "PQexecParams",
                    message: "\(name) parameter $\(types.count + 1) contains U+0000",
                    hint: "remove the character or pass the value as bytea",
                    statement: statement
                )
            }
            append(value)
        }
    }

    /// Calls `body` with the array of parameter pointers, which are valid only inside it.
    func withPointers<T>(
        _ body: (UnsafePointer<UnsafePointer<CChar>?>?) -> T
    ) -> T {
        unsafe bytes.withUnsafeBytes { buffer in
            var pointers: [UnsafePointer<CChar>?] = unsafe []
            for start in starts {
                if start < 0 {
                    unsafe pointers.append(nil)
                } else {
                    let base = unsafe buffer.baseAddress.map { unsafe $0 + start }
                    unsafe pointers.append(base?.assumingMemoryBound(to: CChar.self))
                }
            }
            return unsafe pointers.withUnsafeBufferPointer { unsafe body($0.baseAddress) }
        }
    }

    private static func textWithNul(_ value: PostgresValue) -> String? {
        switch value {
        case .text(let text): text.utf8.contains(0) ? "text" : nil
        case .textArray(let elements):
            elements.contains { $0?.utf8.contains(0) ?? false } ? "text array" : nil
        default: nil
        }
    }

    private mutating func append(_ value: PostgresValue) {
        let start = bytes.count
        switch value {
        case .null:
            types.append(0)
            starts.append(-1)
            lengths.append(0)
            formats.append(0)
            return
        case .text(let text): return appendText(text)
        case .textArray(let elements): return appendText(ArrayLiteral.encode(elements))
        case .bool(let flag):
            types.append(PostgresType.bool)
            bytes.append(flag ? 1 : 0)
        case .int(let number):
            types.append(PostgresType.int8)
            appendBigEndian(UInt64(bitPattern: number))
        case .double(let number):
            types.append(PostgresType.float8)
            appendBigEndian(number.bitPattern)
        case .bytes(let content):
            types.append(PostgresType.bytea)
            bytes.append(contentsOf: content)
        case .timestamp(let microseconds):
            types.append(PostgresType.timestamptz)
            appendBigEndian(UInt64(bitPattern: PostgresTimestamp.fromUnix(microseconds)))
        case .uuid(let high, let low):
            types.append(PostgresType.uuid)
            appendBigEndian(high)
            appendBigEndian(low)
        case .intArray(let elements):
            types.append(PostgresType.int8Array)
            appendArrayHeader(
                count: elements.count,
                hasNull: false,
                element: PostgresType.int8
            )
            for element in elements { appendWord(UInt64(bitPattern: element)) }
        case .doubleArray(let elements):
            types.append(PostgresType.float8Array)
            appendArrayHeader(
                count: elements.count,
                hasNull: false,
                element: PostgresType.float8
            )
            for element in elements { appendWord(element.bitPattern) }
        case .timestamps(let elements):
            types.append(PostgresType.timestamptzArray)
            appendArrayHeader(
                count: elements.count,
                hasNull: false,
                element: PostgresType.timestamptz
            )
            for element in elements {
                appendWord(UInt64(bitPattern: PostgresTimestamp.fromUnix(element)))
            }
        case .bytesArray(let elements):
            types.append(PostgresType.byteaArray)
            appendArrayHeader(
                count: elements.count,
                hasNull: elements.contains { $0 == nil },
                element: PostgresType.bytea
            )
            for element in elements {
                appendBigEndian(UInt32(bitPattern: element.map { Int32($0.count) } ?? -1))
                bytes.append(contentsOf: element ?? [])
            }
        }
        starts.append(start)
        lengths.append(Int32(bytes.count - start))
        formats.append(1)
        // An empty value at the very end needs an address of its own, as NULL means SQL NULL.
        if bytes.count == start { bytes.append(0) }
    }

    private mutating func appendText(_ text: String) {
        types.append(0)
        starts.append(bytes.count)
        lengths.append(Int32(text.utf8.count))
        formats.append(0)
        bytes.append(contentsOf: text.utf8)
        bytes.append(0)
    }

    /// The header of a one-dimensional binary array (`array_recv`): dimensions, null flag, element
    /// type, then per dimension its length and lower bound; an empty array has no dimension.
    private mutating func appendArrayHeader(count: Int, hasNull: Bool, element: UInt32) {
        appendBigEndian(UInt32(count == 0 ? 0 : 1))
        appendBigEndian(UInt32(hasNull ? 1 : 0))
        appendBigEndian(element)
        guard count > 0 else { return }
        appendBigEndian(UInt32(count))
        appendBigEndian(UInt32(1))
    }

    private mutating func appendWord(_ word: UInt64) {
        appendBigEndian(UInt32(8))
        appendBigEndian(word)
    }

    private mutating func appendBigEndian<Number: FixedWidthInteger & UnsignedInteger>(
        _ number: Number
    ) {
        for shift in stride(from: Number.bitWidth - 8, through: 0, by: -8) {
            bytes.append(UInt8(truncatingIfNeeded: number >> Number(shift)))
        }
    }
}
