import Dispatch
import FileIO
import Foundation
import Logging
import Postgres

extension EmbeddedCluster {
    /// Starts that may fail before the reason is reported; chosen: what fails for a passing reason,
    /// such as shared memory that the kernel has yet to free, succeeds by then.
    private static let startAttemptsMax = 3

    /// Makes sure that a server for our cluster answers; the start lock is held.
    ///
    /// Crash stories that it recovers from:
    /// 1. Killed while `initdb` ran: `postgres.new` is left, removed and made again.
    /// 2. Our process killed, the server not: it answers, and is adopted.
    /// 3. The server killed: `postmaster.pid` names a dead process; the server itself replaces it.
    /// 4. The machine or container restarted: the number in `postmaster.pid` may belong to another
    ///    process by now; as that one does not work in our cluster, the file is removed. So it is
    ///    when the process has ended and only its parent has not noticed yet.
    /// 5. The postmaster killed, its backends not: they keep the shared memory, and a new server
    ///    refuses to start beside them. They are ended first; what they did not commit is lost, as
    ///    in any crash, and recovered from the write-ahead log.
    func ensureRunning() throws(EmbeddedPostgresError) {
        let account = try ServerAccount.current(ownerOf: paths.cluster)
        try makeDirectories(account)
        let version = try clusterVersion()
        let binaries = try ServerBinaries.find(
            explicit: configuration.binDirectory,
            searchPath: configuration.searchPath,
            majorVersion: version
        )
        if version == nil { try makeCluster(binaries, account) }
        let server = try account.granting(access: paths.cluster)
        try writeConfiguration(account)

        let clock = SystemTimeSource()
        let deadline =
            clock.monotonicNanoseconds()
            + UInt64(max(1, configuration.startTimeoutSeconds)) * 1_000_000_000
        var failures = 0
        repeat {
            try claimOwnership()
            if try isAnswering() {
                try setUpDatabase()
                return
            }
            let postmaster = Postmaster(cluster: paths.cluster)
            if let postmaster, postmaster.isRunning(in: paths.cluster) {
                if isOwner, isUnreachable(postmaster) {
                    try shutDown()
                    continue
                }
                // Starting, recovering or shutting down: not our child, so there is no event.
                pause(milliseconds: 50)
            } else if isOwner {
                removeStaleLocks()
                try endOrphans()
                do throws(EmbeddedPostgresError) {
                    try startServer(binaries, server)
                } catch {
                    failures += 1
                    if failures == Self.startAttemptsMax { throw error }
                    pause(milliseconds: 200)
                }
            } else {
                // The owner brings its server back; two must not try at once.
                pause(milliseconds: 50)
            }
        } while clock.monotonicNanoseconds() < deadline
        throw .notReady(
            dataDirectory: paths.cluster,
            seconds: configuration.startTimeoutSeconds,
            log: ExternalCommand.tail(ofFile: paths.serverLog)
        )
    }

    /// Stops the server if it runs; open transactions are rolled back.
    func shutDown() throws(EmbeddedPostgresError) {
        guard let version = try clusterVersion() else { return }
        guard postmasterProcessID != nil else { return }
        let binaries = try ServerBinaries.find(
            explicit: configuration.binDirectory,
            searchPath: configuration.searchPath,
            majorVersion: version
        )
        let account = try ServerAccount.current(ownerOf: paths.cluster)
            .granting(access: paths.cluster)
        try account.command(
            binaries.path("pg_ctl"),
            ["stop", "--pgdata=\(paths.cluster)", "--mode=fast", "--wait", "--timeout=120"]
        ).runChecked("stop the embedded PostgreSQL", timeoutSeconds: 130)
    }

    // MARK: The pieces of a start

    /// The start lock: one process at a time makes, starts or stops the server.
    func acquireStartLock() throws(EmbeddedPostgresError) -> any File {
        let file = try lockFile(paths.startLock)
        let clock = SystemTimeSource()
        let deadline =
            clock.monotonicNanoseconds()
            + UInt64(max(1, configuration.startTimeoutSeconds)) * 1_000_000_000
        while true {
            let isLocked = try fileOperation("lock", paths.startLock) { () throws(FileIOError) in
                try file.tryLock()
            }
            if isLocked { return file }
            if clock.monotonicNanoseconds() > deadline {
                throw .fileSystem(
                    attempted: "lock",
                    path: paths.startLock,
                    reason: "another process has been starting or stopping the server for too long"
                )
            }
            // The holder may live in another process; there is no event to wait for.
            pause(milliseconds: 50)
        }
    }

