import Rollups

/// What a value of the configuration may be; the loader, the JSON schema and the names of
/// environment variables all follow from one tree of these.
indirect enum Shape: Sendable {
    /// A name: 1 to 128 printable characters.
    case name
    /// Any text.
    case text
    /// Text that is a secret: literal, `env:NAME` or `file:PATH`.
    case secret
    /// `true` or `false`.
    case boolean
    /// A whole number.
    case integer(ClosedRange<Int>)
    /// A time with its unit, within the range.
    case duration(ClosedRange<Duration>)
    /// A size with its unit, within the range of bytes.
    case bytes(ClosedRange<Int>)
    /// `host:port`.
    case listenAddress
    /// `http://host:port` or `builtin:demo`.
    case upstream
    /// `address/bits`.
    case network
    /// `METHOD /path/{name}`.
    case route
    /// A path prefix.
    case listenPath
    /// The name of a header field.
    case headerName
    /// One of a few words.
    case choice([String])
    /// `host` or `host:port` of a Kafka broker.
    case broker
    /// The name of a Kafka topic.
    case topic
    /// A name of letters, digits, `-` and `_`: of a sink, which becomes the name of files and of a
    /// metric's label, or of a meter, which becomes a part of paths.
    case sinkName
    /// A date.
    case date
    /// A decimal number.
    case number
    /// A list.
    case list(Shape)
    /// A map with known keys.
    case map([Key])
    /// A map of librdkafka properties, whose values may be secrets.
    case properties

    /// One key of a map.
    struct Key: Sendable {
        /// The key.
        let name: String
        /// What its value may be.
        let shape: Shape
        /// One sentence for the reader of schema and documentation.
        let documentation: String
        /// The default as it would be written; nil if absence means something else.
        let standard: String?
        /// Whether the map is worthless without it.
        let isRequired: Bool

        /// A key with its value's shape and its default.
        init(
            _ name: String,
            _ shape: Shape,
            _ documentation: String,
            standard: String? = nil,
            isRequired: Bool = false
        ) {
            self.name = name
            self.shape = shape
            self.documentation = documentation
            self.standard = standard
            self.isRequired = isRequired
        }
    }
}

/// The keys of the configuration file.
enum ConfigurationSchema {
    /// The file as a whole.
    static let root = Shape.map([
        Shape.Key("node", .name, "Name of this machine in records.", standard: "the host name"),
        Shape.Key("region", .name, "Region written to every record."),
        Shape.Key(
            "data",
            .text,
            "Directory of event log, checkpoints and embedded PostgreSQL.",
            standard: "./sluice-data"
        ),
        Shape.Key(
            "postgres",
            .secret,
            "`embedded`, or a libpq URI such as postgres://user@host/db.",
            standard: "embedded"
        ),
        Shape.Key(
            "transport",
            .choice(["local", "kafka"]),
            "How records reach the aggregator.",
            standard: "local"
        ),
        Shape.Key("kafka", kafka, "Connection to Kafka."),
        Shape.Key("log", log, "The event log that the gateway writes."),
        Shape.Key("gateway", gateway, "The proxy."),
        Shape.Key("pump", pump, "Delivery of records to sinks."),
        Shape.Key("rollups", .list(rollup), "Rollups of your own beside the built-in ones."),
        Shape.Key("aggregator", aggregator, "The folding of records into rollups."),
        Shape.Key("records", records, "Raw records, for the log browser; not kept unless given."),
        Shape.Key("meters", .list(meter), "Quantities counted per application for bills."),
        Shape.Key("webhooks", .list(webhook), "Who is told of alerts."),
        Shape.Key("alerts", .list(alert), "What is watched."),
        Shape.Key("serve", serve, "The query API."),
        Shape.Key("metrics", metrics, "A page of metrics for roles without the query API."),
    ])

    static let second = Duration.seconds(1)

    private static let log = Shape.map([
        Shape.Key(
            "sync",
            .choice(SyncMode.allCases.map(\.rawValue)),
            "When written records are forced to stable storage.",
            standard: "interval"
        ),
        Shape.Key(
            "sync_interval",
            .duration(.milliseconds(1)...second * 60),
            "Longest wait for a sync in mode `interval`: what a power cut may lose.",
            standard: "10ms"
        ),
        Shape.Key(
            "segment_bytes",
            .bytes((1 << 20)...(4 << 30)),
            "Size at which a segment file is sealed.",
            standard: "256MiB"
        ),
        Shape.Key(
            "retain",
            .map([
                Shape.Key(
                    "age",
                    .duration(second...second * 86_400 * 3_660),
                    "Consumed segments younger than this are kept.",
                    standard: "7d"
                ),
                Shape.Key(
                    "bytes",
                    .bytes((1 << 20)...(1 << 50)),
                    "Total size above which the oldest consumed segments go.",
                    standard: "50GiB"
                ),
            ]),
            "What is kept of segments that every consumer has passed."
        ),
        Shape.Key(
            "on_full",
            .choice(FullPolicy.allCases.map(\.rawValue)),
            "What happens to requests when the disk is full.",
            standard: "block"
        ),
    ])

