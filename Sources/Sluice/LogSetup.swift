import Console
import Foundation
import Logging

/// Sends log lines to standard error, at the level that `SLUICE_LOG_LEVEL` names.
enum LogSetup {
    /// To be called once, before the first logger is made.
    static func bootstrap() throws(CommandFailure) {
        var level = Logger.Level.notice
        if let text = ProcessInfo.processInfo.environment["SLUICE_LOG_LEVEL"], !text.isEmpty {
            guard let named = Logger.Level(rawValue: text.lowercased()) else {
                let known = Logger.Level.allCases.map(\.rawValue).joined(separator: ", ")
                throw .usage("SLUICE_LOG_LEVEL: \"\(text)\" is not one of \(known)")
            }
            level = named
        }
        LoggingSystem.bootstrap { [level] label in LineLogHandler(label: label, logLevel: level) }
    }
}

/// One line per event: time, level, origin, event, and its metadata as `name=value` by name.
struct LineLogHandler: LogHandler {
    /// Where the line comes from, as `sluice.gateway`.
    let label: String

    /// The least severe level written.
    var logLevel: Logger.Level

    /// Metadata of every line.
    var metadata: Logger.Metadata = [:]

    /// Metadata found when a line is written.
    var metadataProvider: Logger.MetadataProvider?

    /// One piece of metadata of every line.
    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    /// Writes one line with a single call, so that lines of several threads do not mix.
    func log(event: LogEvent) {
        var values = metadata
        if let provided = metadataProvider?.get() { values.merge(provided) { $1 } }
        if let given = event.metadata { values.merge(given) { $1 } }
        if let error = event.error { values["error"] = "\(error)" }
        var line = "\(Date.now.formatted(.iso8601)) \(event.level) \(label) \(event.message)"
        for (name, value) in values.sorted(by: { $0.key < $1.key }) {
            line += " \(name)=\(Self.quoted("\(value)"))"
        }
        Terminal.write(line + "\n")
    }

    /// A value in quotes if it has spaces or control characters.
    private static func quoted(_ text: String) -> String {
        let isPlain = text.unicodeScalars.allSatisfy { $0.value > 0x20 && $0 != "\"" }
        return isPlain && !text.isEmpty ? text : JSONText.quoted(text)
    }
}
