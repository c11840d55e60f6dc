import Logging
import Postgres
import Telemetry

/// Something that one process at a time does now and then while it serves.
struct PeriodicWork: Sendable {
    /// Said in the log when a round fails.
    let failure: Logger.Message
    /// Counts rounds that failed.
    let failures: Counter
    /// Where failures are logged.
    let logger: Logger

    /// Does `round` every `interval` until cancelled.
    ///
    /// - Parameters:
    ///   - interval: Between the end of a round and the next one.
    ///   - round: Gets how many rounds were done before, those that failed not among them.
    func run(every interval: Duration, _ round: (Int) async throws -> Void) async {
        var done = 0
        while !Task.isCancelled {
            do {
                try await round(done)
                done += 1
            } catch {
                failures.add()
                logger.warning(failure, metadata: ["error": "\(error)"])
            }
            try? await Task.sleep(for: interval)
        }
    }
}

extension PostgresConnection {
    /// Does `body` while holding the advisory lock `key`; false if another session holds it.
    func doAlone(
        _ key: Int64,
        _ body: () throws(PostgresError) -> Void
    ) throws(PostgresError) -> Bool {
        let lock = [PostgresValue.int(key)]
        guard try query("SELECT pg_try_advisory_lock($1)", lock).bool(0, 0) == true else {
            return false
        }
        defer { _ = try? query("SELECT pg_advisory_unlock($1)", lock) }
        try body()
        return true
    }
}
