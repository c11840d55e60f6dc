import EmbeddedPostgres
import Foundation
import Postgres
import PostgresTesting
import Testing

/// Starting, adopting, killing and stopping real servers.
@Suite("Embedded PostgreSQL", .serialized, .timeLimit(.minutes(5)))
struct EmbeddedClusterTests {
    /// A directory for one test, removed with the server in it when the test process ends.
    static func directory(_ name: String = "") throws -> String {
        let root = FileManager.default.temporaryDirectory
            .appendingPathComponent("sluice-test-embedded-\(UUID().uuidString.prefix(8))")
        let path = name.isEmpty ? root.path : root.appendingPathComponent(name).path
        try FileManager.default.createDirectory(
            atPath: root.path,
            withIntermediateDirectories: true,
            attributes: [.posixPermissions: 0o700]
        )
        try FileManager.default.createDirectory(
            atPath: path,
            withIntermediateDirectories: true
        )
        try Janitor.watch(path, removing: root.path)
        return path
    }

    /// Waits for a server to answer and runs `body` with a connection.
    static func eventually<T>(
        _ uri: String,
        _ body: (PostgresConnection) throws -> T
    ) async throws -> T {
        let deadline = ContinuousClock.now + .seconds(60)
        while true {
            do {
                return try body(try PostgresConnection(uri, applicationName: "test"))
            } catch let error as PostgresError where error.isRetriable {
                if ContinuousClock.now > deadline { throw error }
                try await Task.sleep(for: .milliseconds(20))
            }
        }
    }

