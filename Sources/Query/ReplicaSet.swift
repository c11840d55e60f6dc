import Logging
import Postgres
import Synchronization
import Telemetry

/// Spreads reads over the replicas that are up and not too far behind.
final class ReplicaSet: Sendable {
    /// How probes connect; chosen: a replica that does not answer for so long is none.
    static let proberOptions = PostgresConnectionOptions(
        applicationName: "sluice query probe",
        connectTimeoutSeconds: 5,
        statementTimeoutMilliseconds: 5_000
    )

    /// Time between two probes; chosen: a fold's own interval is a quarter of it.
    private static let interval = Duration.seconds(1)

    private let replicas: [Replica]
    private let primary: PostgresClient
    private let positions: Mutex<ReplicaPositions>
    /// The primary's system identifier; nil until it has been asked.
    private let identity = Mutex<String?>(nil)
    /// Questions so far, so that equals take turns.
    private let turns = Mutex(0)
    private let logger: Logger

    /// Replicas of the primary at `primary`, none of which is used before `run()`.
    init(
        _ replicas: [Replica],
        primary: String,
        lagMax: Duration,
        logger: Logger
    ) {
        self.replicas = replicas
        self.primary = PostgresClient(primary, options: Self.proberOptions)
        positions = Mutex(ReplicaPositions(lagMax: lagMax.microseconds))
        self.logger = logger
    }

    /// Probes the primary and the replicas until cancelled; returns at once if there are none.
    func run() async {
        guard !replicas.isEmpty else { return }
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.repeatedly { await self.sample() } }
            for replica in replicas {
                group.addTask { await self.repeatedly { await replica.probe(self) } }
            }
        }
    }

    private func repeatedly(_ body: () async -> Void) async {
        while !Task.isCancelled {
            await body()
            try? await Task.sleep(for: Self.interval)
        }
    }

    /// Notes where the primary is; while it cannot be asked, what was known stays.
    private func sample() async {
        let found = try? await primary.run { connection in
            // What is flushed: with synchronous_commit, nothing that is not can be seen.
            let result = try connection.query(
                """
                SELECT (SELECT system_identifier::text FROM pg_control_system()), now(),
                  CASE WHEN NOT pg_is_in_recovery()
                    THEN pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::int8 END
                """
            )
            return (result.text(0, 0), result.timestamp(0, 1), result.int(0, 2))
        }
        guard let found, let time = found.1, let position = found.2 else { return }
        identity.withLock { $0 = found.0 }
        positions.withLock {
            $0.note(ReplicaPositions.Sample(position: position, time: time))
        }
    }

    /// Whether a system identifier is the primary's.
    func isOurs(_ identifier: String?) -> Bool {
        identity.withLock { $0 != nil && $0 == identifier }
    }

    /// The lag of a replica that has replayed so much, and whether it may answer.
    func standing(_ replayed: Int64) -> (lag: Int64?, mayAnswer: Bool) {
        positions.withLock { ($0.lag(replayed), $0.asOf(replayed) != nil) }
    }

    /// Does `body` with the least busy usable replica; nil if none is, or if it failed or was
    /// behind, so that the primary has to be asked.
    ///
    /// Throws only what `body` says about the question itself.
    func read<T: Sendable>(
        _ body: @Sendable (PostgresConnection) throws(QueryFailure) -> T
    ) async throws -> T? {
        guard !replicas.isEmpty else { return nil }
        let turn = turns.withLock { turns in
            turns = (turns + 1) % 1_000_000
            return turns
        }
        let usable = replicas.filter(\.isUsable)
        guard !usable.isEmpty else { return nil }
        let ordered = usable.indices.map { usable[($0 + turn) % usable.count] }
        guard let replica = ordered.min(by: { $0.inFlight < $1.inFlight }) else { return nil }
        replica.begin()
        defer { replica.end() }
        do {
            let value = try await replica.pool.run { connection in
                try self.enter(connection)
                let value = try body(connection)
                // What was seen lies below what has been replayed by now.
                self.promise(try Self.replayed(connection))
                return value
            }
            replica.reads.add()
            return value
        } catch let error as CancellationError {
            throw error
        } catch let failure as QueryFailure {
            // A statement that took too long would do so on the primary.
            if case .database(let error) = failure, error.sqlState != "57014" {
                note(error, replica)
                return nil
            }
            throw failure
        } catch ReplicaRefusal.behind {
            replica.behind.add()
            return nil
        } catch {
            note(error, replica)
            return nil
        }
    }

    private func note(_ error: any Error, _ replica: Replica) {
        replica.failed.add()
        // One that has too much to do is well.
        if (error as? PostgresError)?.sqlState == "53300" { return }
        replica.fail()
        logger.warning("replica_failed", metadata: ["error": "\(error)"])
    }

    /// Makes sure that a replica may answer, and tells its session up to when it is complete.
    private func enter(_ connection: PostgresConnection) throws {
        let replayed = try Self.replayed(connection)
        guard let asOf = positions.withLock({ $0.asOf(replayed) }) else {
            throw ReplicaRefusal.behind
        }
        // With no open log the data is complete up to the present, which here is that of the
        // primary when it was where the replica is now.
        try connection.query(
            "SELECT set_config('sluice.as_of', $1::timestamptz::text, false)",
            [.timestamp(asOf)]
        )
    }

    /// What a replica has replayed.
    private static func replayed(_ connection: PostgresConnection) throws -> Int64 {
        let result = try connection.query(
            """
            SELECT CASE WHEN pg_is_in_recovery()
              THEN pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::int8 END
            """
        )
        guard let replayed = result.int(0, 0) else { throw ReplicaRefusal.foreign }
        return replayed
    }

    /// Notes what an answer of the primary has shown; nothing to do without replicas.
    func promise(of connection: PostgresConnection) throws(QueryFailure) {
        guard !replicas.isEmpty else { return }
        do throws(PostgresError) {
            let result = try connection.query(
                """
                SELECT CASE WHEN NOT pg_is_in_recovery()
                  THEN pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::int8 END
                """
            )
            if let position = result.int(0, 0) { promise(position) }
        } catch { throw .database(error) }
    }

    private func promise(_ position: Int64) { positions.withLock { $0.promise(position) } }

    /// Closes idle connections.
    func close() async {
        await primary.close()
        for replica in replicas { await replica.close() }
    }
}

extension Duration {
    /// Whole microseconds.
    var microseconds: Int64 {
        components.seconds * 1_000_000 + components.attoseconds / 1_000_000_000_000
    }
}
