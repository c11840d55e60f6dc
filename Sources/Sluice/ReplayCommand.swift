import Aggregator
import ArgumentParser
import Console
import EventLog
import FileIO
import Foundation
import Query
import SluiceConfiguration

/// `sluice replay`.
struct ReplayCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "replay",
        abstract: "Rebuild the rollups from the records, check them, or deliver records again.",
        discussion: """
            --rollups: the rollups are rebuilt in tables of their own while counting goes on, and
            take the place of the live ones in one transaction. Interrupted, the same command
            continues.
            Only whole days (UTC) of which all records are still there are rebuilt; earlier ones
            keep their rows. All records must be in the logs of this data directory, or, with
            --source kafka, in the topic.

            --sink NAME: the records that completed in a range of time are delivered once more to \
            one sink, with their identity. The pump and its checkpoints are left alone; what the \
            pump has not delivered yet is left to it. A sink of type file gets only the records \
            that its directory does not hold, in files of their own.

            EXAMPLES:
              sluice replay --rollups
              sluice replay --rollups --from 2026-03-01 --to 2026-04-01
              sluice replay --rollups --verify
              sluice replay --sink archive --from 2026-03-01 --to 2026-03-02T12:00:00Z
              sluice replay --sink central --from -6h
            """
    )

    @OptionGroup var options: ConfigurationOptions

    @Flag(help: "Rebuild the rollups.")
    var rollups = false

    @Option(help: "Deliver the records once more to this sink of the configuration.")
    var sink: String?

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "Begin: a day (UTC), before which rollups keep their rows; with --sink also "
                + "RFC 3339 or -6h, -7d.",
            valueName: "time"
        )
    )
    var from: String?

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "End, exclusive: a day (UTC), from which on rollups keep their rows; with --sink also "
                + "RFC 3339 or -1h; default: no end.",
            valueName: "time"
        )
    )
    var to: String?

    @Option(
        help: ArgumentHelp(
            "Where --rollups reads the records: logs or kafka. Default: the event logs of the data "
                + "directory if it has any, else the topic if transport is kafka.",
            valueName: "logs|kafka"
        )
    )
    var source: ReplaySourceKind?

    @Flag(help: "Only compare with the live rollups; exit code 1 if they differ.")
    var verify = false

    @Option(help: "Format of the summary: table, json, csv or ndjson.")
    var format = OutputFormat.table

    mutating func validate() throws {
        guard rollups != (sink != nil) else {
            throw ValidationError(
                sink == nil
                    ? "say what to replay: --rollups, or --sink NAME"
                    : "--rollups and --sink are two different replays; give one of them"
            )
        }
        if sink != nil {
            guard !verify else { throw ValidationError("--verify goes with --rollups only") }
            guard source == nil else { throw ValidationError("--source goes with --rollups only") }
            guard from != nil else {
                throw ValidationError("--sink needs --from: from when on to deliver again")
            }
        }
        let range = (try ReplayTime.from(self), try ReplayTime.to(self))
        if let from = range.0, let to = range.1, from >= to {
            throw ValidationError("--from must be before --to")
        }
    }

    mutating func run() async throws {
        try LogSetup.bootstrap()
        let settings = try options.load()
        let (from, to) = (try ReplayTime.from(self), try ReplayTime.to(self))
        if let sink {
            let replay = try SinkReplayCommand(settings, sink: sink, from: from ?? 0, to: to)
            return try await replay.run(format)
        }
        let data = DataDirectory(settings.data)
        let verifies = verify
        let input = try input(settings, data)
        let started = ContinuousClock.now
        let report = try await DatabaseAccess.with(settings) { uri in
            _ = try await Migrator().migrate(uri)
            _ = try await RollupAccess.register(settings, uri)
            return try await blocking("replay") { () throws -> ReplayReport in
                let logs = try data.logs()
                let bar = RateBar("rebuilding")
                defer { bar.finish() }
                do {
                    return try Replay(
                        AggregatorConfiguration(postgres: uri, data: settings.data),
                        directory: logs,
                        time: SystemTimeSource(),
                        input: input
                    ).run(from: from, to: to, verifies: verifies) { bar.update($0, of: $1) }
                } catch let error as ReplayError {
                    throw CommandFailure.failed("\(error)")
                }
            }
        }
        let seconds = Double((ContinuousClock.now - started).components.seconds)
        var table = Table([
            "generation", "resumed", "folded", "deleted", "rebuilt_from", "rebuilt_to",
            "rows_compared", "rows_different", "held_ms", "seconds",
        ])
        table.rows = [
            [
                .text("\(report.generation)"), .text(report.isResumed ? "yes" : "no"),
                .text("\(report.folded)"), .text("\(report.tombstoned)"),
                .text(report.from.map(Self.shown) ?? "beginning"),
                .text(report.to.map(Self.shown) ?? "end"),
                .text(verifies ? "\(report.rowsCompared)" : "-"),
                .text(verifies ? "\(report.differences.values.reduce(0, +))" : "-"),
                .text("\(report.heldMilliseconds)"), .text("\(Int(seconds))"),
            ]
        ]
        Terminal.show(table, format)
        guard report.differences.isEmpty else {
            let list = report.differences.sorted { $0.key < $1.key }
                .map { "\($0.key) in \($0.value) rows" }.joined(separator: ", ")
            throw CommandFailure.failed("the rollups differ from the logs: \(list)")
        }
    }

    /// Where the records are read.
    private func input(_ settings: Settings, _ data: DataDirectory) throws -> ReplayInput {
        switch source {
        case .logs: return .logs
        case .kafka:
            guard !settings.kafka.brokers.isEmpty else {
                throw CommandFailure.usage("--source kafka needs kafka.brokers")
            }
            return .kafka(settings.kafkaSource)
        case nil:
            guard settings.transport == .kafka, try data.logs().logs().isEmpty else { return .logs }
            return .kafka(settings.kafkaSource)
        }
    }

    /// A day as people write it.
    private static func shown(_ microseconds: Int64) -> String {
        Date(timeIntervalSince1970: Double(microseconds / 1_000_000))
            .formatted(Date.ISO8601FormatStyle(timeZone: .gmt).year().month().day())
    }
}

/// Where `--rollups` reads the records.
enum ReplaySourceKind: String, ExpressibleByArgument, CaseIterable {
    case logs
    case kafka
}

/// The times of `--from` and `--to`.
private enum ReplayTime {
    static func from(_ command: ReplayCommand) throws -> Int64? {
        try read(command.from, "--from", isSink: command.sink != nil)
    }

    static func to(_ command: ReplayCommand) throws -> Int64? {
        try read(command.to, "--to", isSink: command.sink != nil)
    }

    /// µs since the epoch.
    private static func read(
        _ text: String?,
        _ option: String,
        isSink: Bool
    ) throws -> Int64? {
        guard let text else { return nil }
        switch TimeExpression(text) {
        case .date(let days): return days * 86_400_000_000
        case .instant(let time) where isSink || time % 86_400_000_000 == 0: return time
        case .relative(let distance) where isSink:
            return SystemTimeSource().wallMicroseconds() + distance
        default:
            throw ValidationError(
                isSink
                    ? "\(option): \"\(text)\" is no time; write 2026-03-01, "
                        + "2026-03-01T06:00:00Z or -6h"
                    : "\(option): \"\(text)\" is no day; write it as 2026-03-01"
            )
        }
    }
}