    /// Opens a file to lock, made when missing.
    func lockFile(_ path: String) throws(EmbeddedPostgresError) -> any File {
        try fileOperation("open", path) { () throws(FileIOError) in
            try fileSystem.open(path, .openOrCreate)
        }
    }

    /// Makes the data directory if it is missing.
    func prepareDataDirectory() throws(EmbeddedPostgresError) {
        try fileOperation("create", paths.data) { () throws(FileIOError) in
            try fileSystem.createDirectory(paths.data)
        }
    }

    /// The major version in `PG_VERSION`, nil when there is no cluster.
    private func clusterVersion() throws(EmbeddedPostgresError) -> Int? {
        let path = paths.cluster + "/PG_VERSION"
        guard FileManager.default.fileExists(atPath: path) else { return nil }
        guard
            let data = FileManager.default.contents(atPath: path),
            let version = Int(
                String(decoding: data, as: UTF8.self)
                    .trimmingCharacters(in: .whitespacesAndNewlines)
            )
        else {
            throw .fileSystem(attempted: "read", path: path, reason: "it is no version number")
        }
        return version
    }

    private func makeDirectories(_ account: ServerAccount) throws(EmbeddedPostgresError) {
        try makeDirectory(paths.configuration, mode: 0o755, owner: nil)
        try makeDirectory(paths.socketDirectory, mode: 0o700, owner: account)
    }

    /// Makes a directory of ours, or checks that the one that is there is private.
    ///
    /// The check matters under `/tmp`, where anyone could have made the directory before us.
    private func makeDirectory(
        _ path: String,
        mode: Int,
        owner: ServerAccount?
    ) throws(EmbeddedPostgresError) {
        do {
            if !FileManager.default.fileExists(atPath: path) {
                try FileManager.default.createDirectory(
                    atPath: path,
                    withIntermediateDirectories: false,
                    attributes: [.posixPermissions: mode]
                )
                if let owner, owner.isSwitchNeeded { try giveAway(path, to: owner) }
                return
            }
            let attributes = try FileManager.default.attributesOfItem(atPath: path)
            let type = attributes[.type] as? FileAttributeType
            guard type == .typeDirectory else {
                throw EmbeddedPostgresError.directoryNotPrivate(
                    path: path,
                    reason: "it is no directory"
                )
            }
            guard let owner else { return }
            let actual = (attributes[.ownerAccountID] as? NSNumber)?.intValue
            guard actual == owner.userID else {
                if actual == Int(geteuid()), owner.isSwitchNeeded {
                    // Ours, from before the server's user had it (a crash between the two steps).
                    try giveAway(path, to: owner)
                    return
                }
                throw EmbeddedPostgresError.directoryNotPrivate(
                    path: path,
                    reason: "it belongs to user id \(actual.map { "\($0)" } ?? "?")"
                )
            }
            let permissions = (attributes[.posixPermissions] as? NSNumber)?.intValue ?? 0
            guard permissions & 0o077 == 0 else {
                throw EmbeddedPostgresError.directoryNotPrivate(
                    path: path,
                    reason: "its mode is \(String(permissions & 0o7777, radix: 8))"
                )
            }
        } catch let error as EmbeddedPostgresError {
            throw error
        } catch {
            throw .fileSystem(attempted: "create", path: path, reason: "\(error)")
        }
    }

    private func giveAway(_ path: String, to owner: ServerAccount) throws {
        try FileManager.default.setAttributes(
            [.ownerAccountID: owner.userID, .groupOwnerAccountID: owner.groupID],
            ofItemAtPath: path
        )
    }

