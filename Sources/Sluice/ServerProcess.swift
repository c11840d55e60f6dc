import Aggregator
import EmbeddedPostgres
import EventLog
import FileIO
import Foundation
import Gateway
import Logging
import Query
import ServiceLifecycle
import SluiceConfiguration
import Synchronization
import Telemetry
import UnixSignals

/// One server process from start to clean stop: the assembly of all modules.
///
/// Order of the start: data directory and locks, PostgreSQL, migrations, recovery of logs, admin
/// token, then the services in the order of dependence. They stop in reverse: the gateway first, so
/// that the aggregator folds what it wrote, and PostgreSQL last.
struct ServerProcess {
    let settings: Settings
    let roles: ServerRoles
    let data: DataDirectory
    private let logger: Logger
    let metrics = MetricsRegistry()
    let reshipFrom: Int64?

    /// Longest clean stop after the gateway's own drain; then tasks are cancelled. Chosen: a fold
    /// of a full batch and PostgreSQL's checkpoint take seconds.
    private static let stopAllowance = Duration.seconds(30)

    /// A process with the given roles, not yet started.
    ///
    /// - Parameters:
    ///   - settings: The configuration.
    ///   - roles: What it does; without sinks there is nothing to pump.
    ///   - reshipFrom: From which append time on records are shipped once more, µs since the epoch.
    init(settings: Settings, roles: ServerRoles, reshipFrom: Int64? = nil) {
        self.settings = settings
        self.roles = settings.pump.sinks.isEmpty ? roles.subtracting(.pump) : roles
        self.reshipFrom = reshipFrom
        data = DataDirectory(settings.data)
        logger = Logger(label: "sluice")
    }

    /// Runs until a signal asks to stop, then stops cleanly.
    func run() async throws {
        Terminal.survivesClosedPipes()
        try data.create()
        let gatewayLock = roles.contains(.gateway) ? try data.lock(for: "gateway") : nil
        defer { gatewayLock?.close() }
        let pumpLock = roles.contains(.pump) ? try data.lock(for: "pump") : nil
        defer { pumpLock?.close() }

        let announcer = try Announcer(
            roles: roles,
            hasMetrics: settings.metricsListen != nil,
            data: data
        )
        defer { announcer.withdraw() }

        var services: [any Service] = []
        var postgres = ""
        var cluster: EmbeddedCluster?
        if !roles.isDisjoint(with: [.aggregator, .serve]) {
            (postgres, cluster) = try await startPostgres()
        }
        do {
            if let cluster { services.append(EmbeddedPostgresService(cluster: cluster)) }
            let logs = try data.logs()
            if roles.contains(.gateway) { try await recover(logs) }
            if roles.contains(.serve) { try await ensureAdminToken(postgres) }
            services += try await makeServices(logs, postgres, announcer)
        } catch {
            try? await cluster?.stop()
            throw error
        }

        var configuration = ServiceGroupConfiguration(
            services: services.map { .init(service: $0) },
            gracefulShutdownSignals: [.sigterm, .sigint],
            logger: Self.quietLogger
        )
        configuration.maximumGracefulShutdownDuration =
            settings.gateway.timeouts.drain + Self.stopAllowance
        try await ServiceGroup(configuration: configuration).run()
    }

    /// The services besides PostgreSQL, lowest first.
    private func makeServices(
        _ logs: LogDirectory,
        _ postgres: String,
        _ announcer: Announcer
    ) async throws -> [any Service] {
        var services: [any Service] = []
        if roles.contains(.aggregator) {
            services.append(
                Aggregator(
                    settings.aggregatorConfiguration(postgres: postgres, data: data.path),
                    source: settings.aggregatorSource(logs),
                    time: SystemTimeSource(),
                    metrics: metrics,
                    logger: Logger(label: "sluice.aggregator")
                )
            )
        }
        if roles.contains(.serve) {
            let clock = SystemTimeSource()
            var configuration = settings.queryConfiguration(postgres: postgres)
            configuration.sinkAccounts = SinkLedgerStatus.source(settings, logs)
            let server = QueryServer(
                configuration: configuration,
                metrics: metrics,
                logger: Logger(label: "sluice.query"),
                now: { clock.wallMicroseconds() },
                onListening: { host, port in announcer.serves(host, port) }
            )
            let name = "query API on \(settings.serve.listen)"
            services.append(DescribedService(name: name, base: server))
            services.append(
                BillingService(settings: settings, postgres: postgres, metrics: metrics)
            )
        }
        if let listen = settings.metricsListen {
            services.append(metricsService(listen, announcer))
        }
        if roles.contains(.pump) {
            services.append(pumpService(logs, announcer))
        }
        if roles.contains(.gateway) {
            services += try gatewayServices(logs, announcer)
        }
        return services
    }

