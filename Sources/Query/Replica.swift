import Postgres
import Synchronization
import Telemetry

/// Why a replica did not answer a question that was put to it.
enum ReplicaRefusal: Error {
    /// It has not replayed enough.
    case behind
    /// It is no replica of the primary, or not any more.
    case foreign
}

/// One streaming replica that questions may be read from.
final class Replica: Sendable {
    private struct State {
        var isUsable = false
        var inFlight = 0
        var lag: Int64?
    }

    /// Its connections.
    let pool: PostgresPool
    /// Questions that it has answered.
    let reads: Counter
    /// Questions that went to the primary because it was behind.
    let behind: Counter
    /// Questions that went to the primary because it failed.
    let failed: Counter
    private let prober: PostgresClient
    private let state = Mutex(State())

    /// A replica that is not used until a probe has found it well.
    ///
    /// - Parameters:
    ///   - uri: Where it is.
    ///   - number: Its number in the configuration, from 1.
    ///   - pool: Connections for questions.
    ///   - metrics: Where it is shown.
    init(_ uri: String, number: Int, pool: PostgresPool, metrics: MetricsRegistry) {
        self.pool = pool
        prober = PostgresClient(uri, options: ReplicaSet.proberOptions)
        let labels = [("replica", "\(number)")]
        reads = metrics.counter(
            "query_replica_reads_total",
            help: "Reads that a replica has answered.",
            labels: labels
        )
        let name = "query_replica_fallbacks_total"
        let help = "Reads that went to the primary because a replica was behind or failed."
        behind = metrics.counter(name, help: help, labels: labels + [("reason", "behind")])
        failed = metrics.counter(name, help: help, labels: labels + [("reason", "failed")])
        metrics.computed(
            "query_replica_usable",
            help: "Whether a replica answers: 1 if it is up and not too far behind.",
            labels: labels
        ) { [weak self] in self?.isUsable == true ? 1 : 0 }
        metrics.computed(
            "query_replica_lag_seconds",
            help: "How far a replica is behind the primary; -1 while that is not known.",
            labels: labels
        ) { [weak self] in
            self?.state.withLock { $0.lag }.map { Double($0) / 1_000_000 } ?? -1
        }
    }

    /// Whether the last probe found it well and nothing has failed since.
    var isUsable: Bool { state.withLock { $0.isUsable } }

    /// Questions that it is answering.
    var inFlight: Int { state.withLock { $0.inFlight } }

    /// Counts a question that begins.
    func begin() { state.withLock { $0.inFlight += 1 } }

    /// Counts a question that ends.
    func end() { state.withLock { $0.inFlight -= 1 } }

    /// Takes it out of use until a probe finds it well.
    func fail() { state.withLock { $0.isUsable = false } }

    /// Asks it how far it is and whose replica it is.
    func probe(_ set: ReplicaSet) async {
        let found = try? await prober.run { connection in
            let result = try connection.query(
                """
                SELECT (SELECT system_identifier::text FROM pg_control_system()),
                  pg_is_in_recovery(),
                  pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::int8
                """
            )
            return (result.text(0, 0), result.bool(0, 1), result.int(0, 2))
        }
        guard let found, found.1 == true, let replayed = found.2, set.isOurs(found.0) else {
            state.withLock { state in
                state.isUsable = false
                state.lag = nil
            }
            return
        }
        let (lag, mayAnswer) = set.standing(replayed)
        state.withLock { state in
            state.lag = lag
            state.isUsable = mayAnswer
        }
    }

    /// Closes idle connections.
    func close() async {
        await pool.close()
        await prober.close()
    }
}
