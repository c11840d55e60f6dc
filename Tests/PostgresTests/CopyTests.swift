import Foundation
import Postgres
import PostgresTesting
import Testing

/// Binary COPY in both directions.
@Suite("Binary COPY", .timeLimit(.minutes(5)))
struct CopyTests {
    static let table = """
        CREATE TABLE t (n int4, a int2, b int4, c int8, d float8, e timestamptz, f text, g bytea, \
        h bool, i uuid)
        """

    /// One row of the table.
    struct Row: Equatable {
        var a: Int16?, b: Int32?, c: Int64?, d: Double?, e: Int64?, f: String?, g: [UInt8]?
        var h: Bool?, high: UInt64?, low: UInt64?
    }

    static let rows: [Row] = [
        Row(a: 0, b: 0, c: 0, d: 0, e: 0, f: "", g: [], h: false, high: 0, low: 0),
        Row(
            a: .max,
            b: .max,
            c: .max,
            d: .greatestFiniteMagnitude,
            e: .max,
            f: "é日🚀\\\"'\n",
            g: [0, 255, 10],
            h: true,
            high: .max,
            low: .max
        ),
        Row(
            a: .min,
            b: .min,
            c: .min,
            d: -.infinity,
            e: -62_000_000_000_000_000,
            f: "\\N",
            g: [UInt8](repeating: 7, count: 300_000),
            h: true,
            high: 1,
            low: 2
        ),
        Row(),
    ]

    @Test("every type, its extremes and NULL survive, in and out")
    func roundTrip() async throws {
        try await TestDatabase.with { uri in
            let connection = try PostgresConnection(uri, applicationName: "test")
            try connection.execute(Self.table)
            let count = try connection.copyIn("COPY t FROM STDIN (FORMAT binary)") {
                (writer: inout CopyWriter) throws(PostgresError) in
                for (index, row) in Self.rows.enumerated() {
                    try writer.row(columns: 10)
                    writer.int32(Int32(index))
                    if let a = row.a { writer.int16(a) } else { writer.null() }
                    if let b = row.b { writer.int32(b) } else { writer.null() }
                    if let c = row.c { writer.int64(c) } else { writer.null() }
                    if let d = row.d { writer.double(d) } else { writer.null() }
                    if let e = row.e { writer.timestamp(e) } else { writer.null() }
                    if let f = row.f { writer.text(f) } else { writer.null() }
                    if let g = row.g { writer.bytes(g) } else { writer.null() }
                    if let h = row.h { writer.bool(h) } else { writer.null() }
                    if let high = row.high, let low = row.low {
                        writer.uuid(high: high, low: low)
                    } else {
                        writer.null()
                    }
                }
            }
            #expect(count == Self.rows.count)
            let result = try connection.query("SELECT * FROM t ORDER BY n")
            for (index, row) in Self.rows.enumerated() {
                #expect(result.int(index, 1) == row.a.map { Int64($0) })
                #expect(result.int(index, 2) == row.b.map { Int64($0) })
                #expect(result.int(index, 3) == row.c)
                #expect(result.double(index, 4) == row.d)
                #expect(result.timestamp(index, 5) == row.e)
                #expect(result.text(index, 6) == row.f)
                #expect(result.bytes(index, 7) == row.g)
                #expect(result.bool(index, 8) == row.h)
                #expect(result.uuid(index, 9)?.high == row.high)
                #expect(result.uuid(index, 9)?.low == row.low)
            }
        }
    }

