import Postgres
import Synchronization

/// Whether questions can be answered: the database is reachable and its schema new enough.
final class Readiness: Sendable {
    /// The last migration that this module's statements need.
    static let schemaVersion: Int64 = 30

    /// How long an answer is reused, so that anybody asking costs the database little; chosen.
    private static let lifetimeMicroseconds: Int64 = 1_000_000

    /// When the database was last found ready. Owner: the lock.
    private let readyAt = Mutex<Int64?>(nil)
    private let database: Database
    private let now: @Sendable () -> Int64

    /// Asks `database`.
    init(database: Database, now: @escaping @Sendable () -> Int64) {
        self.database = database
        self.now = now
    }

    /// Returns if ready, else says why not.
    func check() async throws(Problem) {
        let time = now()
        if let last = readyAt.withLock({ $0 }), time >= last,
            time - last < Self.lifetimeMicroseconds
        {
            return
        }
        let version = try await database.readPrimary { connection throws(QueryFailure) in
            do throws(PostgresError) {
                return try connection.query("SELECT max(version) FROM sluice.migration").int(0, 0)
            } catch { throw .database(error) }
        }
        guard let version, version >= Self.schemaVersion else {
            throw Problem(
                .unavailable,
                "the database schema is at version \(version ?? 0), needed is "
                    + "\(Self.schemaVersion); run sluice migrate"
            )
        }
        readyAt.withLock { $0 = time }
    }
}
