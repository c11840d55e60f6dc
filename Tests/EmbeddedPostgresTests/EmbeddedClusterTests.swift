import EmbeddedPostgres
import Foundation
import Postgres
import PostgresTesting
import Testing

/// Starting, adopting, killing and stopping real servers.
@Suite("Embedded PostgreSQL", .serialized)
struct EmbeddedClusterTests {
    @Test("a test database answers as role sluice, and is gone afterwards")
    func testDatabase() async throws {
        try await TestDatabase.with { uri in
            let connection = try PostgresConnection(uri, applicationName: "test")
            #expect(try connection.query("SELECT current_user::text").text(0, 0) == "sluice")
        }
    }
}
