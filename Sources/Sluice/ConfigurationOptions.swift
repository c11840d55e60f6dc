import ArgumentParser
import Foundation
import Kafka
import SluiceConfiguration

/// The options that every command with a configuration takes.
struct ConfigurationOptions: ParsableArguments {
    @Option(
        name: .long,
        help: ArgumentHelp(
            "Configuration file. Default: $SLUICE_CONFIG, else ./sluice.yaml if it is there.",
            valueName: "file"
        ),
        completion: .file(extensions: ["yaml", "yml"])
    )
    var config: String?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Data directory; overrides the configuration. Default: ./sluice-data.",
            valueName: "directory"
        ),
        completion: .directory
    )
    var data: String?

    /// Reads file and environment; what is wrong is not yet an error.
    func loadUnchecked() throws(CommandFailure) -> (LoadedConfiguration, name: String) {
        let environment = ProcessInfo.processInfo.environment
        var path = config
        if path == nil, let variable = environment["SLUICE_CONFIG"], !variable.isEmpty {
            path = variable
        }
        if path == nil, FileManager.default.fileExists(atPath: "sluice.yaml") {
            path = "sluice.yaml"
        }
        var text: String?
        if let path {
            do {
                text = try Self.readText(path)
            } catch {
                throw .usage(
                    "could not read the configuration file \"\(path)\": \(Self.reason(error))"
                )
            }
        }
        let loader = ConfigurationLoader(
            environment: environment,
            hostName: ProcessInfo.processInfo.hostName,
            kafkaRefusal: { KafkaConfiguration.refusal(of: $0, $1) },
            refusals: .ofModules,
            readFile: { path in
                do {
                    return try Self.readText(path)
                } catch {
                    throw CommandFailure.usage(Self.reason(error))
                }
            }
        )
        var loaded = loader.load(text, name: path ?? "configuration")
        if let data {
            if data.isEmpty { throw .usage("--data needs the path of a directory") }
            loaded.settings.data = data
        }
        return (loaded, path ?? "(no file: defaults and environment)")
    }

    /// Reads file and environment, and fails with every problem.
    func load() throws(CommandFailure) -> Settings {
        let (loaded, name) = try loadUnchecked()
        guard loaded.problems.isEmpty else {
            let lines = loaded.problems.map { "  \($0)" }.joined(separator: "\n")
            throw .usage("the configuration \(name) cannot be used:\n\(lines)")
        }
        return loaded.settings
    }

    private static func readText(_ path: String) throws -> String {
        let data = try Data(contentsOf: URL(fileURLWithPath: path))
        return String(decoding: data, as: UTF8.self)
    }

    private static func reason(_ error: any Error) -> String {
        if let error = error as? CocoaError {
            switch error.code {
            case .fileReadNoSuchFile, .fileNoSuchFile: return "there is no such file"
            case .fileReadNoPermission: return "permission denied"
            default: break
            }
        }
        return error.localizedDescription
    }
}
