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

    /// Locks the directory for the one process whose gateway appends here; held until it ends.
    func lockForGateway() throws -> any File {
        let file = try fileSystem.open(path + "/gateway.lock", .openOrCreate)
        guard try file.tryLock() else {
            throw CommandFailure.failed(
                "another sluice gateway is running on the data directory \"\(path)\"; "
                    + "stop it, or choose another directory with --data"
            )
        }
        return file
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

/// What a running process serves, for the commands that look for it.
struct RunningProcess: Codable, Sendable {
    /// Its process id.
    var pid: Int32
    /// Its roles: `gateway`, `aggregator`, `serve`.
    var roles: [String]
    /// Base URL of the gateway, if it has that role.
    var gateway: String?
    /// Base URL of the query API, if it has that role.
    var serve: String?
}

/// The list of processes that run on a data directory, kept by locks that end with them.
///
/// `DATA/processes/<pid>.json` is locked by its process as long as that lives. A file without lock
/// is a leftover and removed by whoever finds it.
struct ProcessRegistry: Sendable {
    private let data: DataDirectory
    private var folder: String { data.path + "/processes" }

    /// The registry of a data directory.
    init(_ data: DataDirectory) {
        self.data = data
    }

    /// Announces this process; the file is locked until `file` is closed or the process ends.
    func register(_ process: RunningProcess) throws -> any File {
        try data.fileSystem.createDirectory(folder)
        let file = try data.fileSystem.open("\(folder)/\(process.pid).json", .openOrCreate)
        _ = try file.tryLock()
        try update(process, file)
        return file
    }

    /// Replaces what is said of this process.
    func update(_ process: RunningProcess, _ file: any File) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let bytes = Array(try encoder.encode(process)) + [UInt8(ascii: "\n")]
        try file.write(bytes, at: 0)
        try file.truncate(to: UInt64(bytes.count))
        if process.serve != nil || process.gateway != nil {
            try data.fileSystem.replaceFile(data.path + "/endpoints.json", with: bytes)
        }
    }

    /// Takes this process off the list.
    func unregister(_ process: RunningProcess, _ file: any File) {
        try? data.fileSystem.removeFile("\(folder)/\(process.pid).json")
        if let bytes = try? data.fileSystem.readFile(data.path + "/endpoints.json"),
            let written = try? JSONDecoder().decode(RunningProcess.self, from: Data(bytes)),
            written.pid == process.pid
        {
            try? data.fileSystem.removeFile(data.path + "/endpoints.json")
        }
        file.close()
    }

    /// All processes that are alive, by process id.
    func running() -> [RunningProcess] {
        guard let names = try? data.fileSystem.list(folder) else { return [] }
        var found: [RunningProcess] = []
        for name in names where name.hasSuffix(".json") {
            let path = "\(folder)/\(name)"
            guard let file = try? data.fileSystem.open(path, .readWrite) else { continue }
            defer { file.close() }
            if (try? file.tryLock()) == true {
                try? data.fileSystem.removeFile(path)
            } else if let bytes = try? file.readAll(),
                let process = try? JSONDecoder().decode(RunningProcess.self, from: Data(bytes))
            {
                found.append(process)
            }
        }
        return found.sorted { $0.pid < $1.pid }
    }
}
