import Synchronization

/// A bounded number of connections, each on a thread of its own, lent to one caller at a time.
///
/// Connections are made when first needed. When all are lent, callers wait in order of arrival, and
/// when too many wait the next is refused, so that a slow database cannot pile up work.
package final class PostgresPool: Sendable {
    /// A caller waiting for a client.
    private struct Waiter {
        let id: UInt64
        let continuation: CheckedContinuation<PostgresClient, any Error>
    }

    private struct State {
        var idle: [PostgresClient]
        var waiters: [Waiter] = []
        var nextWaiterID: UInt64 = 0
    }

    private let state: Mutex<State>
    private let waitersMax: Int

    /// A pool of `size` connections to `uri`; at most `waitersMax` callers wait for one.
    package init(
        _ uri: String,
        size: Int,
        waitersMax: Int = 256,
        options: PostgresConnectionOptions = PostgresConnectionOptions(),
        prepare: (@Sendable (PostgresConnection) throws -> Void)? = nil
    ) {
        precondition(size > 0, "a pool needs at least one connection")
        let clients = (0..<size).map { _ in
            PostgresClient(uri, options: options, prepare: prepare)
        }
        self.state = Mutex(State(idle: clients))
        self.waitersMax = waitersMax
    }

    /// Does `body` with one of the connections, on that connection's thread.
    ///
    /// Throws a `PostgresError` with SQLSTATE 53300 when too many callers wait already, and
    /// `CancellationError` when cancelled while waiting; work that has begun is not interrupted.
    package func run<T: Sendable>(
        _ body: @Sendable (PostgresConnection) throws -> T
    ) async throws -> T {
        let client = try await acquire()
        defer { release(client) }
        return try await client.run(body)
    }

    /// Closes idle connections; those that are lent close when they next fail.
    package func close() async {
        for client in state.withLock({ $0.idle }) { await client.close() }
    }

    private func acquire() async throws -> PostgresClient {
        let id = state.withLock { state in
            state.nextWaiterID += 1
            return state.nextWaiterID
        }
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                enter(Waiter(id: id, continuation: continuation))
            }
        } onCancel: {
            leave(id)
        }
    }

    /// Lends an idle client, or queues the waiter, or refuses it.
    private func enter(_ waiter: Waiter) {
        let waitersMax = waitersMax
        let answer: Result<PostgresClient, any Error>? = state.withLock { state in
            // Cancellation sets its flag before it calls `leave`: so a `leave` that came before
            // this lock is seen here, and one that comes after finds the waiter in the queue.
            if Task.isCancelled { return .failure(CancellationError()) }
            if let client = state.idle.popLast() { return .success(client) }
            if state.waiters.count >= waitersMax {
                return .failure(
                    PostgresError(
                        sqlState: "53300",
                        call: "PostgresPool.run",
                        message: "\(state.waiters.count) callers wait for a connection already",
                        hint: "retry later, or enlarge the pool"
                    )
                )
            }
            state.waiters.append(waiter)
            return nil
        }
        if let answer { waiter.continuation.resume(with: answer) }
    }

    /// Takes a cancelled waiter out of the queue.
    private func leave(_ id: UInt64) {
        let waiter: Waiter? = state.withLock { state in
            if let index = state.waiters.firstIndex(where: { $0.id == id }) {
                return state.waiters.remove(at: index)
            }
            return nil
        }
        waiter?.continuation.resume(throwing: CancellationError())
    }

    /// Gives a client back: to the first waiter, else to the idle ones.
    private func release(_ client: PostgresClient) {
        let next: Waiter? = state.withLock { state in
            if state.waiters.isEmpty {
                state.idle.append(client)
                return nil
            }
            return state.waiters.removeFirst()
        }
        next?.continuation.resume(returning: client)
    }
}