    /// `initdb` into a directory of its own, renamed when it is complete and on stable storage.
    private func makeCluster(
        _ binaries: ServerBinaries,
        _ account: ServerAccount
    ) throws(EmbeddedPostgresError) {
        logger.info("embedded_postgres_initdb", metadata: ["data": "\(paths.cluster)"])
        let leftovers = (try? FileManager.default.contentsOfDirectory(atPath: paths.cluster)) ?? []
        guard leftovers.isEmpty else {
            throw .fileSystem(
                attempted: "create a cluster in",
                path: paths.cluster,
                reason: "it holds other files (\(leftovers.sorted().prefix(3)))"
            )
        }
        try? fileSystem.removeDirectory(paths.cluster)
        var lastFailure: EmbeddedPostgresError?
        // Code-point order in indexes, and upper and lower case of all of Unicode where the C
        // library has C.UTF-8.
        for characterType in ["C.UTF-8", "C"] {
            try? FileManager.default.removeItem(atPath: paths.newCluster)
            try makeDirectory(paths.newCluster, mode: 0o700, owner: account)
            let user = try account.granting(access: paths.newCluster)
            var arguments = [
                "--pgdata=\(paths.newCluster)", "--username=postgres", "--encoding=UTF8",
                "--locale=C", "--lc-ctype=\(characterType)", "--data-checksums",
                "--auth-local=peer", "--auth-host=reject",
            ]
            if !configuration.isDurable { arguments.append("--no-sync") }
            do throws(EmbeddedPostgresError) {
                try user.command(binaries.path("initdb"), arguments)
                    .runChecked("create the embedded PostgreSQL cluster", timeoutSeconds: 300)
                try fileOperation("rename", paths.newCluster) { () throws(FileIOError) in
                    try fileSystem.rename(paths.newCluster, to: paths.cluster, replacing: false)
                    try fileSystem.syncDirectory(paths.data)
                }
                return
            } catch { lastFailure = error }
        }
        if let lastFailure { throw lastFailure }
    }

    private func writeConfiguration(_ account: ServerAccount) throws(EmbeddedPostgresError) {
        let users = account.isSwitchNeeded ? ["root", account.name] : [account.name]
        let files = [
            (
                "postgresql.conf",
                ClusterSettings.settings(
                    socketDirectory: paths.socketDirectory,
                    paths: paths,
                    overrides: configuration.settings
                )
            ),
            ("pg_hba.conf", ClusterSettings.access),
            ("pg_ident.conf", ClusterSettings.identities(users)),
        ]
        for (name, text) in files {
            let path = "\(paths.configuration)/\(name)"
            let bytes = Array(text.utf8)
            if let old = try? fileSystem.readFile(path), old == bytes { continue }
            try fileOperation("write", path) { () throws(FileIOError) in
                try fileSystem.replaceFile(path, with: bytes)
            }
            // Read, never written, by the server's user; there is nothing secret in them.
            try? FileManager.default.setAttributes(
                [.posixPermissions: 0o644],
                ofItemAtPath: path
            )
        }
    }

    private func startServer(
        _ binaries: ServerBinaries,
        _ account: ServerAccount
    ) throws(EmbeddedPostgresError) {
        logger.info(
            "embedded_postgres_starting",
            metadata: ["data": "\(paths.cluster)", "bin": "\(binaries.directory)"]
        )
        // Written by one short start each; removed so that it cannot grow for ever.
        try? fileSystem.removeFile(paths.serverLog)
        let file = paths.configuration + "/postgresql.conf"
        let outcome = try account.command(
            binaries.path("pg_ctl"),
            [
                "start", "--pgdata=\(paths.cluster)", "--log=\(paths.serverLog)", "--silent",
                "--wait", "--timeout=\(configuration.startTimeoutSeconds)",
                "--options=-c config_file=\(Self.shellQuoted(file))",
            ]
        ).run(
            "start the embedded PostgreSQL",
            timeoutSeconds: configuration.startTimeoutSeconds + 10
        )
        guard outcome.status == 0 else {
            throw .commandFailed(
                attempted: "start the embedded PostgreSQL",
                command: "pg_ctl start --pgdata=\(paths.cluster)",
                status: outcome.status,
                output: outcome.output + "\n" + ExternalCommand.tail(ofFile: paths.serverLog)
            )
        }
    }

