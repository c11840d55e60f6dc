import Dispatch
import FileIO
package import Logging
import Postgres
import Synchronization

/// Sluice's own PostgreSQL: made on first use, reached by a private socket, kept running.
///
/// The server is not a child of this process: after a crash of ours it keeps running, and the next
/// start adopts it. Of several processes on one data directory the first owns the server and stops
/// it at the end; the others use it.
package final class EmbeddedCluster: Sendable {
    let configuration: EmbeddedClusterConfiguration
    let paths: ClusterPaths
    let logger: Logger
    let fileSystem = PosixFileSystem()

    /// What changes between start and stop; owned by the lock, never held while blocking.
    private struct State {
        /// The lock that makes this process the server's owner.
        var owner: (any File)?
        var isStopping = false
    }

    private let state = Mutex(State())

    /// Starting, stopping and watching block; they run here, off the cooperative pool. Concurrent,
    /// because watching must not hold up stopping.
    private let queue = DispatchQueue(label: "sluice.embedded-postgres", attributes: .concurrent)

    /// Describes a cluster; nothing is done before `start()`.
    package init(
        _ configuration: EmbeddedClusterConfiguration,
        logger: Logger = Logger(label: "sluice.postgres")
    ) {
        self.configuration = configuration
        self.logger = logger
        paths = ClusterPaths(data: configuration.dataDirectory)
    }

    /// The connection string of role `sluice` to database `sluice`, through the socket.
    package var uri: String { paths.uri(role: "sluice", database: "sluice") }

    /// The connection string of the cluster's superuser, for upkeep and tests.
    package var superuserURI: String { paths.uri(role: "postgres", database: "postgres") }

    /// Makes the cluster if it is missing, adopts a running server or starts one, and returns
    /// `uri`.
    @discardableResult
    package func start() async throws(EmbeddedPostgresError) -> String {
        try await offPool { () throws(EmbeddedPostgresError) in try self.startBlocking() }
    }

    /// Stops the server (fast shutdown) if this process owns it; returns when it has ended.
    package func stop() async throws(EmbeddedPostgresError) {
        try await offPool { () throws(EmbeddedPostgresError) in try self.stopBlocking() }
    }

    /// Watches the server and brings it back when it dies, until cancelled or stopped.
    ///
    /// `start()` must have returned before.
    package func run() async {
        var attempt = 0
        while !isStopping, !Task.isCancelled {
            await offPool { self.watchBlocking() }
            if isStopping || Task.isCancelled { return }
            do {
                try await offPool { () throws(EmbeddedPostgresError) in
                    try self.restartBlocking()
                }
                if isStopping { return }
                logger.notice("embedded_postgres_back", metadata: ["data": "\(paths.cluster)"])
                attempt = 0
            } catch {
                // Every attempt waits for the server's own start-up; so the delay stays short.
                attempt = min(attempt + 1, 5)
                logger.error(
                    "embedded_postgres_restart_failed",
                    metadata: ["error": "\(error)", "retry_seconds": "\(2 * attempt)"]
                )
                try? await Task.sleep(for: .seconds(2 * attempt))
            }
        }
    }

    /// `start()` on the calling thread.
    @discardableResult
    package func startBlocking() throws(EmbeddedPostgresError) -> String {
        state.withLock { $0.isStopping = false }
        try prepareDataDirectory()
        let lock = try acquireStartLock()
        defer { lock.close() }
        try ensureRunning()
        return uri
    }

    /// Brings the server back, unless this process was told to stop it meanwhile.
    private func restartBlocking() throws(EmbeddedPostgresError) {
        let lock = try acquireStartLock()
        defer { lock.close() }
        if isStopping { return }
        try ensureRunning()
    }

    /// `stop()` on the calling thread.
    package func stopBlocking() throws(EmbeddedPostgresError) {
        let owner = state.withLock { state in
            state.isStopping = true
            return state.owner.take()
        }
        guard let owner else { return }
        defer { owner.close() }
        let lock = try acquireStartLock()
        defer { lock.close() }
        try shutDown()
    }

    /// Whether this process will stop the server.
    package var isOwner: Bool { state.withLock { $0.owner != nil } }

    /// The process id of the server, while one is running.
    package var postmasterProcessID: Int32? {
        guard
            let postmaster = Postmaster(cluster: paths.cluster),
            postmaster.isRunning(in: paths.cluster)
        else { return nil }
        return postmaster.processID
    }

    private var isStopping: Bool { state.withLock { $0.isStopping } }

    /// Becomes the owner unless another live process is.
    func claimOwnership() throws(EmbeddedPostgresError) {
        if isOwner { return }
        let file = try lockFile(paths.ownerLock)
        let isLocked = try fileOperation("lock", paths.ownerLock) { () throws(FileIOError) in
            try file.tryLock()
        }
        if isLocked {
            state.withLock { $0.owner = file }
        } else {
            file.close()
        }
    }

    /// Holds a session open until the server ends it, or until this process stops.
    ///
    /// A backend exits as soon as its postmaster is gone, so the end of an idle session is the
    /// event that says so: nothing is polled for the server's sake. The wait is cut into slices for
    /// ours.
    private func watchBlocking() {
        guard
            let session = try? PostgresConnection(
                superuserURI,
                applicationName: "sluice embedded watch"
            )
        else { return }
        while !isStopping {
            if session.waitForClose(milliseconds: 200) {
                if isStopping { return }
                logger.warning("embedded_postgres_lost", metadata: ["data": "\(paths.cluster)"])
                return
            }
        }
    }

    /// Runs blocking work on a thread of its own.
    private func offPool<T: Sendable, Failure: Error>(
        _ body: @escaping @Sendable () throws(Failure) -> T
    ) async throws(Failure) -> T {
        let result: Result<T, Failure> = await withCheckedContinuation { continuation in
            queue.async {
                do throws(Failure) {
                    continuation.resume(returning: .success(try body()))
                } catch {
                    continuation.resume(returning: .failure(error))
                }
            }
        }
        return try result.get()
    }
}
