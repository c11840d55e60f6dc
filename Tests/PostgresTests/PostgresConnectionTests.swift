import Postgres
import PostgresTesting
import Testing

/// Statements, results and errors against a real server.
@Suite("PostgreSQL connection")
struct PostgresConnectionTests {
    @Test("integers, text and NULL come back as they went")
    func roundTrip() async throws {
        try await TestDatabase.with { uri in
            let connection = try PostgresConnection(uri, applicationName: "test")
            let result = try connection.query(
                "SELECT $1::bigint, $2::text, $3::bytea", [.int(-1), .text("é"), .null])
            #expect(result.int(0, 0) == -1)
            #expect(result.text(0, 1) == "é")
            #expect(result.isNull(0, 2))
        }
    }
}
