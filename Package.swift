// swift-tools-version: 6.3
// The arrows of the data flow, lowest first. Nothing below names anything above it; only the
// executable sees everything. `ARCHITECTURE.md` draws the same picture.
import PackageDescription

/// Settings of every Swift target: the language's strict modes, and warnings as errors.
let strict: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    .enableExperimentalFeature("Lifetimes"),
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
    .treatWarning("DeprecatedDeclaration", as: .warning),
]

func module(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: strict)
}

func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .testTarget(
        name: name + "Tests",
        dependencies: [.target(name: name)] + dependencies,
        swiftSettings: strict
    )
}

let nio: [Target.Dependency] = [
    .product(name: "NIOCore", package: "swift-nio"),
    .product(name: "NIOPosix", package: "swift-nio"),
]
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let lifecycle: Target.Dependency = .product(
    name: "ServiceLifecycle",
    package: "swift-service-lifecycle"
)
let crypto: Target.Dependency = .product(name: "Crypto", package: "swift-crypto")

/// What the aggregator's tests drive it with, besides the aggregator.
let aggregatorTests: [Target.Dependency] = [
    "Records", "Rollups", "EventLog", "FileIO", "FileIOTesting", "Postgres", "PostgresTesting",
    "Kafka", "KafkaTesting", "Telemetry", "Threads", logging, lifecycle,
]

let protobuf: Target.Dependency = .product(name: "SwiftProtobuf", package: "swift-protobuf")

