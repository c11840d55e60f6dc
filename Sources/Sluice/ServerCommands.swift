import ArgumentParser
import FileIO
import Foundation
import SluiceConfiguration

/// `sluice up`.
struct UpCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "up",
        abstract:
            "Run everything in one process: gateway, pump, aggregator, query API, PostgreSQL.",
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

/// `sluice pump`.
struct PumpCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pump",
        abstract: "Run the pump alone: deliver the event log to Kafka and the other sinks.",
        discussion: """
            One pump runs on a data directory; it reads the logs of every gateway that ever wrote \
            there. When the topic has lost records, ship them once more: they are counted once \
            however often they come.

            EXAMPLES:
              sluice pump --config sluice.yaml
              sluice pump --config sluice.yaml --reship-from 2026-01-31T06:00:00Z
              sluice pump --config sluice.yaml --reship-from -2h
            """
    )

    @OptionGroup var options: ConfigurationOptions

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "Ship records once more to Kafka that were written since: RFC 3339, or -90m, -2h, -7d.",
            valueName: "time"
        )
    )
    var reshipFrom: String?

    mutating func validate() throws {
        _ = try start()
    }

    mutating func run() async throws {
        try LogSetup.bootstrap()
        let settings = try options.load()
        guard !settings.pump.sinks.isEmpty else {
            throw CommandFailure.usage(
                "there is nothing to pump to: set transport: kafka, or list pump.sinks"
            )
        }
        let start = try start()
        if start != nil, !settings.pump.sinks.contains(where: { $0.kind == .kafka }) {
            throw CommandFailure.usage(
                "--reship-from needs a sink of type kafka, and there is none"
            )
        }
        try await ServerProcess(settings: settings, roles: .pump, reshipFrom: start).run()
    }

    /// The time of `--reship-from`, µs since the epoch.
    private func start() throws -> Int64? {
        try reshipFrom.map { text in
            let now = SystemTimeSource().wallMicroseconds()
            guard let start = PastTime.microseconds(text, now: now) else {
                throw ValidationError(
                    "--reship-from: \"\(text)\" is no time in the past; write -2h, -7d, or "
                        + "2026-01-31T06:00:00Z"
                )
            }
            return start
        }
    }
}

/// `sluice aggregator`.
struct AggregatorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "aggregator",
        abstract: "Run the aggregator alone: fold the event log, or Kafka, into PostgreSQL.",
        discussion: """
            With transport: local it reads the event log of its machine, with transport: kafka the \
            topic that the pumps fill. Several may run; each record is still counted once.

            EXAMPLES:
              sluice aggregator --data /var/lib/sluice
              SLUICE_TRANSPORT=kafka SLUICE_KAFKA_BROKERS=10.0.0.1:9092 sluice aggregator
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

/// Reads points in the past from the command line.
enum PastTime {
    /// `-90m`, `-2h`, `-7d`, or RFC 3339; µs since the epoch. Nil if it is no time before `now`.
    static func microseconds(_ text: String, now: Int64) -> Int64? {
        let units: [Character: Int64] = ["s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800]
        if text.first == "-" {
            guard let unit = text.last.flatMap({ units[$0] }),
                let number = Int64(text.dropFirst().dropLast()), (1...1_000_000).contains(number)
            else { return nil }
            return now - number * unit * 1_000_000
        }
        guard let date = try? Date(text, strategy: .iso8601) else { return nil }
        let seconds = date.timeIntervalSince1970
        guard seconds.magnitude < 1e12, Int64(seconds * 1_000_000) <= now else { return nil }
        return Int64(seconds * 1_000_000)
    }
}
