import ArgumentParser
import Console
import Foundation

/// The entry point: parses the arguments, runs the command, turns failures into exit codes.
@main
struct Main {
    /// Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.
    static func main() async {
        do {
            var command = try SluiceCommand.parseAsRoot()
            if var command = command as? any AsyncParsableCommand {
                try await command.run()
            } else {
                try command.run()
            }
        } catch let failure as CommandFailure {
            Terminal.error(failure.description)
            exit(failure.code)
        } catch is CancellationError {
            exit(1)
        } catch {
            let code = SluiceCommand.exitCode(for: error)
            if code == .success {
                print(SluiceCommand.fullMessage(for: error))
                exit(0)
            }
            if code == .validationFailure {
                Terminal.write(withHint(SluiceCommand.fullMessage(for: error)))
                exit(2)
            }
            Terminal.error("\(error)")
            exit(1)
        }
    }

    /// The parser's message, and after its first line what else is wrong.
    private static func withHint(_ message: String) -> String {
        var lines = message.split(separator: "\n", omittingEmptySubsequences: false)
        let usage = lines.first { $0.hasPrefix("Usage: ") }?.dropFirst("Usage: ".count) ?? ""
        let hint = UsageHint.text(Array(CommandLine.arguments.dropFirst()), usage: String(usage))
        if !hint.isEmpty, !lines[0].contains("Unknown option") {
            lines[0] += "\n" + hint.dropLast()
        }
        return lines.joined(separator: "\n") + "\n"
    }
}

/// The root command.
struct SluiceCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sluice",
        abstract: "Counts API traffic exactly: gateway, event log, rollups and query API.",
        discussion: """
            EXAMPLES:
              sluice up                           everything, with a demonstration
              sluice import --format combined --org acme --api web --wait access.log
              sluice query --group-by api,route --metrics requests,errors,latency_p99
              sluice check --config sluice.yaml   every problem of a file, with its line
              sluice --generate-completion-script bash    or zsh, or fish

            Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.
            """,
        version: "sluice 0.1.0",
        subcommands: [
            UpCommand.self, GatewayCommand.self, PumpCommand.self, AggregatorCommand.self,
            ServeCommand.self, ImportCommand.self, QueryCommand.self, TopCommand.self,
            StatusCommand.self, CheckCommand.self, MigrateCommand.self, TokenCommand.self,
            MeterCommand.self, AlertCommand.self, SinkCommand.self, LogCommand.self,
            DeadLetterCommand.self, RollupCommand.self, ReplayCommand.self, LoadCommand.self,
        ]
    )
}

/// Why a command ends without having done its work.
struct CommandFailure: Error, CustomStringConvertible {
    /// What went wrong and what to do.
    let description: String

    /// 1 for failed, 2 for wrong usage or configuration.
    let code: Int32

    /// The work could not be done.
    static func failed(_ text: String) -> CommandFailure {
        CommandFailure(description: text, code: 1)
    }

    /// The command was called or configured wrongly.
    static func usage(_ text: String) -> CommandFailure {
        CommandFailure(description: text, code: 2)
    }
}