    /// `pg_ctl` hands the options to a shell.
    private static func shellQuoted(_ text: String) -> String {
        "'" + text.replacing("'", with: "'\\''") + "'"
    }

    /// Whether a server answers on our socket, and serves our cluster.
    private func isAnswering() throws(EmbeddedPostgresError) -> Bool {
        guard
            let connection = try? PostgresConnection(
                superuserURI,
                applicationName: "sluice embedded start"
            ),
            let path = try? connection.query("SHOW data_directory").text(0, 0)
        else { return false }
        return URL(fileURLWithPath: path).resolvingSymlinksInPath()
            == URL(fileURLWithPath: paths.cluster).resolvingSymlinksInPath()
    }

    /// Whether a running server listens where we cannot reach it: its socket has another place, or
    /// somebody removed it.
    private func isUnreachable(_ postmaster: Postmaster) -> Bool {
        if postmaster.socketDirectory.isEmpty { return false }
        if postmaster.socketDirectory != paths.socketDirectory { return true }
        return !FileManager.default.fileExists(
            atPath: "\(paths.socketDirectory)/.s.PGSQL.\(ClusterPaths.port)"
        )
    }

    /// Removes the pid file and the socket's lock file where they name no living server of ours.
    ///
    /// No server of ours runs, and the start lock keeps others from starting one meanwhile.
    private func removeStaleLocks() {
        for file in [paths.cluster + "/postmaster.pid", paths.socketLock] {
            guard let holder = Postmaster(lockFile: file),
                holder.isAnotherProcess(in: paths.cluster) || holder.isDefunct
            else { continue }
            try? fileSystem.removeFile(file)
        }
    }

    /// Ends the processes that a killed postmaster left in our cluster.
    ///
    /// First politely; a backend that computes without looking at its messages is then killed,
    /// which is safe because the new server recovers before it serves.
    private func endOrphans() throws(EmbeddedPostgresError) {
        let clock = SystemTimeSource()
        let start = clock.monotonicNanoseconds()
        var signal = SIGTERM
        while true {
            let orphans = Postmaster.processes(in: paths.cluster)
            if orphans.isEmpty { return }
            for orphan in orphans { _ = kill(orphan, signal) }
            if clock.monotonicNanoseconds() - start > 2_000_000_000 { signal = SIGKILL }
            if clock.monotonicNanoseconds() - start > 20_000_000_000 {
                throw .notReady(
                    dataDirectory: paths.cluster,
                    seconds: 20,
                    log: "processes \(orphans) of the killed server do not end"
                )
            }
            // Processes that are not our children end without an event for us.
            pause(milliseconds: 20)
        }
    }

    /// Makes role and database `sluice`, if they are missing.
    ///
    /// The role is no superuser, so that row-level security binds it as it would on a server that
    /// somebody else runs; it may create the roles that the schema needs.
    private func setUpDatabase() throws(EmbeddedPostgresError) {
        do throws(PostgresError) {
            let connection = try PostgresConnection(
                superuserURI,
                applicationName: "sluice embedded start"
            )
            let role = try connection.query("SELECT 1 FROM pg_roles WHERE rolname = 'sluice'")
            if role.rowCount == 0 {
                try connection.execute("CREATE ROLE sluice LOGIN CREATEROLE CREATEDB")
            }
            let database = try connection.query(
                "SELECT 1 FROM pg_database WHERE datname = 'sluice'"
            )
            if database.rowCount == 0 {
                try connection.execute("CREATE DATABASE sluice OWNER sluice")
            }
        } catch { throw .setUpFailed(error) }
    }

    // MARK: Small things

    /// Turns a failure of a file operation into our error.
    func fileOperation<T>(
        _ attempted: String,
        _ path: String,
        _ body: () throws(FileIOError) -> T
    ) throws(EmbeddedPostgresError) -> T {
        do throws(FileIOError) {
            return try body()
        } catch {
            throw .fileSystem(attempted: attempted, path: path, reason: "\(error)")
        }
    }

    /// Waits a moment on the calling thread, for what gives no event.
    private func pause(milliseconds: Int) {
        _ = DispatchSemaphore(value: 0).wait(timeout: .now() + .milliseconds(milliseconds))
    }
}