    @Test("an empty COPY copies nothing")
    func empty() async throws {
        try await TestDatabase.with { uri in
            let connection = try PostgresConnection(uri, applicationName: "test")
            try connection.execute("CREATE TABLE t (n int8)")
            #expect(
                try connection.copyIn("COPY t FROM STDIN (FORMAT binary)") {
                    (_: inout CopyWriter) throws(PostgresError) in
                } == 0
            )
        }
    }

    @Test("hostile bytes in text become U+FFFD instead of failing the COPY")
    func repair() async throws {
        let cases: [([UInt8], String)] = [
            ([0x61, 0x00, 0x62], "a\u{FFFD}b"), ([0xFF], "\u{FFFD}"), ([0xC3, 0xA9], "é"),
            ([0xC3], "\u{FFFD}"), ([0xED, 0xA0, 0x80], "\u{FFFD}\u{FFFD}\u{FFFD}"), ([], ""),
        ]
        try await TestDatabase.with { uri in
            let connection = try PostgresConnection(uri, applicationName: "test")
            try connection.execute("CREATE TABLE t (n int4, x text)")
            try connection.copyIn("COPY t FROM STDIN (FORMAT binary)") {
                (writer: inout CopyWriter) throws(PostgresError) in
                for (index, item) in cases.enumerated() {
                    try writer.row(columns: 2)
                    writer.int32(Int32(index))
                    writer.text(item.0.span)
                }
            }
            let result = try connection.query("SELECT x FROM t ORDER BY n")
            #expect((0..<cases.count).map { result.text($0, 0) } == cases.map { $0.1 })
        }
    }

    @Test("what fails inside a COPY leaves a usable connection and no rows")
    func failures() async throws {
        try await TestDatabase.with { uri in
            let connection = try PostgresConnection(uri, applicationName: "test")
            try connection.execute("CREATE TABLE t (n int4 PRIMARY KEY)")
            let own = try #require(throws: PostgresError.self) {
                try connection.copyIn("COPY t FROM STDIN (FORMAT binary)") {
                    (writer: inout CopyWriter) throws(PostgresError) in
                    try writer.row(columns: 1)
                    writer.int32(1)
                    throw PostgresError(call: "test", message: "changed my mind")
                }
            }
            #expect(own.message == "changed my mind")
            let duplicate = try #require(throws: PostgresError.self) {
                try connection.copyIn("COPY t FROM STDIN (FORMAT binary)") {
                    (writer: inout CopyWriter) throws(PostgresError) in
                    for _ in 0..<100_000 {
                        try writer.row(columns: 1)
                        writer.int32(5)
                    }
                }
            }
            #expect(duplicate.sqlState == "23505")
            let wrongType = try #require(throws: PostgresError.self) {
                try connection.copyIn("COPY t FROM STDIN (FORMAT binary)") {
                    (writer: inout CopyWriter) throws(PostgresError) in
                    try writer.row(columns: 1)
                    writer.int64(5)
                }
            }
            #expect(wrongType.sqlState == "22P03")
            for sql in ["SELECT 1", "COPY t TO STDOUT", "COPY missing FROM STDIN"] {
                #expect(throws: PostgresError.self) {
                    try connection.copyIn(sql) { (_: inout CopyWriter) throws(PostgresError) in }
                }
            }
            #expect(try connection.query("SELECT count(*) FROM t").int(0, 0) == 0)
        }
    }

    @Test("a row with too few or too many values is a programming error")
    func miscounted() async throws {
        await #expect(processExitsWith: .failure) {
            var writer = CopyWriter.discarding()
            try writer.row(columns: 1)
            writer.null()
            writer.null()
        }
        await #expect(processExitsWith: .failure) {
            var writer = CopyWriter.discarding()
            try writer.row(columns: 2)
            writer.null()
            try writer.row(columns: 2)
        }
    }

    @Test("encoding narrow rows is faster than the server can take them")
    func speed() throws {
        let clock = ContinuousClock()
        let rows = 2_000_000
        var writer = CopyWriter.discarding()
        let time = try clock.measure {
            for row in 0..<rows {
                try writer.row(columns: 6)
                writer.timestamp(Int64(row))
                writer.int64(Int64(row))
                writer.int32(7)
                writer.int16(3)
                writer.int64(1)
                writer.double(0.5)
            }
        }
        let count = writer.rowCount
        #expect(count == rows)
        let rate =
            Double(rows)
            / (Double(time.components.seconds)
                + Double(time.components.attoseconds) / 1e18)
        Attachment.record("\(Int(rate)) rows/s", named: "copy-encode-rate.txt")
    }
}
