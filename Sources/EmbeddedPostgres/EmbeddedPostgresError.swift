package import Postgres

/// Why the embedded PostgreSQL could not be made, started or stopped.
package enum EmbeddedPostgresError: Error, Sendable, CustomStringConvertible {
    /// No installation of the wanted version was found in the directories listed.
    case serverNotFound(wanted: String, looked: [String])
    /// Running as root, and there is no unprivileged user to run the server as.
    case noUnprivilegedUser(tried: [String])
    /// A file or directory could not be made or changed.
    case fileSystem(attempted: String, path: String, reason: String)
    /// A directory that must be private belongs to somebody else or is open to others.
    case directoryNotPrivate(path: String, reason: String)
    /// A program ended with an error.
    case commandFailed(attempted: String, command: String, status: Int32, output: String)
    /// A program did not end in time.
    case commandTimedOut(attempted: String, command: String, seconds: Int)
    /// The server did not become ready; the end of its log follows.
    case notReady(dataDirectory: String, seconds: Int, log: String)
    /// The server answered, but a statement of the set-up failed.
    case setUpFailed(PostgresError)

    /// What was attempted, what went wrong, and what to do.
    package var description: String {
        switch self {
        case .serverNotFound(let wanted, let looked):
            """
            PostgreSQL \(wanted) was not found (looked in \(looked.joined(separator: ", "))); \
            hint: apt-get install postgresql, or set SLUICE_POSTGRES_BIN to the directory of \
            \"initdb\", or set \"postgres:\" to the URI of a running server
            """
        case .noUnprivilegedUser(let tried):
            """
            could not start the embedded PostgreSQL as root: PostgreSQL refuses that, and none of \
            the users \(tried.joined(separator: ", ")) exists; hint: start sluice as another user
            """
        case .fileSystem(let attempted, let path, let reason):
            "could not \(attempted) \"\(path)\": \(reason)"
        case .directoryNotPrivate(let path, let reason):
            "the directory \"\(path)\" is not private: \(reason); hint: remove it and start again"
        case .commandFailed(let attempted, let command, let status, let output):
            "could not \(attempted): \"\(command)\" ended with status \(status): \(output)"
        case .commandTimedOut(let attempted, let command, let seconds):
            "could not \(attempted): \"\(command)\" did not end within \(seconds) s"
        case .notReady(let dataDirectory, let seconds, let log):
            """
            the embedded PostgreSQL in \"\(dataDirectory)\" did not become ready within \
            \(seconds) s; the end of its log: \(log)
            """
        case .setUpFailed(let error):
            "could not set up the embedded PostgreSQL: \(error)"
        }
    }
}
