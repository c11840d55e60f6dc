import ArgumentParser
import Console
import Kafka
import SluiceConfiguration

/// `sluice check`.
struct CheckCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Validate the configuration: every problem at once, with line numbers.",
        discussion: """
            EXAMPLES:
              sluice check --config sluice.yaml
              sluice check --format json
            """
    )

    @OptionGroup var options: ConfigurationOptions

    @Option(help: "Format of the list: table, json, csv or ndjson.")
    var format = OutputFormat.table

    mutating func run() async throws {
        var (loaded, name) = try options.loadUnchecked()
        if loaded.problems.isEmpty, let problem = Self.kafkaProblem(loaded.settings, name) {
            loaded.problems.append(problem)
        }
        if format == .table {
            for note in loaded.notes { Terminal.output("note: \(note)\n") }
            for problem in loaded.problems { Terminal.output("error: \(problem)\n") }
            if loaded.problems.isEmpty {
                let apis = loaded.settings.gateway.apis.count
                let keys = loaded.settings.gateway.keys.count
                let sinks = loaded.settings.pump.sinks.count
                Terminal.output(
                    "\(name): no problems; \(apis) APIs, \(keys) keys, \(sinks) sinks\n"
                )
            }
        } else {
            var table = Table(["severity", "file", "line", "column", "variable", "path", "message"])
            table.rows += loaded.problems.map { Self.row("error", $0) }
            table.rows += loaded.notes.map { Self.row("note", $0) }
            Terminal.show(table, format)
        }
        guard loaded.problems.isEmpty else {
            let count = loaded.problems.count
            throw CommandFailure.usage(
                "\(count) problem\(count == 1 ? "" : "s") in the configuration \(name)"
            )
        }
    }

    /// What librdkafka says to all properties together, such as a password without a mechanism;
    /// nil if it takes them. No broker is waited for.
    private static func kafkaProblem(_ settings: Settings, _ name: String) -> ConfigurationProblem?
    {
        guard settings.usesKafka else { return nil }
        do throws(KafkaError) {
            try KafkaProducer(settings.kafkaConfiguration()).close()
            return nil
        } catch {
            return ConfigurationProblem(
                origin: .whole(name: name),
                path: "kafka.client",
                message: "librdkafka does not take these properties together: \(error.message)"
            )
        }
    }

    private static func row(_ severity: String, _ problem: ConfigurationProblem) -> [Cell] {
        let tail: [Cell] = [.text(problem.path), .text(problem.message)]
        switch problem.origin {
        case .file(let name, let line, let column):
            return [
                .text(severity), .text(name), .integer(Int64(line)), .integer(Int64(column)), .none,
            ] + tail
        case .environment(let variable):
            return [.text(severity), .none, .none, .none, .text(variable)] + tail
        case .whole(let name):
            return [.text(severity), .text(name), .none, .none, .none] + tail
        }
    }
}
