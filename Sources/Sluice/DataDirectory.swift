import EmbeddedPostgres
import EventLog
import FileIO
import Foundation

/// The files of a data directory that belong to no module: locks, keys, tokens, who is running.
struct DataDirectory: Sendable {
    /// Absolute path.
    let path: String

    /// The real file system.
    let fileSystem = PosixFileSystem()

    /// The directory at `path`, which need not exist yet.
    init(_ path: String) {
        self.path = URL(fileURLWithPath: path).standardizedFileURL.path
    }

    /// The event logs in it.
    func logs() throws(EventLogError) -> LogDirectory {
        try LogDirectory(path: path, fileSystem: fileSystem, time: SystemTimeSource())
    }

    /// How the embedded PostgreSQL in it is found and run.
    var clusterConfiguration: EmbeddedClusterConfiguration {
        let environment = ProcessInfo.processInfo.environment
        return EmbeddedClusterConfiguration(
            dataDirectory: path,
            binDirectory: environment["SLUICE_POSTGRES_BIN"].flatMap { $0.isEmpty ? nil : $0 },
            searchPath: environment["PATH"]
        )
    }

    /// Makes the directory if it is missing.
    func create() throws(CommandFailure) {
        do {
            try FileManager.default.createDirectory(
                atPath: path,
                withIntermediateDirectories: true
            )
        } catch {
            throw .failed(
                "could not make the data directory \"\(path)\": \(error.localizedDescription)"
            )
        }
    }

    /// Whether it is there.
    var exists: Bool { FileManager.default.fileExists(atPath: path) }

    /// Locks the directory for the one process that has a role here: the gateway, which appends,
    /// or the pump, which moves the sinks' checkpoints. Held until the process ends.
    func lock(for role: String) throws -> any File {
        let file = try fileSystem.open("\(path)/\(role).lock", .openOrCreate)
        guard try file.tryLock() else {
            throw CommandFailure.failed(
                "another sluice \(role) is running on the data directory \"\(path)\"; "
                    + "stop it, or choose another directory with --data"
            )
        }
        return file
    }

    /// The consumers that hold back retention, as the last gateway had them; nil if none ran.
    var consumers: [String]? {
        guard let bytes = try? readIfPresent(path + "/consumers") else { return nil }
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n").map(String.init)
    }

    /// Remembers which consumers hold back retention.
    ///
    /// - Returns: Those that did so before and do no more.
    func replaceConsumers(by consumers: [String]) throws -> [String] {
        let known = self.consumers
        if known != consumers {
            let text = consumers.map { $0 + "\n" }.joined()
            try fileSystem.replaceFile(path + "/consumers", with: Array(text.utf8))
        }
        let before = known ?? (try? fileSystem.list(path + "/checkpoints")) ?? []
        return before.filter { !consumers.contains($0) }.sorted()
    }

    /// The key under which credentials are hashed: 32 random bytes, made at first use.
    func credentialKey() throws -> [UInt8] {
        let file = path + "/credential.key"
        if let bytes = try readIfPresent(file) {
            guard bytes.count >= 16 else {
                throw CommandFailure.failed(
                    "\"\(file)\" holds \(bytes.count) bytes instead of 32; restore it from "
                        + "a backup, or remove it (keys then get new ids in records)"
                )
            }
            return bytes
        }
        var random = SystemRandom()
        let key = (0..<32).map { _ in UInt8.random(in: 0...255, using: &random) }
        try writePrivately(key, to: file)
        return key
    }

    /// The admin token of the first start, without its line end; nil if there is none.
    func adminToken() -> String? {
        guard let bytes = try? readIfPresent(path + "/admin.token") else { return nil }
        return String(decoding: bytes, as: UTF8.self).trimmingCharacters(
            in: .whitespacesAndNewlines
        )
    }

    /// Keeps the admin token for the command line.
    func storeAdminToken(_ token: String) throws {
        try writePrivately(Array((token + "\n").utf8), to: path + "/admin.token")
    }

    /// Replaces a file by one that only its owner may read, never readable by others in between.
    private func writePrivately(_ bytes: [UInt8], to file: String) throws {
        let temporary = "\(file).\(ProcessInfo.processInfo.processIdentifier).new"
        try? fileSystem.removeFile(temporary)
        guard
            FileManager.default.createFile(
                atPath: temporary,
                contents: Data(),
                attributes: [.posixPermissions: 0o600]
            )
        else { throw CommandFailure.failed("could not write \"\(file)\"") }
        let handle = try fileSystem.open(temporary, .readWrite)
        defer { handle.close() }
        try handle.write(bytes, at: 0)
        try handle.sync()
        try fileSystem.rename(temporary, to: file, replacing: true)
        try fileSystem.syncDirectory(path)
    }

    private func readIfPresent(_ file: String) throws -> [UInt8]? {
        guard try fileSystem.exists(file) else { return nil }
        return try fileSystem.readFile(file)
    }
}
