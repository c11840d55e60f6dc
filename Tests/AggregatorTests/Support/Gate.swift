import Aggregator
import Postgres
import Synchronization
import Threads

/// Holds up the first thread that comes to it until it is opened.
final class Gate: Sendable {
    private enum State { case waiting, occupied, open }

    private let state = Mutex(State.waiting)
    private let bell = Doorbell()

    /// Blocks the first caller until `open`; lets the others pass.
    func enter() {
        let isFirst = state.withLock { state in
            guard state == .waiting else { return false }
            state = .occupied
            return true
        }
        guard isFirst else { return }
        bell.ring()
        while true {
            let seen = bell.count
            if state.withLock({ $0 == .open }) { return }
            bell.wait(since: seen)
        }
    }

    /// Waits until somebody is held up; false if nobody comes within five minutes.
    func waitUntilOccupied() async -> Bool {
        let state = self
        return await ThreadOwned(name: "gate", ()).run { _ in
            for _ in 0..<3_000 {
                let seen = state.bell.count
                if state.state.withLock({ $0 != .waiting }) { return true }
                state.bell.wait(since: seen, timeoutNanoseconds: 100_000_000)
            }
            return false
        }
    }

    /// Lets everybody pass from now on.
    func open() {
        state.withLock { $0 = .open }
        bell.ring()
    }
}

/// Counts down to the moment when something happens once.
final class Countdown: Sendable {
    private let left: Mutex<Int>

    init(_ count: Int) { left = Mutex(count) }

    /// True the `count`-th time that it is called, and only then.
    func hits() -> Bool {
        left.withLock { left in
            left -= 1
            return left == 0
        }
    }

    /// Whether that time has come.
    var isOver: Bool { left.withLock { $0 <= 0 } }
}

/// Ends a session the hard way.
func terminate(_ backend: Int32, _ uri: String) {
    guard let connection = try? PostgresConnection(uri, applicationName: "killer") else { return }
    _ = try? connection.query(
        "SELECT pg_terminate_backend($1::int8::integer, 5000)",
        [.int(Int64(backend))]
    )
}

extension PostgresError {
    /// What PostgreSQL answers to the one it chose to end a deadlock.
    static let deadlock = PostgresError(
        sqlState: "40P01",
        call: "PQexecParams",
        message: "deadlock detected"
    )
    /// What libpq says when the server has gone.
    static let lost = PostgresError(
        call: "PQexecParams",
        message: "server closed the connection unexpectedly",
        isConnectionLost: true
    )
}