    private static let gateway = Shape.map([
        Shape.Key("listen", .listenAddress, "Where it listens.", standard: "127.0.0.1:8080"),
        Shape.Key(
            "threads",
            .integer(0...256),
            "Event loops; 0 means one per core.",
            standard: "0"
        ),
        Shape.Key(
            "trusted_proxies",
            .list(.network),
            "Networks whose X-Forwarded-For is believed.",
            standard: "[]"
        ),
        Shape.Key(
            "credential_key",
            .secret,
            "Key under which credentials are hashed; the same on all gateways of a deployment.",
            standard: "a random key in the data directory"
        ),
        Shape.Key(
            "client_ip",
            .choice(ClientIPPolicy.allCases.map(\.rawValue)),
            "How much of a client's address is recorded.",
            standard: "full"
        ),
        Shape.Key("query", .boolean, "Whether query strings are recorded.", standard: "false"),
        Shape.Key("limits", limits, "Sizes beyond which a request is refused."),
        Shape.Key("timeouts", timeouts, "Times after which the gateway gives up."),
        Shape.Key("apis", .list(api), "The APIs."),
        Shape.Key("keys", .list(key), "API keys."),
    ])

    private static let limits = Shape.map([
        Shape.Key(
            "header_bytes",
            .bytes(1_024...(60 << 10)),
            "Request line and header fields together.",
            standard: "32KiB"
        ),
        Shape.Key(
            "body_bytes",
            .bytes(0...(1 << 40)),
            "Request body.",
            standard: "64MiB"
        ),
        Shape.Key(
            "connections",
            .integer(1...1_000_000),
            "Client connections at once.",
            standard: "10000"
        ),
    ])

    private static let timeouts = Shape.map([
        Shape.Key("connect", wait, "Connecting to an upstream.", standard: "3s"),
        Shape.Key(
            "upstream",
            wait,
            "Waiting for the upstream's first or next bytes.",
            standard: "30s"
        ),
        Shape.Key("request", wait, "Waiting for the rest of a request.", standard: "30s"),
        Shape.Key("idle", wait, "Keeping a silent client connection.", standard: "75s"),
        Shape.Key("drain", wait, "Letting requests finish after a stop signal.", standard: "10s"),
    ])

    private static let wait = Shape.duration(.milliseconds(10)...second * 3_600)

    private static let api = Shape.map([
        Shape.Key("id", .name, "Name in records and queries.", isRequired: true),
        Shape.Key("org", .name, "Organisation that owns it.", isRequired: true),
        Shape.Key("version", .name, "Version written to records."),
        Shape.Key(
            "listen_path",
            .listenPath,
            "Path prefix that selects this API.",
            isRequired: true
        ),
        Shape.Key(
            "strip_listen_path",
            .boolean,
            "Whether the prefix is taken off before forwarding.",
            standard: "false"
        ),
        Shape.Key(
            "upstreams",
            .list(.upstream),
            "Servers that requests go to in turn: http://host:port, or builtin:demo.",
            isRequired: true
        ),
        Shape.Key(
            "auth",
            .map([
                Shape.Key(
                    "mode",
                    .choice(["none", "key", "jwt"]),
                    "How callers show who they are.",
                    standard: "none"
                ),
                Shape.Key(
                    "header",
                    .headerName,
                    "Header field that carries the key.",
                    standard: "X-Api-Key"
                ),
            ]),
            "Authentication."
        ),
        Shape.Key(
            "routes",
            .list(.route),
            "Route templates that requests are counted under.",
            standard: "[]"
        ),
        Shape.Key("tags", .list(tag), "Tags of its records, at most 16.", standard: "[]"),
        Shape.Key(
            "rate_limit",
            .map([
                Shape.Key("requests", .integer(1...1_000_000_000), "Requests allowed."),
                Shape.Key("per", .duration(second...second * 86_400), "In this time."),
            ]),
            "Requests allowed per time."
        ),
    ])

