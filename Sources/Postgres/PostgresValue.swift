/// A statement parameter.
///
/// Text and arrays of text are sent untyped, so the server infers their type from the statement
/// (`uuid`, `timestamptz`, `jsonb`, an enum …); write `$1::text[]` where it cannot. The others have
/// the type named at each case.
package enum PostgresValue: Sendable, Equatable {
    /// SQL NULL, of the type that the statement implies.
    case null
    /// `bool`.
    case bool(Bool)
    /// `int8`.
    case int(Int64)
    /// `float8`.
    case double(Double)
    /// Text of the type that the statement implies; U+0000 is refused, as PostgreSQL does.
    case text(String)
    /// `bytea`.
    case bytes([UInt8])
    /// `timestamptz`, in microseconds since 1970 UTC.
    case timestamp(Int64)
    /// `uuid`, as its sixteen bytes in two big-endian halves.
    case uuid(high: UInt64, low: UInt64)
    /// `int8[]`.
    case intArray([Int64])
    /// `float8[]`.
    case doubleArray([Double])
    /// An array literal of the type that the statement implies; nil elements are NULL.
    case textArray([String?])
    /// `bytea[]`; nil elements are NULL.
    case bytesArray([[UInt8]?])
    /// `timestamptz[]`, in microseconds since 1970 UTC.
    case timestamps([Int64])
}

/// Type numbers of PostgreSQL's built-in types (`pg_type.dat`); they never change between versions.
package enum PostgresType {
    package static let bool: UInt32 = 16
    package static let bytea: UInt32 = 17
    package static let name: UInt32 = 19
    package static let int8: UInt32 = 20
    package static let int2: UInt32 = 21
    package static let int4: UInt32 = 23
    package static let text: UInt32 = 25
    package static let oid: UInt32 = 26
    package static let json: UInt32 = 114
    package static let float4: UInt32 = 700
    package static let float8: UInt32 = 701
    package static let byteaArray: UInt32 = 1001
    package static let int8Array: UInt32 = 1016
    package static let float8Array: UInt32 = 1022
    package static let date: UInt32 = 1082
    package static let timestamp: UInt32 = 1114
    package static let timestamptz: UInt32 = 1184
    package static let timestamptzArray: UInt32 = 1185
    package static let numeric: UInt32 = 1700
    package static let uuid: UInt32 = 2950
    package static let jsonb: UInt32 = 3802
}
