import Aggregator
import ArgumentParser
import Console
import FileIO
import Foundation
import SluiceConfiguration

/// `sluice replay`.
struct ReplayCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "replay",
        abstract: "Rebuild the rollups from the event logs, or check them against the logs.",
        discussion: """
            The rollups are rebuilt in tables of their own while counting goes on, and take the
            place of the live ones in one transaction. Interrupted, the same command continues.
            Only whole days (UTC) of which all records are still there are rebuilt; earlier ones
            keep their rows. Reads the logs of this data directory, so it must hold all of them.

            EXAMPLES:
              sluice replay --rollups
              sluice replay --rollups --from 2026-03-01 --to 2026-04-01
              sluice replay --rollups --verify
            """
    )

    @OptionGroup var options: ConfigurationOptions

    @Flag(help: "Rebuild the rollups.")
    var rollups = false

    @Option(help: "Days before this one (YYYY-MM-DD, UTC) keep their rows.")
    var from: String?

    @Option(help: "This day (YYYY-MM-DD, UTC) and those after it keep their rows.")
    var to: String?

    @Flag(help: "Only compare with the live rollups; exit code 1 if they differ.")
    var verify = false

    @Option(help: "Format of the summary: table, json, csv or ndjson.")
    var format = OutputFormat.table

    mutating func validate() throws {
        guard rollups else { throw ValidationError("say what to replay: --rollups") }
        let range = (try Self.day(from, "--from"), try Self.day(to, "--to"))
        if let from = range.0, let to = range.1, from >= to {
            throw ValidationError("--from must be before --to")
        }
    }

    mutating func run() async throws {
        try LogSetup.bootstrap()
        let settings = try options.load()
        let data = DataDirectory(settings.data)
        let (from, to) = (try Self.day(from, "--from"), try Self.day(to, "--to"))
        let verifies = verify
        let started = ContinuousClock.now
        let report = try await DatabaseAccess.with(settings) { uri in
            _ = try await Migrator().migrate(uri)
            return try await blocking("replay") { () throws -> ReplayReport in
                let logs = try data.logs()
                let bar = RateBar("rebuilding")
                defer { bar.finish() }
                do {
                    return try Replay(
                        AggregatorConfiguration(postgres: uri, data: settings.data),
                        directory: logs,
                        time: SystemTimeSource()
                    ).run(from: from, to: to, verifies: verifies) { bar.update($0, of: $1) }
                } catch let error as ReplayError {
                    throw CommandFailure.failed("\(error)")
                }
            }
        }
        let seconds = Double((ContinuousClock.now - started).components.seconds)
        var table = Table([
            "generation", "resumed", "folded", "deleted", "rebuilt_from", "rebuilt_to",
            "rows_compared", "rows_different", "seconds",
        ])
        table.rows = [
            [
                .text("\(report.generation)"), .text(report.isResumed ? "yes" : "no"),
                .text("\(report.folded)"), .text("\(report.tombstoned)"),
                .text(report.from.map(Self.shown) ?? "beginning"),
                .text(report.to.map(Self.shown) ?? "end"),
                .text(verifies ? "\(report.rowsCompared)" : "-"),
                .text(verifies ? "\(report.differences.values.reduce(0, +))" : "-"),
                .text("\(Int(seconds))"),
            ]
        ]
        Terminal.show(table, format)
        guard report.differences.isEmpty else {
            let list = report.differences.sorted { $0.key < $1.key }
                .map { "\($0.key) in \($0.value) rows" }.joined(separator: ", ")
            throw CommandFailure.failed("the rollups differ from the logs: \(list)")
        }
    }

    /// The beginning of a day, µs since the epoch.
    private static func day(_ text: String?, _ option: String) throws -> Int64? {
        guard let text else { return nil }
        let style = Date.ISO8601FormatStyle(timeZone: .gmt).year().month().day()
        guard let date = try? style.parse(text) else {
            throw ValidationError("\(option): \"\(text)\" is no day; write it as 2026-03-01")
        }
        return Int64(date.timeIntervalSince1970) * 1_000_000
    }

    /// A day as people write it.
    private static func shown(_ microseconds: Int64) -> String {
        Date(timeIntervalSince1970: Double(microseconds / 1_000_000))
            .formatted(Date.ISO8601FormatStyle(timeZone: .gmt).year().month().day())
    }
}

/// A progress bar with rate and estimate; nothing unless standard error is a terminal.
private final class RateBar {
    private let title: String
    private let started = ContinuousClock.now
    private var first: UInt64?

    /// A bar that shows nothing yet.
    init(_ title: String) { self.title = title }

    /// Shows that `done` of `total` offsets are folded.
    func update(_ done: UInt64, of total: UInt64) {
        guard Terminal.hasError, total > 0 else { return }
        let base = first ?? done
        first = base
        let elapsed = (ContinuousClock.now - started) / .seconds(1)
        let rate = elapsed > 0 ? Double(done - min(base, done)) / elapsed : 0
        let left = rate > 0 ? Int(Double(total - min(done, total)) / rate) : 0
        let filled = Int(min(30, done * 30 / total))
        let bar =
            String(repeating: "█", count: filled) + String(repeating: "░", count: 30 - filled)
        Terminal.write(
            "\r\(title)  \(bar) \(min(100, done * 100 / total)) %  \(Units.count(Int(rate)))/s"
                + "  \(left) s left\u{1B}[K"
        )
    }

    /// Takes the line away.
    func finish() { if Terminal.hasError { Terminal.write("\r\u{1B}[K") } }
}
