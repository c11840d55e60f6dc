import Foundation
import Postgres
import PostgresTesting
import Synchronization
import Testing

/// Statements, results and errors against a real server.
@Suite("PostgreSQL connection", .timeLimit(.minutes(5)))
struct PostgresConnectionTests {
    @Test("every kind of parameter comes back as it went")
    func roundTrip() async throws {
        try await TestDatabase.with { uri in
            let connection = try PostgresConnection(uri, applicationName: "test")
            for number in [0, 1, -1, Int64.max, Int64.min] {
                #expect(try connection.query("SELECT $1", [.int(number)]).int(0, 0) == number)
                #expect(
                    try connection.query("SELECT $1::bigint::numeric", [.int(number)]).int(0, 0)
                        == number
                )
            }
            for number in [
                0, -0.0, 1.5, .pi, .infinity, -.infinity, .leastNonzeroMagnitude, 1.7e308,
            ] {
                #expect(try connection.query("SELECT $1", [.double(number)]).double(0, 0) == number)
            }
            #expect(
                try #require(connection.query("SELECT $1", [.double(.nan)]).double(0, 0)).isNaN
            )
            for text in ["", "é", "日本語 🚀", "a'b\"c\\d", "line\nbreak\ttab", "NULL", "{}"] {
                #expect(try connection.query("SELECT $1::text", [.text(text)]).text(0, 0) == text)
            }
            for bytes: [UInt8] in [[], [0], [0xFF, 0, 0x27, 0x5C], [UInt8](0...255)] {
                #expect(try connection.query("SELECT $1", [.bytes(bytes)]).bytes(0, 0) == bytes)
            }
            for flag in [true, false] {
                #expect(try connection.query("SELECT $1", [.bool(flag)]).bool(0, 0) == flag)
            }
            for time: Int64 in [0, -1, 1_700_000_000_123_456, -2_208_988_800_000_000, .max] {
                #expect(
                    try connection.query("SELECT $1", [.timestamp(time)]).timestamp(0, 0) == time
                )
            }
            let uuid = try connection.query(
                "SELECT $1, $1::text",
                [.uuid(high: 0x0123_4567_89AB_CDEF, low: .max)]
            )
            #expect(uuid.uuid(0, 0)?.high == 0x0123_4567_89AB_CDEF)
            #expect(uuid.uuid(0, 0)?.low == .max)
            #expect(uuid.text(0, 0) == "01234567-89ab-cdef-ffff-ffffffffffff")
            #expect(uuid.text(0, 0) == uuid.text(0, 1))
            #expect(try connection.query("SELECT $1::text", [.null]).isNull(0, 0))
            #expect(try connection.query("SELECT $1::text", [.null]).text(0, 0) == nil)
        }
    }

    @Test("timestamps have the instant that PostgreSQL prints")
    func timestamps() async throws {
        try await TestDatabase.with { uri in
            let connection = try PostgresConnection(uri, applicationName: "test")
            let result = try connection.query(
                "SELECT $1::timestamptz::text, '1969-12-31 23:59:59.999999+00'::timestamptz",
                [.timestamp(1_767_225_600_000_001)]
            )
            #expect(result.text(0, 0) == "2026-01-01 00:00:00.000001+00")
            #expect(result.timestamp(0, 1) == -1)
        }
    }

    @Test("arrays keep quotes, backslashes, NULLs, empty and strange elements apart")
    func arrays() async throws {
        let hostile: [String?] = [
            "plain", "", nil, "NULL", "null", "a,b", "{x}", "\"q\"", "back\\slash", "\\\"", " ",
            "tab\tline\n", "é日🚀", "'", "}{", ",",
        ]
        try await TestDatabase.with { uri in
            let connection = try PostgresConnection(uri, applicationName: "test")
            for elements in [hostile, [], [nil], [""]] {
                let result = try connection.query(
                    "SELECT e FROM unnest($1::text[]) WITH ORDINALITY AS t (e, n) ORDER BY n",
                    [.textArray(elements)]
                )
                #expect((0..<result.rowCount).map { result.text($0, 0) } == elements)
            }
            let numbers: [Int64] = [0, -1, .max, .min]
            let result = try connection.query(
                "SELECT n, t, d FROM unnest($1, $2, $3) AS u (n, t, d)",
                [
                    .intArray(numbers), .timestamps(numbers.map { $0 >> 8 }),
                    .doubleArray([0, 1, 2, 3]),
                ]
            )
            #expect((0..<4).map { result.int($0, 0) } == numbers)
            #expect((0..<4).map { result.timestamp($0, 1) } == numbers.map { $0 >> 8 })
            #expect((0..<4).map { result.double($0, 2) } == [0, 1, 2, 3])
            #expect(
                try connection.query("SELECT cardinality($1)", [.intArray([])]).int(0, 0) == 0
            )
            let blobs = try connection.query(
                "SELECT b FROM unnest($1) AS u (b)",
                [.bytesArray([[], nil, [0, 255]])]
            )
            #expect((0..<3).map { blobs.bytes($0, 0) } == [[], nil, [0, 255]])
            // Untyped, so an array of whatever the statement wants.
            #expect(
                try connection.query(
                    "SELECT 7 = ANY ($1)",
                    [.textArray(["6", "7"])]
                ).bool(0, 0) == true
            )
        }
    }

    @Test("numeric values are read exactly as integers and nearest as numbers")
    func numeric() async throws {
        let cases: [(String, Int64?, Double)] = [
            ("0", 0, 0), ("1", 1, 1), ("-1", -1, -1), ("10000", 10_000, 10_000),
            ("100000000", 100_000_000, 1e8),
            ("12345678901234567", 12_345_678_901_234_567, 12_345_678_901_234_568),
            ("9223372036854775807", .max, 9.223372036854775807e18),
            ("-9223372036854775808", .min, -9.223372036854775808e18),
            ("0.5", nil, 0.5), ("-123.456", nil, -123.456), ("0.00001", nil, 0.00001),
            ("1.000", 1, 1), ("1e20", nil, 1e20), ("NaN", nil, .nan), ("Infinity", nil, .infinity),
        ]
        try await TestDatabase.with { uri in
            let connection = try PostgresConnection(uri, applicationName: "test")
            for (text, integer, number) in cases {
                let result = try connection.query("SELECT $1::numeric", [.text(text)])
                let double = try #require(result.double(0, 0))
                #expect(double == number || (double.isNaN && number.isNaN), "\(text)")
                if let integer { #expect(result.int(0, 0) == integer, "\(text)") }
            }
            let sum = try connection.query("SELECT sum(n) FROM generate_series(1::bigint, 1000) n")
            #expect(sum.int(0, 0) == 500_500)
        }
    }

    @Test(
        "errors keep SQLSTATE, message, detail, hint, constraint and the statement, no parameters"
    )
    func errors() async throws {
        try await TestDatabase.with { uri in
            let connection = try PostgresConnection(uri, applicationName: "test")
            try connection.execute("CREATE TABLE t (id int CONSTRAINT only_once PRIMARY KEY)")
            try connection.query("INSERT INTO t VALUES ($1)", [.int(7)])
            let error = try #require(throws: PostgresError.self) {
                try connection.query("INSERT INTO t VALUES ($1::int)", [.int(7)])
            }
            #expect(error.sqlState == "23505")
            #expect(error.constraint == "only_once")
            #expect(error.isUniqueViolation)
            #expect(error.detail == "Key (id)=(7) already exists.")
            #expect(error.statement == "INSERT INTO t VALUES ($1::int)")
            #expect(error.call == "PQexecParams")
            #expect(!error.isRetriable && !error.isConnectionLost)
            let syntax = try #require(throws: PostgresError.self) {
                try connection.execute("SELEC 1")
            }
            #expect(syntax.sqlState == "42601" && syntax.call == "PQexec")
            let hinted = try #require(throws: PostgresError.self) {
                try connection.execute("SELECT idd FROM t")
            }
            #expect(hinted.hint?.contains("t.id") == true)
            #expect(connection.isAlive)
            for value in [PostgresValue.text("a\0b"), .textArray(["a\0b"])] {
                let nul = try #require(throws: PostgresError.self) {
                    try connection.query("SELECT $1::text", [value])
                }
                #expect(nul.sqlState == "22021")
                #expect(!nul.description.contains("a\0b"))
            }
            #expect(throws: PostgresError.self) {
                try connection.execute("SELECT 1\0; DROP TABLE t")
            }
        }
    }

    @Test("a malformed connection string is refused without showing its password")
    func malformedURI() throws {
        for uri in [
            "postgres://u:secret@host:port/db", "postgres://u:secret@[::1/db",
            "postgres://u:secret@h/db?nonsense=1", "host=h password='secret",
        ] {
            let error = try #require(throws: PostgresError.self) {
                _ = try PostgresConnection(uri, applicationName: "test")
            }
            #expect(!error.description.contains("secret"), "\(error)")
        }
    }

    @Test("nobody listening is a lost connection, quickly")
    func refused() throws {
        let error = try #require(throws: PostgresError.self) {
            _ = try PostgresConnection("postgresql://127.0.0.1:1/x", applicationName: "test")
        }
        #expect(error.isConnectionLost && error.isRetriable)
        #expect(error.call == "PQconnectdbParams")
    }

    @Test("a transaction commits, or rolls back on any error")
    func transactions() async throws {
        struct Refusal: Error, Equatable { var reason: String }
        try await TestDatabase.with { uri in
            let connection = try PostgresConnection(uri, applicationName: "test")
            try connection.execute("CREATE TABLE t (id int PRIMARY KEY)")
            let answer = try connection.transaction { () throws(PostgresError) in
                try connection.execute("INSERT INTO t VALUES (1)")
                return 42
            }
            #expect(answer == 42)
            #expect(throws: PostgresError.self) {
                try connection.transaction { () throws(PostgresError) in
                    try connection.execute("INSERT INTO t VALUES (2)")
                    try connection.execute("INSERT INTO t VALUES (1)")
                }
            }
            #expect(!connection.isInTransaction)
            #expect(throws: Refusal(reason: "no")) {
                try connection.transaction(
                    mapping: { Refusal(reason: $0.description) }
                ) { () throws(Refusal) in throw Refusal(reason: "no") }
            }
            // An error that is swallowed inside must not look like a commit.
            let swallowed = try #require(throws: PostgresError.self) {
                try connection.transaction { () throws(PostgresError) in
                    try connection.execute("INSERT INTO t VALUES (3)")
                    _ = try? connection.execute("SELECT 1/0")
                }
            }
            #expect(swallowed.sqlState == "25P02")
            #expect(try connection.query("SELECT count(*) FROM t").int(0, 0) == 1)
        }
    }

    @Test("a backend killed in mid-transaction is a lost connection at COMMIT, not retried")
    func killedBackend() async throws {
        let database = try TestDatabase()
        let connection = try PostgresConnection(database.uri, applicationName: "victim")
        let other = try PostgresConnection(database.superuserURI, applicationName: "killer")
        try connection.execute("CREATE TABLE t (id int)")
        let error = try #require(throws: PostgresError.self) {
            try connection.transaction { () throws(PostgresError) in
                try connection.execute("INSERT INTO t VALUES (1)")
                try other.query(
                    "SELECT pg_terminate_backend($1::int, 5000)",
                    [.int(Int64(connection.backendPID))]
                )
            }
        }
        #expect(error.isConnectionLost && error.isRetriable)
        #expect(!connection.isAlive)
        #expect(try other.query("SELECT count(*) FROM t").int(0, 0) == 0)
        let again = try #require(throws: PostgresError.self) { try connection.execute("SELECT 1") }
        #expect(again.isConnectionLost)
        try database.drop()
    }

    @Test("a statement that takes too long is cancelled with 57014")
    func statementTimeout() async throws {
        try await TestDatabase.with { uri in
            let connection = try PostgresConnection(
                uri,
                options: PostgresConnectionOptions(statementTimeoutMilliseconds: 50)
            )
            let error = try #require(throws: PostgresError.self) {
                try connection.query("SELECT pg_sleep(60)")
            }
            #expect(error.sqlState == "57014" && !error.isConnectionLost)
            #expect(try connection.query("SELECT 1").int(0, 0) == 1)
        }
    }

    @Test("notices go to the closure")
    func notices() async throws {
        let seen = Mutex<[String]>([])
        try await TestDatabase.with { uri in
            let connection = try PostgresConnection(
                uri,
                options: PostgresConnectionOptions(onNotice: { text in
                    seen.withLock { $0.append(text) }
                })
            )
            try connection.execute("DROP TABLE IF EXISTS missing")
        }
        #expect(seen.withLock { $0 }.count == 1)
        #expect(seen.withLock { $0.first }?.contains("\"missing\" does not exist") == true)
    }

    @Test("rows stream one by one, and stop when the reader throws")
    func streaming() async throws {
        struct Stop: Error {}
        try await TestDatabase.with { uri in
            let connection = try PostgresConnection(uri, applicationName: "test")
            var sum: Int64 = 0
            try connection.forEachRow(
                "SELECT n FROM generate_series(1, $1) n",
                [.int(10_000)]
            ) { row throws(PostgresError) in sum += row.int(0, 0) ?? 0 }
            #expect(sum == 50_005_000)
            var seen = 0
            let error = try #require(throws: PostgresError.self) {
                try connection.forEachRow(
                    "SELECT generate_series(1, 100000000)"
                ) { _ throws(PostgresError) in
                    seen += 1
                    if seen == 10 { throw PostgresError(call: "test", message: "enough") }
                }
            }
            #expect(error.message == "enough")
            #expect(seen == 10)
            #expect(throws: PostgresError.self) {
                try connection.forEachRow("SELECT 1 / (5 - n) FROM generate_series(1, 9) n") {
                    _ throws(PostgresError) in
                }
            }
            #expect(try connection.query("SELECT 1").int(0, 0) == 1)
        }
    }

    @Test("a malformed server value or wrong use traps with the column's name")
    func wrongType() async throws {
        await #expect(processExitsWith: .failure) {
            let database = try TestDatabase()
            let connection = try PostgresConnection(database.uri, applicationName: "test")
            _ = try connection.query("SELECT 'a'::text").int(0, 0)
        }
    }
}
