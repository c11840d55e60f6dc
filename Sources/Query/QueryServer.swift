package import Logging
import ServiceLifecycle
package import Telemetry

/// The HTTP server of the query API: `/v1/usage` and what belongs to it.
///
/// Owner: the service group. `run()` returns after a graceful shutdown has let the requests in
/// flight finish.
package final class QueryServer: Service {
    private let configuration: QueryConfiguration
    private let metrics: MetricsRegistry
    private let logger: Logger
    private let now: @Sendable () -> Int64
    private let onListening: @Sendable (_ host: String, _ port: Int) -> Void

    /// A server that listens once `run()` is called.
    ///
    /// - Parameters:
    ///   - configuration: where to listen, which database, which limits.
    ///   - metrics: registry that `/metrics` prints and that this module adds to.
    ///   - logger: where failures are reported.
    ///   - now: wall clock, microseconds since the Unix epoch.
    ///   - onListening: called once with the address in use, after the socket listens.
    package init(
        configuration: QueryConfiguration,
        metrics: MetricsRegistry,
        logger: Logger,
        now: @escaping @Sendable () -> Int64,
        onListening: @escaping @Sendable (_ host: String, _ port: Int) -> Void = { _, _ in }
    ) {
        self.configuration = configuration
        self.metrics = metrics
        self.logger = logger
        self.now = now
        self.onListening = onListening
    }

    /// Serves until graceful shutdown or cancellation.
    package func run() async throws {
        try await gracefulShutdown()
    }
}
