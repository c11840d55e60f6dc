package import EmbeddedPostgres
import Foundation
import Logging
import Postgres
import Synchronization
import Threads

/// A database of its own for one test, on a cluster that all tests of the process share.
///
/// The cluster starts with the first database, and is removed when the process has ended, however
/// it ended.
package struct TestDatabase: Sendable {
    /// The database's name.
    package let name: String
    /// The connection string of role `sluice`, the database's owner.
    package let uri: String
    /// The connection string of the superuser `postgres`.
    package let superuserURI: String

    private static let nextNumber = Atomic<Int>(1)

    /// Makes an empty database.
    package init() throws {
        let cluster = try TestCluster.shared.get()
        let number = Self.nextNumber.wrappingAdd(1, ordering: .relaxed).oldValue
        name = "test_\(number)"
        uri = cluster.uri.replacing("@/sluice?", with: "@/\(name)?")
        superuserURI = cluster.superuserURI.replacing("@/postgres?", with: "@/\(name)?")
        let connection = try PostgresConnection(
            cluster.superuserURI,
            applicationName: "tests"
        )
        try connection.execute("CREATE DATABASE \(name) OWNER sluice")
    }

    /// Drops the database, ending the sessions in it.
    package func drop() throws {
        let cluster = try TestCluster.shared.get()
        let connection = try PostgresConnection(
            cluster.superuserURI,
            applicationName: "tests"
        )
        try connection.execute("DROP DATABASE IF EXISTS \(name) WITH (FORCE)")
    }

    /// Lends the connection string of a fresh database to `body`, and drops the database
    /// afterwards.
    package static func with<T>(_ body: (String) async throws -> T) async throws -> T {
        let database = try TestDatabase()
        defer { database.dropLater() }
        return try await body(database.uri)
    }

    /// Held by whoever drops a database: one at a time.
    private static let isDropping = Mutex(())

    /// Has the database dropped by a thread of its own.
    ///
    /// PostgreSQL waits until every session of the cluster has noticed; one whose client does not
    /// read does not, so tests that wait here could wait for the one that is to read.
    private func dropLater() {
        _ = NamedThread(name: "test-drop") { Self.isDropping.withLock { _ in try? drop() } }
    }
}

/// The cluster that the tests of one process share.
package enum TestCluster {
    /// Settings for tests: little memory, and no waiting for the disk, as only processes are
    /// killed. Commits stay synchronous: a killed backend takes the buffers of the others with it.
    package static let settings: [(name: String, value: String)] = [
        ("fsync", "off"), ("full_page_writes", "off"), ("synchronous_commit", "on"),
        ("shared_buffers", "64MB"), ("max_wal_size", "512MB"), ("max_connections", "200"),
        ("autovacuum_naptime", "1min"), ("min_wal_size", "80MB"),
    ]

    /// The cluster, started once; the error of the start otherwise.
    package static let shared: Result<EmbeddedCluster, any Error> = Result {
        let directory = FileManager.default.temporaryDirectory
            .appendingPathComponent("sluice-test-postgres-\(UUID().uuidString.prefix(8))").path
        try FileManager.default.createDirectory(
            atPath: directory,
            withIntermediateDirectories: true,
            attributes: [.posixPermissions: 0o700]
        )
        let cluster = make(directory)
        try Janitor.watch(directory)
        try cluster.startBlocking()
        return cluster
    }

    /// A cluster with the settings for tests in `directory`, not started.
    package static func make(_ directory: String) -> EmbeddedCluster {
        var logger = Logger(label: "sluice.postgres")
        logger.logLevel = .error
        return EmbeddedCluster(
            EmbeddedClusterConfiguration(
                dataDirectory: directory,
                settings: settings,
                isDurable: false
            ),
            logger: logger
        )
    }
}

/// Removes clusters when the test process has ended, even by SIGKILL.
package enum Janitor {
    /// The pipes whose closing, at the end of this process, wakes the janitors.
    private static let pipes = Mutex<[Pipe]>([])

    /// Starts a shell that waits for the end of this process, then kills the server in
    /// `directory` and removes that, or the directory `root` around it.
    package static func watch(_ directory: String, removing root: String? = nil) throws {
        let pipe = Pipe()
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        let script = """
            cat >/dev/null
            pid=$(head -n 1 "$1/postgres/postmaster.pid" 2>/dev/null) && kill -QUIT "$pid"
            n=0
            while [ -e "$1/postgres/postmaster.pid" ] && [ $n -lt 50 ]
            do sleep 0.1; n=$((n+1)); done
            rm -rf -- "$2"
            """
        process.arguments = ["-c", script, "janitor", directory, root ?? directory]
        process.standardInput = pipe
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        pipes.withLock { $0.append(pipe) }
    }
}
