/// Conversions between Unix time and PostgreSQL's binary `timestamptz`, both in microseconds.
package enum PostgresTimestamp {
    /// Microseconds from 1970-01-01 to 2000-01-01 UTC, the zero of PostgreSQL's binary timestamps.
    package static let epochMicroseconds: Int64 = 946_684_800_000_000

    /// PostgreSQL's binary value of a Unix time in microseconds; the ends of the range saturate,
    /// which PostgreSQL reads as `-infinity`; `Int64.max` maps to `infinity`.
    @inlinable
    package static func fromUnix(_ microseconds: Int64) -> Int64 {
        if microseconds == Int64.max { return Int64.max }
        let (value, overflow) = microseconds.subtractingReportingOverflow(epochMicroseconds)
        return overflow ? Int64.min : value
    }

    /// The Unix time in microseconds of PostgreSQL's binary value; the infinities stay the ends of
    /// the range.
    @inlinable
    package static func toUnix(_ value: Int64) -> Int64 {
        if value == Int64.min { return Int64.min }
        let (microseconds, overflow) = value.addingReportingOverflow(epochMicroseconds)
        return overflow ? Int64.max : microseconds
    }
}
