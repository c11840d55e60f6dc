import FileIO
import Foundation

/// What a running process serves, for the commands that look for it.
struct RunningProcess: Codable, Sendable {
    /// Its process id.
    var pid: Int32
    /// Its roles: `gateway`, `pump`, `aggregator`, `serve`.
    var roles: [String]
    /// Base URL of the gateway, if it has that role.
    var gateway: String?
    /// Base URL of the query API, if it has that role.
    var serve: String?
    /// URL of its page of metrics, if it has one of its own.
    var metrics: String?
    /// Sinks that are not as they should be, by name.
    var troubles: [String: SinkTrouble]?
}

/// What ails a sink.
struct SinkTrouble: Codable, Equatable, Sendable {
    /// `open` or `half_open`: whether the circuit breaker lets nothing or a trial through.
    var breaker: String
    /// The last error.
    var reason: String?
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

    /// Replaces what is said of this process; `publishes` also where it listens, for scripts.
    func update(_ process: RunningProcess, _ file: any File, publishes: Bool = true) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let bytes = Array(try encoder.encode(process)) + [UInt8(ascii: "\n")]
        try file.write(bytes, at: 0)
        try file.truncate(to: UInt64(bytes.count))
        if publishes, process.serve != nil || process.gateway != nil {
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
