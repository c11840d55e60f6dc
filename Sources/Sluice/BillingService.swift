import Logging
import Query
import ServiceLifecycle
import SluiceConfiguration
import Telemetry

/// Closes the periods of meters and checks alerts while the query API serves.
struct BillingService: Service {
    /// What is counted and watched, and how often.
    let settings: Settings
    /// Connection string of the database.
    let postgres: String
    /// Where results are counted.
    let metrics: MetricsRegistry

    /// Looks at once and then now and then, until graceful shutdown; a revision or a round of
    /// alerts that is being made is finished or never was.
    func run() async throws {
        let (settings, client) = (settings, WebhookClient())
        let closer = MeterCloser(
            settings.meters.compactMap(\.meter),
            postgresURI: postgres,
            metrics: metrics,
            logger: Logger(label: "sluice.meters")
        )
        let checker = AlertChecker(
            settings.alertRules,
            webhooks: settings.alertWebhooks,
            postgresURI: postgres,
            metrics: metrics,
            logger: Logger(label: "sluice.alerts")
        ) { request in await client.send(request) }
        await cancelWhenGracefulShutdown {
            async let meters: Void = closer.run(every: settings.serve.checkInterval)
            async let alerts: Void = checker.run(every: settings.serve.checkInterval)
            _ = await (meters, alerts)
            // Without work to do they return at once, but a service that returns ends the process.
            while !Task.isCancelled { try? await Task.sleep(for: .seconds(3_600)) }
        }
        await client.close()
    }
}