    @Test(
        "a first start makes a private, durable cluster; after a stop a second finds the data"
    )
    func firstStart() async throws {
        let data = try Self.directory()
        let cluster = EmbeddedCluster(
            EmbeddedClusterConfiguration(dataDirectory: data)
        )
        let uri = try await cluster.start()
        #expect(cluster.isOwner)
        let connection = try PostgresConnection(uri, applicationName: "test")
        for (name, value) in [
            ("fsync", "on"), ("full_page_writes", "on"), ("synchronous_commit", "on"),
            ("data_checksums", "on"), ("listen_addresses", ""), ("jit", "off"),
            ("server_encoding", "UTF8"), ("lc_collate", "C"), ("TimeZone", "UTC"),
            ("logging_collector", "on"), ("shared_buffers", "256MB"), ("max_wal_size", "2GB"),
        ] {
            let actual = try connection.query("SELECT current_setting($1)", [.text(name)])
            #expect(actual.text(0, 0) == value, "\(name)")
        }
        let role = try connection.query(
            "SELECT rolsuper, rolcreaterole FROM pg_roles WHERE rolname = current_user"
        )
        #expect(role.bool(0, 0) == false && role.bool(0, 1) == true)
        try connection.execute("CREATE TABLE t (id int); INSERT INTO t VALUES (1)")
        let mode = try FileManager.default.attributesOfItem(atPath: data + "/run")[
            .posixPermissions
        ]
        #expect((mode as? NSNumber)?.intValue == 0o700)

        try await cluster.stop()
        #expect(cluster.postmasterProcessID == nil)
        #expect(throws: PostgresError.self) {
            _ = try PostgresConnection(uri, applicationName: "test")
        }
        let again = TestCluster.make(data)
        try await again.start()
        let count = try PostgresConnection(again.uri, applicationName: "test")
            .query("SELECT count(*) FROM t").int(0, 0)
        #expect(count == 1)
        try await again.stop()
    }

    @Test(
        "a server that outlived its sluice is adopted; a second sluice leaves it running"
    )
    func adoption() async throws {
        let data = try Self.directory()
        var first: EmbeddedCluster? = TestCluster.make(data)
        try await first?.start()
        let process = try #require(first?.postmasterProcessID)

        let second = TestCluster.make(data)
        try await second.start()
        #expect(!second.isOwner)
        #expect(second.postmasterProcessID == process)
        try await second.stop()
        #expect(second.postmasterProcessID == process)

        first = nil  // As after a crash: the locks are gone, the server is not.
        let third = TestCluster.make(data)
        try await third.start()
        #expect(third.isOwner)
        #expect(third.postmasterProcessID == process)
        try await third.stop()
        #expect(third.postmasterProcessID == nil)
    }

    @Test("starts that race make one cluster and one server")
    func race() async throws {
        let data = try Self.directory()
        let clusters = (0..<4).map { _ in TestCluster.make(data) }
        try await withThrowingTaskGroup(of: Int32?.self) { group in
            for cluster in clusters {
                group.addTask {
                    try await cluster.start()
                    return cluster.postmasterProcessID
                }
            }
            var processes: Set<Int32?> = []
            for try await process in group { processes.insert(process) }
            #expect(processes.count == 1)
        }
        #expect(clusters.count { $0.isOwner } == 1)
        for cluster in clusters { try await cluster.stop() }
        #expect(clusters[0].postmasterProcessID == nil)
    }

    @Test("a SIGKILLed server comes back by itself, with what was committed and nothing else")
    func killedPostmaster() async throws {
        let data = try Self.directory()
        let cluster = TestCluster.make(data)
        let uri = try await cluster.start()
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await cluster.run() }
            for round in 1...2 {
                let idle = try await Self.eventually(uri) { $0 }
                try idle.execute("CREATE TABLE IF NOT EXISTS t (id int)")
                try idle.query("INSERT INTO t VALUES ($1::int)", [.int(Int64(round))])
                let open = try PostgresConnection(uri, applicationName: "open")
                try open.begin()
                try open.execute("INSERT INTO t VALUES (-1)")
                // One that computes without looking at its messages keeps the shared memory.
                let busy = PostgresClient(uri)
                async let stuck: Void = busy.run { connection in
                    _ = try? connection.execute(
                        "SELECT count(*) FROM generate_series(1, 400000000)"
                    )
                }
                while try idle.query(
                    """
                    SELECT 1 FROM pg_stat_activity
                    WHERE query LIKE '%400000000)' AND pid <> $1::int
                    """,
                    [.int(Int64(idle.backendPID))]
                ).rowCount == 0 {}
                let process = try #require(cluster.postmasterProcessID)
                #expect(kill(process, SIGKILL) == 0)
                // A backend may still commit until it has noticed; what counts is one that did not.
                #expect(open.waitForClose(milliseconds: 30_000))
                let error = try #require(throws: PostgresError.self) { try open.commit() }
                #expect(error.isConnectionLost)
                let ids = try await Self.eventually(uri) { connection in
                    let result = try connection.query("SELECT id FROM t ORDER BY id")
                    return (0..<result.rowCount).map { result.int($0, 0) }
                }
                #expect(ids == (1...round).map { Int64($0) })
                #expect(cluster.postmasterProcessID != process)
                try await stuck
            }
            try await cluster.stop()
            try await group.waitForAll()
        }
    }

    @Test("a SIGKILLed backend costs its sessions, not the server")
    func killedBackend() async throws {
        let data = try Self.directory()
        let cluster = TestCluster.make(data)
        let uri = try await cluster.start()
        let process = cluster.postmasterProcessID
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await cluster.run() }
            let victim = try PostgresConnection(uri, applicationName: "victim")
            try victim.execute("CREATE TABLE t (id int)")
            try victim.begin()
            try victim.execute("INSERT INTO t VALUES (1)")
            #expect(kill(victim.backendPID, SIGKILL) == 0)
            let error = try #require(throws: PostgresError.self) { try victim.commit() }
            #expect(error.isConnectionLost)
            let count = try await Self.eventually(uri) {
                try $0.query("SELECT count(*) FROM t").int(0, 0)
            }
            #expect(count == 0)
            try await cluster.start()
            #expect(cluster.postmasterProcessID == process)
            try await cluster.stop()
            try await group.waitForAll()
        }
    }

    @Test("a postmaster.pid that names an unrelated living process does not stop a start")
    func recycledProcessID() async throws {
        let data = try Self.directory()
        let cluster = TestCluster.make(data)
        try await cluster.start()
        let file = data + "/postgres/postmaster.pid"
        let text = try String(contentsOfFile: file, encoding: .utf8)
        try await cluster.stop()
        // As after a reboot: the file of a server that was killed, the number now somebody else's.
        let process = try #require(text.split(separator: "\n").first)
        let stale = text.replacing(process, with: "\(getpid())", maxReplacements: 1)
        try stale.write(toFile: file, atomically: true, encoding: .utf8)
        try await cluster.start()
        #expect(cluster.postmasterProcessID != nil)
        try await cluster.stop()
    }

    @Test("an initdb that was killed half way is done again")
    func halfMade() async throws {
        let data = try Self.directory()
        try FileManager.default.createDirectory(
            atPath: data + "/postgres.new/base",
            withIntermediateDirectories: true
        )
        try Data().write(to: URL(fileURLWithPath: data + "/postgres.new/PG_VERSION"))
        let cluster = TestCluster.make(data)
        try await cluster.start()
        #expect(!FileManager.default.fileExists(atPath: data + "/postgres.new"))
        try await cluster.stop()
    }

    @Test("files of somebody else in the place of the cluster are not removed")
    func foreignFiles() async throws {
        let data = try Self.directory()
        try FileManager.default.createDirectory(
            atPath: data + "/postgres",
            withIntermediateDirectories: true
        )
        try Data("mine".utf8).write(to: URL(fileURLWithPath: data + "/postgres/letter.txt"))
        let error = try #require(await Self.startError(TestCluster.make(data)))
        #expect(error.description.contains("letter.txt"))
        #expect(FileManager.default.fileExists(atPath: data + "/postgres/letter.txt"))
    }

    @Test("a data directory with a path too long for a socket gets one in a private directory")
    func longPath() async throws {
        let data = try Self.directory(String(repeating: "long-", count: 20) + "it's 50%")
        let cluster = TestCluster.make(data)
        let uri = try await cluster.start()
        #expect(uri.contains("host=%2Ftmp%2Fsluice-"))
        let directory = try PostgresConnection(cluster.superuserURI, applicationName: "test")
            .query("SHOW unix_socket_directories").text(0, 0)
        try await cluster.stop()
        if let directory { try FileManager.default.removeItem(atPath: directory) }
    }

    @Test("a server whose socket was removed is restarted with one")
    func removedSocket() async throws {
        let data = try Self.directory()
        let cluster = TestCluster.make(data)
        try await cluster.start()
        let process = cluster.postmasterProcessID
        try FileManager.default.removeItem(atPath: data + "/run/.s.PGSQL.5432")
        try await cluster.start()
        #expect(cluster.postmasterProcessID != process)
        try await cluster.stop()
    }

    @Test("without PostgreSQL the error says what to install")
    func notInstalled() async throws {
        let data = try Self.directory()
        let cluster = EmbeddedCluster(
            EmbeddedClusterConfiguration(dataDirectory: data, binDirectory: "/nonexistent")
        )
        let error = try #require(await Self.startError(cluster))
        #expect(error.description.contains("PostgreSQL 15 or newer was not found"))
        #expect(error.description.contains("apt-get install postgresql"))
    }

    @Test("a server that cannot start says why")
    func badSetting() async throws {
        let data = try Self.directory()
        let cluster = EmbeddedCluster(
            EmbeddedClusterConfiguration(
                dataDirectory: data,
                settings: [("shared_buffers", "nonsense")],
                isDurable: false,
                startTimeoutSeconds: 5
            )
        )
        let error = try #require(await Self.startError(cluster))
        #expect(error.description.contains("shared_buffers"))
    }

    /// The error of a start that must fail.
    static func startError(_ cluster: EmbeddedCluster) async -> EmbeddedPostgresError? {
        do throws(EmbeddedPostgresError) {
            try await cluster.start()
            return nil
        } catch { return error }
    }
}
