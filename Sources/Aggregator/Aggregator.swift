package import Logging
import ServiceLifecycle
package import Telemetry

/// The service that folds logs into PostgreSQL and keeps its rollups compacted.
package final class Aggregator: Service {
    private let configuration: AggregatorConfiguration

    /// An aggregator that does nothing before `run()`.
    ///
    /// - Parameters:
    ///   - configuration: Where to read and to write, and every limit.
    ///   - metrics: Where its metrics are registered.
    ///   - logger: Where it reports.
    package init(
        _ configuration: AggregatorConfiguration,
        metrics: MetricsRegistry,
        logger: Logger
    ) {
        self.configuration = configuration
    }

    /// Folds until graceful shutdown.
    package func run() async throws {}
}
