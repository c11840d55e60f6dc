import EmbeddedPostgres
import Logging
import ServiceLifecycle
import Synchronization
import Threads

/// Runs `body` on a thread of its own, for calls that block; never interrupted.
func blocking<Value: Sendable>(
    _ name: String,
    _ body: @escaping @Sendable () throws -> Value
) async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
        _ = NamedThread(name: name) { continuation.resume(with: Result { try body() }) }
    }
}

/// Keeps the embedded PostgreSQL alive; the last to stop, because everything else needs it.
struct EmbeddedPostgresService: Service {
    /// The cluster, already started.
    let cluster: EmbeddedCluster

    /// Brings the server back whenever it dies; stops it on graceful shutdown if it is ours.
    func run() async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await cluster.run() }
            try? await gracefulShutdown()
            try await cluster.stop()
            try await group.waitForAll()
        }
    }
}

/// A value that one task gives and others wait for, such as the port of a listening socket.
final class OneShot<Value: Sendable>: Sendable {
    private struct State {
        var value: Value?
        var waiters: [Int: CheckedContinuation<Value, any Error>] = [:]
        var next = 0
    }

    private let state = Mutex(State())

    /// Gives the value; only the first counts.
    func resolve(_ value: Value) {
        let waiters = state.withLock { state -> [CheckedContinuation<Value, any Error>] in
            guard state.value == nil else { return [] }
            state.value = value
            defer { state.waiters = [:] }
            return Array(state.waiters.values)
        }
        for waiter in waiters { waiter.resume(returning: value) }
    }

    /// Waits for the value; throws `CancellationError` when cancelled before.
    func value() async throws -> Value {
        let id = state.withLock { state in
            state.next += 1
            return state.next
        }
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                let ready = state.withLock { state -> Result<Value, any Error>? in
                    if let value = state.value { return .success(value) }
                    if Task.isCancelled { return .failure(CancellationError()) }
                    state.waiters[id] = continuation
                    return nil
                }
                if let ready { continuation.resume(with: ready) }
            }
        } onCancel: {
            let waiter = state.withLock { $0.waiters.removeValue(forKey: id) }
            waiter?.resume(throwing: CancellationError())
        }
    }
}

/// A service that can only be made once something else runs, such as an upstream's port.
struct DeferredService<Base: Service>: Service {
    /// Makes the service; may wait.
    let make: @Sendable () async throws -> Base

    /// Makes the service and runs it.
    func run() async throws {
        let service: Base? = try await cancelWhenGracefulShutdown {
            do { return try await make() } catch is CancellationError { return nil }
        }
        try await service?.run()
    }
}

/// A service whose failure is told with what it was.
struct DescribedService: Service {
    /// What a reader would call it, with its address.
    let name: String

    /// The service.
    let base: any Service

    /// Runs the service.
    func run() async throws {
        do {
            try await base.run()
        } catch let error as CancellationError {
            throw error
        } catch {
            throw CommandFailure.failed("the \(name) could not run: \(error)")
        }
    }
}
