import Foundation
import Threads

/// Runs another program to its end and keeps what it printed.
///
/// Blocks the calling thread. Output goes to a file, not a pipe, because a server started by the
/// program may keep the descriptor open for as long as it lives.
struct ExternalCommand {
    let executable: String
    let arguments: [String]

    /// How a program ended.
    struct Outcome {
        let status: Int32
        /// Both output streams, white space trimmed, at most `outputCharactersMax` from the end.
        let output: String
    }

    /// Longest output kept; chosen: enough for the messages of `initdb` and `pg_ctl`.
    static let outputCharactersMax = 4_000

    /// The environment of every program: fixed, so that locale and `PG…` variables of the
    /// caller do not change what the server does.
    static let environment = [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL=C",
    ]

    /// The command as a person would type it.
    var description: String { ([executable] + arguments).joined(separator: " ") }

    /// Runs it; throws only when it cannot be started or does not end in time.
    func run(
        _ attempted: String,
        timeoutSeconds: Int = 120
    ) throws(EmbeddedPostgresError) -> Outcome {
        let outputURL = FileManager.default.temporaryDirectory
            .appendingPathComponent("sluice-command-\(UUID().uuidString)")
        guard
            FileManager.default.createFile(
                atPath: outputURL.path,
                contents: nil,
                attributes: [.posixPermissions: 0o600]
            )
        else {
            throw .fileSystem(
                attempted: "create",
                path: outputURL.path,
                reason: "no output of a command fits"
            )
        }
        defer { try? FileManager.default.removeItem(at: outputURL) }
        do throws(ChildProcessError) {
            let status = try ChildProcess.run(
                executable,
                arguments,
                environment: Self.environment,
                outputPath: outputURL.path,
                timeoutSeconds: timeoutSeconds
            )
            return Outcome(status: status, output: Self.tail(ofFile: outputURL.path))
        } catch {
            switch error {
            case .notStarted(_, let errno):
                throw .commandFailed(
                    attempted: attempted,
                    command: description,
                    status: -1,
                    output: "errno \(errno)"
                )
            case .timedOut(_, let seconds):
                throw .commandTimedOut(
                    attempted: attempted,
                    command: description,
                    seconds: seconds
                )
            }
        }
    }

    /// Runs it and throws unless it ended with status 0; returns what it printed.
    @discardableResult
    func runChecked(
        _ attempted: String,
        timeoutSeconds: Int = 120
    ) throws(EmbeddedPostgresError) -> String {
        let outcome = try run(attempted, timeoutSeconds: timeoutSeconds)
        guard outcome.status == 0 else {
            throw .commandFailed(
                attempted: attempted,
                command: description,
                status: outcome.status,
                output: outcome.output
            )
        }
        return outcome.output
    }

    /// The last part of a text file, trimmed; empty when it cannot be read.
    static func tail(ofFile path: String) -> String {
        guard let handle = FileHandle(forReadingAtPath: path) else { return "" }
        defer { try? handle.close() }
        let size = (try? handle.seekToEnd()) ?? 0
        try? handle.seek(toOffset: size > 16_384 ? size - 16_384 : 0)
        let data = (try? handle.readToEnd()) ?? Data()
        return String(
            String(decoding: data, as: UTF8.self)
                .trimmingCharacters(in: .whitespacesAndNewlines).suffix(outputCharactersMax)
        )
    }
}
