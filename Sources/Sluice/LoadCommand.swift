import ArgumentParser
import Console
import EventLog
import FileIO
import Foundation
import LoadGeneration
import SluiceConfiguration

extension TrafficProfile.Name: ExpressibleByArgument {}
extension TrafficProfile.Latency: ExpressibleByArgument {}

/// `sluice load`.
struct LoadCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "load",
        abstract: "Generate seeded traffic against a gateway, or records straight into a log.",
        // In full, however many there are: what is not in it can be named as the mistake.
        usage: """
            sluice load [--url <url>] [--into <dir>] [--rate <rate>] [--duration <duration>] \
            [--connections <connections>] [--records <records>] [--profile <profile>] \
            [--latency <latency>] [--seed <seed>] [--start <start>] [--step <step>] \
            [--tenants <tenants>] [--format <format>]
            """,
        discussion: """
            With --url the requests of the demonstration are sent at a fixed rate, however long \
            the answers take; latency counts from the moment at which a request was due.

            EXAMPLES:
              sluice load --url http://127.0.0.1:8080 --rate 1000 --duration 10s
              sluice load --into sluice-data --records 1000000 --profile platform --seed 7
            """
    )

    @Option(help: ArgumentHelp("Gateway to send requests to.", valueName: "url"))
    var url: String?

    @Option(
        help: ArgumentHelp("Data directory to write records into.", valueName: "dir"),
        completion: .directory
    )
    var into: String?

    @Option(help: "Requests due per second.")
    var rate = 100.0

    @Option(help: "How long to send: 500ms, 10s, 5m.")
    var duration = "10s"

    @Option(help: "Connections kept open.")
    var connections = 32

    @Option(help: "Records to write with --into.")
    var records = 100_000

    @Option(
        help: """
            Population: demo, ten (1 API, 10 keys), platform (200 APIs, 12 routes each, \
            20,000 keys).
            """
    )
    var profile: TrafficProfile.Name?

    @Option(help: "Shape of latencies with --into: lognormal, bimodal, constant.")
    var latency = TrafficProfile.Latency.lognormal

    @Option(help: "Decides every request; the same seed gives the same traffic.")
    var seed: UInt64 = 1

    @Option(
        help:
            "Event time of the first record with --into, RFC 3339. Default: the last is now."
    )
    var start: String?

    @Option(help: "Event time between two records with --into, microseconds.")
    var step: Int64 = 200

    @Option(help: "Values of the tag `tenant` of records with --into; 0: no tag.")
    var tenants = 0

    @Option(help: "Format of the report: table, json, csv or ndjson.")
    var format = OutputFormat.table

    mutating func validate() throws {
        guard (url == nil) != (into == nil) else {
            throw ValidationError("give either --url GATEWAY or --into DATA_DIRECTORY")
        }
        guard rate > 0, rate <= 1_000_000 else {
            throw ValidationError("--rate goes from more than 0 to 1,000,000 requests per second")
        }
        guard (1...10_000).contains(connections) else {
            throw ValidationError("--connections goes from 1 to 10,000")
        }
        guard (1...1_000_000_000).contains(records) else {
            throw ValidationError("--records goes from 1 to 1,000,000,000")
        }
        guard (0...86_400_000_000).contains(step) else {
            throw ValidationError("--step goes from 0 to 86,400,000,000 microseconds")
        }
        if url != nil, let profile, profile != .demo {
            throw ValidationError(
                "--url sends the requests of the profile demo; \(profile.rawValue) is for --into"
            )
        }
        if let start, (try? Date(start, strategy: .iso8601)) == nil {
            throw ValidationError("--start: \"\(start)\" is no time; write 2026-01-01T00:00:00Z")
        }
        _ = try seconds()
        if url != nil { _ = try endpoint() }
    }

    mutating func run() async throws {
        if url != nil { try await sendRequests() } else { try await writeRecords() }
    }

    private func seconds() throws -> Double {
        guard let seconds = DurationText.seconds(duration) else {
            throw ValidationError(
                "--duration: \"\(duration)\" is no duration; write 500ms, 10s or 5m"
            )
        }
        guard rate * seconds <= 100_000_000 else {
            throw ValidationError("more than 100,000,000 requests: lower --rate or --duration")
        }
        return seconds
    }

    private func endpoint() throws -> (host: String, port: Int) {
        guard let parts = URLComponents(string: url ?? ""), parts.scheme == "http",
            let host = parts.host, !host.isEmpty, parts.path.isEmpty || parts.path == "/"
        else {
            throw ValidationError("--url: \"\(url ?? "")\" is not of the form http://host:port")
        }
        let bare = host.hasPrefix("[") ? String(host.dropFirst().dropLast()) : host
        return (bare, parts.port ?? 80)
    }

    private func sendRequests() async throws {
        let (host, port) = try endpoint()
        let requests = max(1, Int((rate * (try seconds())).rounded()))
        let plan = HTTPLoad(
            host: host,
            port: port,
            rate: rate,
            requests: requests,
            connections: connections,
            seed: seed
        )
        let bar = ProgressBar("sending", total: requests)
        let report: HTTPLoadReport
        do {
            report = try await plan.run { bar.update($0) }
            bar.finish()
        } catch {
            bar.finish()
            throw CommandFailure.failed(
                "could not connect to \(url ?? ""): \(error); is a gateway listening there?"
            )
        }
        Terminal.output(Self.summary(report).text(format))
        if format == .table {
            var statuses = Table(["status", "answers"])
            statuses.rows = report.statuses.sorted { $0.key < $1.key }.map {
                [.text("\($0.key)"), .integer(Int64($0.value))]
            }
            Terminal.output("\n")
            Terminal.show(statuses, format)
        }
        if report.completed == 0 { throw CommandFailure.failed("no request was answered") }
    }

    private static func summary(_ report: HTTPLoadReport) -> Table {
        var table = Table(
            [
                "sent", "completed", "failed", "seconds", "per_second", "latency_p50",
                "latency_p99",
                "latency_p999",
            ])
        func latency(_ share: Double) -> Cell { report.quantile(share).map(Cell.seconds) ?? .none }
        let pace = report.seconds > 0 ? Double(report.completed) / report.seconds : 0
        table.rows = [
            [
                .integer(Int64(report.sent)), .integer(Int64(report.completed)),
                .integer(Int64(report.failed)), .seconds(report.seconds),
                .integer(Int64(pace.rounded())), latency(0.5), latency(0.99), latency(0.999),
            ]
        ]
        return table
    }

    private func writeRecords() async throws {
        let data = DataDirectory(into ?? "")
        try data.create()
        let clock = SystemTimeSource()
        let now = clock.wallMicroseconds()
        let begin =
            try start.map { Int64(try Date($0, strategy: .iso8601).timeIntervalSince1970) }
            .map { $0 * 1_000_000 } ?? now - step * Int64(records)
        var plan = LogLoad(
            profile: TrafficProfile(profile ?? .platform, latency: latency),
            records: records,
            seed: seed,
            start: begin,
            stepMicroseconds: step
        )
        plan.tenants = max(0, tenants)
        let settings = Settings()
        var configuration = settings.logConfiguration()
        configuration.node = "load"
        let bar = ProgressBar("writing", total: records)
        let logs = try data.logs()
        let started = clock.monotonicNanoseconds()
        let (log, end) = try await blocking("load") { [configuration, plan] in
            try plan.write(into: logs, configuration) { bar.update($0) }
        }
        bar.finish()
        let seconds = Double(clock.monotonicNanoseconds() - started) / 1e9
        var table = Table(["log", "records", "end_offset", "seconds", "records_per_second"])
        table.rows = [
            [
                .text("\(log)"), .integer(Int64(records)), .offset(end), .seconds(seconds),
                .integer(Int64(Double(records) / max(seconds, 1e-9))),
            ]
        ]
        Terminal.show(table, format)
    }
}
