import ArgumentParser

/// `sluice up`.
struct UpCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "up",
        abstract: "Run everything in one process: gateway, aggregator, query API, PostgreSQL.",
        discussion: """
            Without a configuration file it serves a demonstration with a built-in upstream. The \
            first start writes an admin token to DATA/admin.token, which query and status read.

            EXAMPLES:
              sluice up
              sluice up --data /var/lib/sluice --config /etc/sluice.yaml
              SLUICE_GATEWAY_LISTEN=127.0.0.1:0 sluice up     the kernel chooses the port
            """
    )

    @OptionGroup var options: ConfigurationOptions

    mutating func run() async throws {
        try LogSetup.bootstrap()
        try await ServerProcess(settings: try options.load(), roles: .all).run()
    }
}

/// `sluice gateway`.
struct GatewayCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "gateway",
        abstract: "Run the gateway alone: proxy requests and record them in the event log.",
        discussion: """
            EXAMPLES:
              sluice gateway --config sluice.yaml
            """
    )

    @OptionGroup var options: ConfigurationOptions

    mutating func run() async throws {
        try LogSetup.bootstrap()
        try await ServerProcess(settings: try options.load(), roles: .gateway).run()
    }
}

/// `sluice aggregator`.
struct AggregatorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "aggregator",
        abstract: "Run the aggregator alone: fold the event log into PostgreSQL.",
        discussion: """
            Several may run on one data directory; each record is still counted once.

            EXAMPLES:
              sluice aggregator --data /var/lib/sluice
            """
    )

    @OptionGroup var options: ConfigurationOptions

    mutating func run() async throws {
        try LogSetup.bootstrap()
        try await ServerProcess(settings: try options.load(), roles: .aggregator).run()
    }
}

/// `sluice serve`.
struct ServeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve",
        abstract: "Run the query API alone.",
        discussion: """
            EXAMPLES:
              sluice serve --config sluice.yaml
            """
    )

    @OptionGroup var options: ConfigurationOptions

    mutating func run() async throws {
        try LogSetup.bootstrap()
        try await ServerProcess(settings: try options.load(), roles: .serve).run()
    }
}