let package = Package(
    name: "sluice",
    products: [.executable(name: "sluice", targets: ["Sluice"])],
    dependencies: [
        // The event loops and channels of the gateway; we would write our own epoll loop.
        .package(url: "https://github.com/apple/swift-nio.git", from: "2.101.2"),
        // The query API's router and server; we would write routing and HTTP semantics.
        .package(
            url: "https://github.com/hummingbird-project/hummingbird.git",
            from: "2.28.1",
            traits: []
        ),
        // Options, help pages and shell completions; we would write a parser.
        .package(url: "https://github.com/apple/swift-argument-parser.git", from: "1.8.2"),
        // Structured log lines; we would invent a logger.
        .package(url: "https://github.com/apple/swift-log.git", from: "1.16.2"),
        // HMAC, SHA-256 and constant-time comparison; never our own.
        .package(url: "https://github.com/apple/swift-crypto.git", from: "4.5.2"),
        // YAML with line numbers; we would write a YAML parser.
        .package(url: "https://github.com/jpsim/Yams.git", from: "6.2.2"),
        // Orderly start and reverse-order shutdown on signals; we would write a task supervisor.
        .package(
            url: "https://github.com/swift-server/swift-service-lifecycle.git",
            from: "2.13.0"
        ),
        // The HTTP client of `sluice query` and `sluice status`; only the executable sees it.
        .package(url: "https://github.com/swift-server/async-http-client.git", from: "1.37.0"),
        // The oracle that our record codec is compared with; tests only.
        .package(url: "https://github.com/apple/swift-protobuf.git", from: "1.39.0"),
    ],
    targets: [
        // C: the few calls that Swift cannot spell safely, and the system libraries.
        .target(name: "CSluice"),
        .systemLibrary(name: "CLibpq", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
        .systemLibrary(
            name: "CLibrdkafka",
            pkgConfig: "rdkafka",
            providers: [.apt(["librdkafka-dev"])]
        ),
        .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),

        // Foundations without I/O of their own.
        module("Telemetry"),
        module("Records"),
        // Without Foundation nothing else brings `sqrt` and `ceil`.
        .target(
            name: "Rollups",
            dependencies: ["Records"],
            swiftSettings: strict,
            linkerSettings: [.linkedLibrary("m")]
        ),

        // The seams to the operating system.
        module("Threads", ["CSluice"]),
        module("FileIO", ["CSluice", "CZlib"]),
        module("FileIOTesting", ["FileIO"]),

        // Stages, in the order in which a record passes them.
        module("EventLog", ["Records", "FileIO", "Threads"]),
        module(
            "Gateway",
            ["Records", "EventLog", "FileIO", "Telemetry", logging, crypto, lifecycle] + nio
        ),
        module(
            "LoadGeneration",
            [
                "Records", "EventLog", "FileIO",
                .product(name: "NIOHTTP1", package: "swift-nio"),
            ] + nio
        ),
        module("Importing", ["Records", "EventLog", "FileIO", crypto]),
        module("Postgres", ["CLibpq", "Threads"]),
        module("Kafka", ["CLibrdkafka", "Threads"]),
        module("KafkaTesting", ["CLibrdkafka", "Kafka"]),
        module("EmbeddedPostgres", ["Postgres", "FileIO", "Threads", logging]),
        module("PostgresTesting", ["Postgres", "EmbeddedPostgres", "Threads", logging]),
        module(
            "Aggregator",
            [
                "Records", "Rollups", "EventLog", "FileIO", "Postgres", "Kafka", "Threads",
                "Telemetry", logging, lifecycle,
            ]
        ),
        module(
            "Sinks",
            ["Records", "EventLog", "FileIO", "Kafka", "Threads", "Telemetry", logging]
        ),
        module(
            "Pump",
            [
                "Records", "EventLog", "FileIO", "Sinks", "Threads", "Telemetry", logging,
                lifecycle,
            ]
        ),
        module(
            "Query",
            [
                "Records", "Rollups", "Postgres", "Telemetry", logging, crypto, lifecycle,
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "HummingbirdCore", package: "hummingbird"),
            ]
        ),

        // Traffic for demonstrations and measurements: clients, and records by the million.

        // Assembly.
        module("Console"),
        module("SluiceConfiguration", ["Rollups", .product(name: "Yams", package: "Yams")]),
        .executableTarget(
            name: "Sluice",
            dependencies: [
                "Records", "Rollups", "FileIO", "EventLog", "Gateway", "Importing", "Postgres",
                "EmbeddedPostgres", "Aggregator", "Query", "SluiceConfiguration", "LoadGeneration",
                "Kafka", "Sinks", "Pump",
                "Console", "Telemetry", "Threads", logging, crypto, lifecycle,
                .product(name: "AsyncHTTPClient", package: "async-http-client"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ] + nio,
            swiftSettings: strict
        ),

        // Timings of the hot path; not part of any product.
        .executableTarget(
            name: "SluiceBench",
            dependencies: [
                "Records", "Rollups", "EventLog", "FileIO", "Threads", "Aggregator",
                "EmbeddedPostgres", "Postgres", "Kafka", "Telemetry",
                logging,
            ],
            path: "Benchmarks/SluiceBench",
            swiftSettings: strict
        ),

        // Tests. `TidyTests` checks style, import arrows and links.
        tests("Records", ["RecordsOracle", protobuf]),
        // Generated by scripts/generate-protobuf.sh; not held to our settings.
        .target(
            name: "RecordsOracle",
            dependencies: [protobuf],
            path: "Tests/RecordsOracle"
        ),
        tests("Rollups", ["Records"]),
        tests("Threads", []),
        tests("FileIO", ["FileIOTesting"]),
        tests("EventLog", ["FileIO", "FileIOTesting", "Records", "Threads"]),
        tests("Postgres", ["PostgresTesting"]),
        tests("Kafka", ["KafkaTesting", "SluiceConfiguration", "Threads"]),
        tests("Importing", ["Records", "EventLog", "FileIO", "FileIOTesting"]),
        tests("EmbeddedPostgres", ["Postgres", "PostgresTesting", logging]),
        tests("Aggregator", aggregatorTests),
        .testTarget(name: "TidyTests", swiftSettings: strict),
        tests(
            "Query",
            ["Records", "Rollups", "Postgres", "PostgresTesting", "Telemetry", logging, lifecycle]
        ),
        tests(
            "Gateway",
            ["FileIOTesting", "EventLog", "FileIO", "Records", "Telemetry", logging] + nio
        ),
        tests(
            "Sinks",
            [
                "Records", "EventLog", "FileIO", "FileIOTesting", "Kafka", "KafkaTesting",
                "Telemetry", "Threads", logging,
            ]
        ),
        tests(
            "Pump",
            [
                "Sinks", "Records", "EventLog", "FileIO", "FileIOTesting", "Kafka", "KafkaTesting",
                "Telemetry", "Threads", logging,
                .product(name: "ServiceLifecycleTestKit", package: "swift-service-lifecycle"),
            ]
        ),
        tests("SluiceConfiguration", ["Rollups"]),
        tests("Console", []),
        tests("LoadGeneration", ["FileIOTesting"]),
        // The whole way of a record, in one process, from one seed.
        .testTarget(
            name: "SimulationTests",
            dependencies: [
                "Records", "Rollups", "EventLog", "FileIO", "FileIOTesting", "Sinks", "Pump",
                "Aggregator", "Postgres", "PostgresTesting", "Telemetry", "Threads", logging,
            ],
            swiftSettings: strict
        ),
        // Kept corpora (`Tests/Corpora`) and seeded changes of them, for every parser.
        .testTarget(
            name: "FuzzTests",
            dependencies: [
                "Aggregator", "EventLog", "FileIO", "FileIOTesting", "Gateway", "Importing",
                "Query", "Records", "Sinks", "SluiceConfiguration", logging,
            ],
            swiftSettings: strict
        ),
    ],
    swiftLanguageModes: [.v6]
)
