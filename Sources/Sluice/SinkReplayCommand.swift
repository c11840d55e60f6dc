import Console
import EventLog
import FileIO
import Logging
import Pump
import Sinks
import SluiceConfiguration
import Telemetry

/// `sluice replay --sink`.
struct SinkReplayCommand {
    private let settings: Settings
    private let sink: SinkSettings
    private let from: Int64
    private let to: Int64?

    /// A replay into a sink of the configuration.
    ///
    /// - Throws: When there is no such sink.
    init(_ settings: Settings, sink name: String, from: Int64, to: Int64?) throws {
        guard let sink = settings.pump.sinks.first(where: { $0.name == name }) else {
            let names = settings.pump.sinks.map(\.name)
            throw CommandFailure.usage(
                "there is no sink \"\(name)\"; "
                    + (names.isEmpty
                        ? "the configuration has none (pump.sinks)"
                        : "the configuration has \(names.joined(separator: ", "))")
            )
        }
        self.settings = settings
        self.sink = sink
        self.from = from
        self.to = to
    }

    /// Delivers, and shows what was done.
    func run(_ format: OutputFormat) async throws {
        let data = DataDirectory(settings.data)
        guard data.exists else {
            throw CommandFailure.failed("there is no data directory \"\(data.path)\"")
        }
        let destination = SinkAssembly.sink(
            sink,
            settings,
            fileSystem: data.fileSystem,
            metrics: MetricsRegistry(),
            isReplay: true
        )
        let replay = SinkReplay(
            SinkAssembly.pumped(destination, sink),
            from: from,
            to: to,
            directory: try data.logs(),
            logger: Logger(label: "sluice.replay")
        )
        let bar = RateBar("delivering")
        let started = ContinuousClock.now
        let report: SinkReplayReport
        do {
            report = try await replay.run { bar.update($0, of: $1) }
            bar.finish()
        } catch {
            bar.finish()
            throw CommandFailure.failed(
                "\(error); started again with the same times it goes on where it was"
            )
        }
        let counts = report.counts
        var table = Table([
            "sink", "resumed", "from", "to", "logs", "delivered", "present", "rejected", "pending",
            "skipped", "deleted", "unreadable", "seconds",
        ])
        table.rows = [
            [
                .text(sink.name), .text(report.isResumed ? "yes" : "no"), .time(from),
                to.map { .time($0) } ?? .none, .integer(Int64(report.logs)),
                .integer(Int64(clamping: counts.delivered)),
                .integer(Int64(clamping: counts.present)),
                .integer(Int64(clamping: counts.rejected)),
                .integer(Int64(clamping: counts.pending)),
                .integer(Int64(clamping: counts.skipped)),
                .integer(Int64(clamping: counts.deleted)),
                .integer(Int64(clamping: counts.unreadable)),
                .integer((ContinuousClock.now - started).components.seconds),
            ]
        ]
        Terminal.show(table, format)
        guard counts.rejected == 0 else {
            throw CommandFailure.failed(
                "the sink refuses \(counts.rejected) records for good; `sluice dlq ls --sink "
                    + "\(sink.name)` shows those that the pump put aside"
            )
        }
    }
}