    private func metricsService(
        _ listen: ListenAddress,
        _ announcer: Announcer
    ) -> any Service {
        let server = MetricsServer(
            host: listen.host,
            port: listen.port,
            metrics: metrics,
            logger: Logger(label: "sluice.metrics"),
            onListening: { host, port in announcer.showsMetrics(host, port) }
        )
        return DescribedService(name: "page of metrics on \(listen)", base: server)
    }

    private func gatewayServices(
        _ logs: LogDirectory,
        _ announcer: Announcer
    ) throws -> [any Service] {
        var services: [any Service] = [
            RetentionService(
                data: data,
                logs: logs,
                policy: settings.retentionPolicy(),
                consumers: settings.consumers,
                metrics: metrics,
                logger: Logger(label: "sluice.retention")
            )
        ]
        let key =
            try settings.gateway.credentialKey.map { Array($0.reveal().utf8) }
            ?? data.credentialKey()
        let demo = OneShot<UpstreamAddress>()
        if settings.needsDemoUpstream {
            services.append(
                DemoUpstream(logger: Logger(label: "sluice.demo")) { host, port in
                    demo.resolve(UpstreamAddress(host: host, port: port))
                }
            )
        }
        services.append(
            DeferredService { [settings, metrics] in
                let upstream = settings.needsDemoUpstream ? try await demo.value() : nil
                return try GatewayServer(
                    configuration: settings.gatewayConfiguration(
                        credentialKey: key,
                        demoUpstream: upstream
                    ),
                    log: logs,
                    logConfiguration: settings.logConfiguration(),
                    metrics: metrics,
                    logger: Logger(label: "sluice.gateway"),
                    onListening: { host, port in announcer.proxies(host, port) }
                )
            }
        )
        return services
    }

    /// Starts or adopts the embedded server, or takes the configured one; then migrates.
    private func startPostgres() async throws -> (uri: String, cluster: EmbeddedCluster?) {
        switch settings.postgres {
        case .uri(let secret):
            try await migrate(secret.reveal())
            return (secret.reveal(), nil)
        case .embedded:
            let cluster = EmbeddedCluster(
                data.clusterConfiguration,
                logger: Logger(label: "sluice.postgres")
            )
            let uri = try await cluster.start()
            do {
                try await migrate(uri)
            } catch {
                try? await cluster.stop()
                throw error
            }
            return (uri, cluster)
        }
    }

    private func migrate(_ uri: String) async throws {
        for migration in try await Migrator().migrate(uri) {
            logger.info(
                "migration_applied",
                metadata: ["version": "\(migration.version)", "name": "\(migration.name)"]
            )
        }
        guard roles.contains(.aggregator) else { return }
        for name in try await RollupAccess.register(settings, uri) {
            logger.info("rollup_added", metadata: ["name": "\(name)"])
        }
    }

    /// Seals the logs of gateways that were killed, and says what was lost.
    private func recover(_ logs: LogDirectory) async throws {
        for report in try await blocking("recovery", { try logs.recover() }) {
            let level: Logger.Level = report.losses.isEmpty ? .info : .error
            logger.log(
                level: level,
                "log_recovered",
                metadata: [
                    "log": "\(report.log)", "end_offset": "\(report.endOffset)",
                    "records": "\(report.recordCount)", "torn_bytes": "\(report.tornBytes)",
                    "losses": "\(report.losses.map { "\($0.kind.rawValue) \($0.offsets)" })",
                    "at_least": "\(report.isAtLeast)",
                ]
            )
        }
    }

    /// Makes the admin token at the first start, and again if the database knows none.
    private func ensureAdminToken(_ postgres: String) async throws {
        let store = TokenStore(postgresURI: postgres)
        if data.adminToken() != nil, try await store.hasAdminToken() { return }
        let (secret, _) = try await store.create(
            scope: .admin,
            description: "made by sluice at first start of \(settings.node)"
        )
        try data.storeAdminToken(secret)
    }

    /// The lifecycle's own lines are of no use to an operator unless something fails.
    private static var quietLogger: Logger {
        var logger = Logger(label: "sluice.lifecycle")
        logger.logLevel = max(logger.logLevel, .error)
        return logger
    }
}
