package import Rollups

/// The whole configuration after defaults, file and environment: one value, built once at start.
///
/// Its shape is that of the YAML file, key by key; defaults are the initial values below, and the
/// environment variable of a key is its path in capitals after `SLUICE_`.
package struct Settings: Equatable, Sendable {
    /// Name of this machine in records and metrics; the loader fills in the host name.
    package var node = "localhost"

    /// Region written to every record; absent unless given.
    package var region: String?

    /// Directory of event log, checkpoints and embedded PostgreSQL.
    package var data = "./sluice-data"

    /// Where the rollups are kept.
    package var postgres = PostgresSettings.embedded

    /// How records reach the aggregator.
    package var transport = Transport.local

    /// Connection to Kafka, if something uses it.
    package var kafka = KafkaSettings()

    /// The event log that the gateway writes.
    package var log = LogSettings()

    /// The proxy.
    package var gateway = GatewaySettings()

    /// Delivery of records to sinks.
    package var pump = PumpSettings()

    /// Rollups besides the built-in ones.
    package var rollups: [RollupSettings] = []

    /// The folding of records into rollups.
    package var aggregator = AggregatorSettings()

    /// How long raw records are kept; they are not loaded at all if nil.
    package var recordsRetain: Duration?

    /// Quantities counted per application for bills.
    package var meters: [MeterSettings] = []

    /// Who is told of alerts.
    package var webhooks: [WebhookSettings] = []

    /// What is watched.
    package var alerts: [AlertSettings] = []

    /// The query API.
    package var serve = ServeSettings()

    /// Where a page of metrics is answered besides the query API's; nowhere if nil.
    package var metricsListen: ListenAddress?

    /// The defaults alone.
    package init() {}

    /// Whether the aggregator or a sink needs `kafka`.
    package var usesKafka: Bool {
        transport == .kafka || pump.sinks.contains { $0.kind == .kafka }
    }

    /// Consumers of the event log whose checkpoints hold back retention.
    package var consumers: [String] {
        (transport == .local ? ["aggregator"] : []) + pump.sinks.map(\.consumer)
    }
}

/// How records reach the aggregator.
package enum Transport: String, Equatable, Sendable, CaseIterable {
    /// The aggregator reads the event log of its own machine.
    case local
    /// Through a Kafka topic, which the pump fills.
    case kafka
}

/// Where the rollups are kept.
package enum PostgresSettings: Equatable, Sendable {
    /// A private cluster in the data directory, started and watched by `sluice up`.
    case embedded
    /// A server of yours, as a libpq URI or keyword string.
    case uri(Secret)
}

/// The event log that the gateway writes.
package struct LogSettings: Equatable, Sendable {
    /// When written records are forced to stable storage.
    package var sync = SyncMode.interval

    /// Longest time that a written record waits for its sync in mode `interval`.
    package var syncInterval = Duration.milliseconds(10)

    /// Size at which a segment file is sealed and the next one begun.
    package var segmentBytes = 256 << 20

    /// What is kept of segments that every consumer has passed.
    package var retain = RetainSettings()

    /// What happens when the disk is full.
    package var onFull = FullPolicy.block

    /// The defaults alone.
    package init() {}
}

/// When written records are forced to stable storage.
package enum SyncMode: String, Equatable, Sendable, CaseIterable {
    /// Before the response is completed.
    case strict
    /// Every `sync_interval`; a power cut loses at most that much.
    case interval
    /// Whenever the kernel likes.
    case os
}

/// What happens to requests when the disk is full.
package enum FullPolicy: String, Equatable, Sendable, CaseIterable {
    /// Answer 503 before contacting the upstream.
    case block
    /// Delete the oldest segments that every consumer has passed, whatever `retain` says.
    case dropOldestShipped = "drop_oldest_shipped"
    /// Serve the request and drop its record, counted.
    case dropNew = "drop_new"
}

/// What is kept of segments that every consumer has passed.
package struct RetainSettings: Equatable, Sendable {
    /// Segments younger than this are kept.
    package var age = Duration.seconds(7 * 86_400)

    /// Total size above which the oldest consumed segments go, whatever their age.
    package var bytes = 50 << 30

    /// The defaults alone.
    package init() {}
}

/// The folding of records into rollups.
package struct AggregatorSettings: Equatable, Sendable {
    /// Longest time between two folds while records arrive.
    package var flushInterval = Duration.milliseconds(250)

    /// Records after which a fold is written without waiting for the interval.
    package var flushRecords = 250_000

    /// Time between two runs of the compactor.
    package var compactInterval = Duration.seconds(2)

    /// Most keys of one bucket and organisation; the others are merged into `__other__`.
    package var keysMax = 100_000

    /// How long the tiers of all rollups are kept; for ever if they are not here.
    package var retain: [Tier: Duration] = [:]

    /// The defaults alone.
    package init() {}
}

/// A rollup besides the built-in ones.
package struct RollupSettings: Equatable, Sendable {
    /// What it groups by, and its tiers.
    package var definition: RollupDefinition

    /// How long its tiers are kept, where that differs from the others.
    package var retain: [Tier: Duration] = [:]

    /// A rollup that is kept like the others.
    package init(_ definition: RollupDefinition) { self.definition = definition }
}

/// The query API.
package struct ServeSettings: Equatable, Sendable {
    /// Where it listens.
    package var listen = ListenAddress(host: "127.0.0.1", port: 8090)

    /// Requests per second of one token on average; 0: any number.
    package var requestsMax = 200

    /// Requests per second without a valid token from one address on average; 0: any number.
    package var attemptsMax = 20

    /// How long uses of tokens are kept; zero: not at all.
    package var auditRetain = Duration.seconds(30 * 86_400)

    /// Streaming replicas of the database that questions may be read from.
    package var replicas: [Secret] = []

    /// How far a replica may be behind and still answer.
    package var replicaLagMax = Duration.seconds(10)

    /// Time between two looks at meters and alerts.
    package var checkInterval = Duration.seconds(30)

    /// Origins whose pages may ask.
    package var corsOrigins: [String] = []

    /// The defaults alone.
    package init() {}
}

/// An address and port to listen on; port 0 lets the kernel choose.
package struct ListenAddress: Equatable, Sendable, CustomStringConvertible {
    /// IPv4 or IPv6 address, or a host name.
    package var host: String

    /// 0 to 65535.
    package var port: Int

    /// An address of its parts.
    package init(host: String, port: Int) {
        self.host = host
        self.port = port
    }

    /// `host:port`, with brackets around an IPv6 address.
    package var description: String {
        host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    }
}