    private static let tag = Shape.map([
        Shape.Key("name", .name, "Name; tag.NAME in rollups and questions.", isRequired: true),
        Shape.Key("value", .name, "Value, if it is always the same."),
        Shape.Key("header", .headerName, "Header field of requests that carries the value."),
        Shape.Key(
            "bytes_max",
            .integer(1...256),
            "Longest value from a header field; the rest is cut off.",
            standard: "64"
        ),
    ])

    private static let key = Shape.map([
        Shape.Key("id", .name, "Name of the key.", isRequired: true),
        Shape.Key("secret", .secret, "What the caller sends.", isRequired: true),
        Shape.Key("org", .name, "Organisation whose APIs accept it; all if absent."),
        Shape.Key("application", .name, "Application that uses it."),
        Shape.Key("developer", .name, "Developer who uses it."),
        Shape.Key("plan", .name, "Plan it belongs to."),
    ])

    private static let rollup = Shape.map([
        Shape.Key("name", .name, "Name of the rollup.", isRequired: true),
        Shape.Key(
            "dimensions",
            .list(.name),
            "What it groups by; tag.NAME is the value of a tag.",
            isRequired: true
        ),
        Shape.Key(
            "tiers",
            .list(.choice(Tier.allCases.map(\.rawValue))),
            "Bucket sizes kept.",
            standard: "[1m, 15m, 1d]"
        ),
        Shape.Key("retain", retain, "How long its tiers are kept, where that differs."),
    ])

    /// How long tiers are kept.
    private static let retain = Shape.map(
        Tier.allCases.map { tier in
            Shape.Key(
                tier.rawValue,
                .duration(second * 3_600...second * 86_400 * 36_500),
                "How long buckets of \(tier.rawValue) are kept, by whole "
                    + (tier == .minute ? "days" : tier == .day ? "years" : "months") + " of UTC.",
                standard: "for ever"
            )
        }
    )

    private static let records = Shape.map([
        Shape.Key(
            "retain",
            .duration(second * 3_600...second * 86_400 * 36_500),
            "How long raw records are kept, by whole days of UTC.",
            isRequired: true
        )
    ])

    private static let aggregator = Shape.map([
        Shape.Key(
            "flush_interval",
            .duration(.milliseconds(10)...second * 60),
            "Longest time between two folds while records arrive.",
            standard: "250ms"
        ),
        Shape.Key(
            "flush_records",
            .integer(1...10_000_000),
            "Records after which a fold does not wait for the interval.",
            standard: "250000"
        ),
        Shape.Key(
            "compact_interval",
            .duration(.milliseconds(100)...second * 3_600),
            "Time between two runs of the compactor.",
            standard: "2s"
        ),
        Shape.Key(
            "keys_max",
            .integer(1...100_000_000),
            "Most keys of a bucket and organisation; the rest is __other__.",
            standard: "100000"
        ),
        Shape.Key("retain", retain, "How long the tiers of all rollups are kept."),
    ])

    private static let serve = Shape.map([
        Shape.Key("listen", .listenAddress, "Where it listens.", standard: "127.0.0.1:8090"),
        Shape.Key(
            "requests_max",
            .integer(0...1_000_000),
            "Requests per second of one token, on average; five seconds' worth at once; 0: any.",
            standard: "200"
        ),
        Shape.Key(
            "attempts_max",
            .integer(0...1_000_000),
            "Requests per second without a valid token from one address, likewise.",
            standard: "20"
        ),
        Shape.Key(
            "audit_retain",
            .duration(.zero...second * 86_400 * 3_660),
            "How long it is kept which token asked what and when; 0s: not at all.",
            standard: "30d"
        ),
        Shape.Key(
            "replicas",
            .list(.secret),
            "libpq URIs of streaming replicas of `postgres` that questions are read from."
        ),
        Shape.Key(
            "replica_lag_max",
            .duration(.milliseconds(100)...second * 3_600),
            "How far a replica may be behind and still answer.",
            standard: "10s"
        ),
        Shape.Key(
            "check_interval",
            .duration(.milliseconds(100)...second * 3_600),
            "Time between two looks at meters and alerts.",
            standard: "30s"
        ),
        Shape.Key(
            "cors_origins",
            .list(.text),
            "Origins whose pages may ask, such as https://status.example.com; none by default."
        ),
    ])

    private static let metrics = Shape.map([
        Shape.Key(
            "listen",
            .listenAddress,
            "Where `/metrics`, `/livez` and nothing else is answered; nowhere if absent."
        )
    ])
}
