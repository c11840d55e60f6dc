import EventLog
import FileIO
import Records

/// What was imported for one org and API: the files of `DATA/imports/<name>/`.
///
/// | file | content |
/// |---|---|
/// | `lock` | locked while an import of this org and API runs |
/// | `<log id>` | an import that is complete: its log is published |
/// | `<log id>.pending` | an import that was about to publish its log |
///
/// The name of the directory is 32 hexadecimal digits of the SHA-256 over org and API.
///
/// Crash story of an import: (1) the pending entry is written and synced; (2) the log is published
/// by a rename; (3) the pending entry is renamed. Killed before (2), the next import finds no log
/// of that id and removes the pending entry. Killed after (2), it finds the log and does (3)
/// itself. So lines that are in a published log are always known, and never get another log.
struct ImportRegistry {
    private let directory: LogDirectory
    private let fileSystem: any FileSystem
    private let path: String
    private let lock: any File
    /// All complete imports.
    private(set) var entries: [ImportEntry]

    private static let pendingSuffix = ".pending"

    /// Opens the registry and waits until no other import of this org and API runs.
    init(_ directory: LogDirectory, org: String, api: String) throws(ImportError) {
        self.directory = directory
        fileSystem = directory.fileSystem
        let imports = directory.path + "/imports"
        path = imports + "/" + Self.name(org: org, api: api)
        entries = []
        lock = try Self.acquireLock(directory, imports, path)
        do throws(ImportError) {
            entries = try load()
        } catch {
            lock.close()
            throw error
        }
    }

    /// Lets the next import begin.
    func close() { lock.close() }

    /// The name of the directory for an org and API.
    static func name(org: String, api: String) -> String {
        String(LogIdentity.digest(["registry", org, api]).hexadecimal.prefix(32))
    }

    // MARK: Looking up

    /// The digest that an entry keeps of a line's end, if it keeps one.
    func point(_ entry: ImportEntry, ofLine line: UInt64) throws(ImportError) -> UInt64? {
        guard let index = entry.pointIndex(ofLine: line) else { return nil }
        let entryPath = path + "/" + entry.log.description
        let bytes = try ioOperation { () throws(FileIOError) in
            let file = try fileSystem.open(entryPath, .read)
            defer { file.close() }
            return try file.read(at: UInt64(entry.headerBytes) + 8 * index, count: 8)
        }
        guard bytes.count == 8 else {
            throw .damagedRegistry(path: entryPath, reason: "it ends early")
        }
        var value: UInt64 = 0
        for index in 0..<8 { value |= UInt64(bytes[index]) << UInt64(8 * index) }
        return value
    }

    // MARK: Changing

    /// Notes, durably, that a log is about to be published.
    func prepare(_ entry: ImportEntry, _ scan: ContentScan) throws(ImportError) {
        let bytes = ImportEntry.encode(entry, scan)
        try ioOperation { () throws(FileIOError) in
            try fileSystem.replaceFile(pendingPath(entry.log), with: bytes)
        }
    }

    /// Notes, durably, that the log is published.
    func complete(_ log: LogID) throws(ImportError) {
        try ioOperation { () throws(FileIOError) in
            try fileSystem.rename(
                pendingPath(log),
                to: path + "/" + log.description,
                replacing: true
            )
            try fileSystem.syncDirectory(path)
        }
    }

    /// Forgets a log that was not published after all.
    func abandon(_ log: LogID) {
        try? fileSystem.removeFile(pendingPath(log))
    }

    private func pendingPath(_ log: LogID) -> String {
        path + "/" + log.description + Self.pendingSuffix
    }

    // MARK: Opening

    private static func acquireLock(
        _ directory: LogDirectory,
        _ imports: String,
        _ path: String
    ) throws(ImportError) -> any File {
        let fileSystem = directory.fileSystem
        let file = try ioOperation { () throws(FileIOError) in
            try fileSystem.createDirectory(path)
            try fileSystem.syncDirectory(imports)
            try fileSystem.syncDirectory(directory.path)
            return try fileSystem.open(path + "/lock", .openOrCreate)
        }
        while true {
            let seen = directory.changeCount
            if try ioOperation({ () throws(FileIOError) in try file.tryLock() }) { return file }
            // Publishing rings this bell; an import that had nothing to do does not.
            directory.waitForChange(since: seen, timeout: .milliseconds(100))
        }
    }

    /// Reads all entries, after settling those that a crash left pending.
    private func load() throws(ImportError) -> [ImportEntry] {
        var found: [ImportEntry] = []
        for name in try ioOperation({ () throws(FileIOError) in try fileSystem.list(path) }) {
            if name.hasSuffix(Self.pendingSuffix) {
                guard let log = LogID(String(name.dropLast(Self.pendingSuffix.count))) else {
                    continue
                }
                let isPublished: Bool
                do throws(EventLogError) {
                    isPublished = try directory.isTaken(log)
                } catch { throw .log(error) }
                guard isPublished else {
                    abandon(log)
                    continue
                }
                try complete(log)
                found.append(try read(log))
            } else if let log = LogID(name) {
                if !found.contains(where: { $0.log == log }) { found.append(try read(log)) }
            }
        }
        return found
    }

    private func read(_ log: LogID) throws(ImportError) -> ImportEntry {
        let entryPath = path + "/" + log.description
        let (bytes, size) = try ioOperation { () throws(FileIOError) in
            let file = try fileSystem.open(entryPath, .read)
            defer { file.close() }
            return (
                try file.read(at: 0, count: ImportEntry.headerBytesMax), try file.size()
            )
        }
        return try ImportEntry(bytes, path: entryPath, size: size)
    }
}

/// Runs file operations and translates their errors; the boundary between the two modules.
func ioOperation<T>(_ body: () throws(FileIOError) -> T) throws(ImportError) -> T {
    do throws(FileIOError) {
        return try body()
    } catch { throw .io(error) }
}
