package import FileIO
internal import Synchronization

/// A file system in memory that knows what a power cut would leave of it.
///
/// `CrashingFileSystem` is the same type: `crashClone` gives what the disk holds after a power cut,
/// `killClone` what is left after the process was killed. Synced bytes and synced directories
/// survive; of the rest, any subset of the written pages, and any prefix of the directory changes.
package final class MemoryFileSystem: FileSystem {
    /// One file's contents: as programs see them, and as the disk has them.
    final class Node: Sendable {
        /// A change that has not been synced.
        enum Change: Sendable {
            case write([UInt8], position: Int)
            case truncate(Int)
        }

        /// What the lock protects.
        struct Contents: Sendable {
            var live: [UInt8] = []
            var synced: [UInt8] = []
            var changes: [Change] = []
            var allocated = 0
            var lockOwner: ObjectIdentifier?
            var words: MappedWords?
            var modified: Int64 = 0
        }

        let contents: Mutex<Contents>

        init(_ contents: Contents = Contents()) {
            self.contents = Mutex(contents)
        }
    }

    /// A change of a directory.
    enum DirectoryChange: Sendable {
        case link(String, Node)
        case unlink(String)
        case makeDirectory(String)
        case removeDirectory(String)
        case rename(String, String)

        /// The directories that must be synced for it to last.
        var directory: String {
            switch self {
            case .link(let path, _), .unlink(let path), .makeDirectory(let path),
                .removeDirectory(let path), .rename(_, let path):
                parentDirectory(of: path)
            }
        }
    }

    /// The names there are.
    struct Tree: Sendable {
        var files: [String: Node] = [:]
        var directories: Set<String> = ["/", "."]

        mutating func apply(_ change: DirectoryChange) {
            switch change {
            case .link(let path, let node): files[path] = node
            case .unlink(let path): files[path] = nil
            case .makeDirectory(let path): directories.insert(path)
            case .removeDirectory(let path): directories.remove(path)
            case .rename(let source, let target):
                if let node = files.removeValue(forKey: source) {
                    files[target] = node
                    return
                }
                let prefix = source + "/"
                for (path, node) in files where path.hasPrefix(prefix) {
                    files[path] = nil
                    files[target + "/" + path.dropFirst(prefix.count)] = node
                }
                for path in directories where path == source || path.hasPrefix(prefix) {
                    directories.remove(path)
                    directories.insert(target + path.dropFirst(source.count))
                }
            }
        }
    }

    /// What the lock protects.
    struct State: Sendable {
        var live = Tree()
        var durable = Tree()
        var changes: [DirectoryChange] = []
        var capacity = UInt64.max
    }

    let state: Mutex<State>
    private let clock = Atomic<Int64>(0)
    private let syncFaults = Atomic(0)

    /// Makes an empty file system.
    ///
    /// - Parameter capacity: How many bytes files may hold or reserve together.
    package init(capacity: UInt64 = .max) {
        var state = State()
        state.capacity = capacity
        self.state = Mutex(state)
    }

    init(_ tree: Tree, capacity: UInt64) {
        var state = State()
        state.live = tree
        state.durable = tree
        state.capacity = capacity
        self.state = Mutex(state)
    }

    /// How many bytes files may hold or reserve together; may be changed at any time.
    package var capacity: UInt64 {
        get { state.withLock { $0.capacity } }
        set { state.withLock { $0.capacity = newValue } }
    }

    /// The time that files get as their time of change, µs since the epoch.
    package func setModificationTime(_ time: Int64) {
        clock.store(time, ordering: .relaxed)
    }

    /// Makes the next syncs of files fail as disks do: what was not synced will never reach the
    /// disk, though reads still see it, and a later sync succeeds.
    package func failSyncs(_ count: Int) {
        syncFaults.store(count, ordering: .relaxed)
    }

    /// Whether a sync fails now.
    func takeSyncFault() -> Bool {
        guard syncFaults.load(ordering: .relaxed) > 0 else { return false }
        return syncFaults.subtract(1, ordering: .relaxed).oldValue > 0
    }

    var modificationTime: Int64 { clock.load(ordering: .relaxed) }

    // MARK: FileSystem

    /// Opens a file.
    package func open(_ path: String, _ mode: OpenMode) throws(FileIOError) -> any File {
        let node = try state.withLock { (state: inout State) throws(FileIOError) -> Node in
            if state.live.directories.contains(path) {
                throw FileIOError(call: "open", path: path, code: FileIOError.isDirectory)
            }
            if let node = state.live.files[path] {
                if case .create = mode {
                    throw FileIOError(call: "open", path: path, code: FileIOError.alreadyThere)
                }
                return node
            }
            switch mode {
            case .read, .readWrite:
                throw FileIOError(call: "open", path: path, code: FileIOError.notFound)
            case .create, .openOrCreate:
                return try Self.create(path, in: &state)
            }
        }
        return MemoryFile(path: path, node: node, fileSystem: self)
    }

    /// Makes an empty file.
    private static func create(
        _ path: String,
        in state: inout State
    ) throws(FileIOError) -> Node {
        guard state.live.directories.contains(parentDirectory(of: path)) else {
            throw FileIOError(call: "open", path: path, code: FileIOError.notFound)
        }
        let node = Node()
        Self.change(.link(path, node), in: &state)
        return node
    }

    /// Notes and applies a change of a directory.
    private static func change(_ change: DirectoryChange, in state: inout State) {
        state.live.apply(change)
        state.changes.append(change)
    }

    /// The names in a directory, sorted.
    package func list(_ directory: String) throws(FileIOError) -> [String] {
        try state.withLock { (state: inout State) throws(FileIOError) in
            guard state.live.directories.contains(directory) else {
                throw FileIOError(call: "opendir", path: directory, code: FileIOError.notFound)
            }
            let all = Array(state.live.files.keys) + Array(state.live.directories)
            return all.filter { $0 != directory && parentDirectory(of: $0) == directory }
                .filter { $0 != "." }
                .map { String($0.dropFirst(directory == "/" ? 1 : directory.count + 1)) }
                .sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        }
    }

    /// Makes a directory and those above it.
    package func createDirectory(_ path: String) throws(FileIOError) {
        try state.withLock { (state: inout State) throws(FileIOError) in
            var missing: [String] = []
            var next = path
            while !state.live.directories.contains(next) {
                if state.live.files[next] != nil {
                    throw FileIOError(call: "mkdir", path: next, code: FileIOError.notDirectory)
                }
                missing.append(next)
                next = parentDirectory(of: next)
            }
            for path in missing.reversed() {
                Self.change(.makeDirectory(path), in: &state)
            }
        }
    }

    /// Renames a file or directory.
    package func rename(
        _ source: String,
        to target: String,
        replacing: Bool
    ) throws(FileIOError) {
        try state.withLock { (state: inout State) throws(FileIOError) in
            let isFile = state.live.files[source] != nil
            guard isFile || state.live.directories.contains(source) else {
                throw FileIOError(call: "rename", path: source, code: FileIOError.notFound)
            }
            let isTaken =
                state.live.files[target] != nil
                || state.live.directories.contains(target)
            if isTaken && !(replacing && isFile && state.live.files[target] != nil) {
                throw FileIOError(call: "rename", path: target, code: FileIOError.alreadyThere)
            }
            guard state.live.directories.contains(parentDirectory(of: target)) else {
                throw FileIOError(call: "rename", path: target, code: FileIOError.notFound)
            }
            Self.change(.rename(source, target), in: &state)
        }
    }

    /// Removes a file.
    package func removeFile(_ path: String) throws(FileIOError) {
        try state.withLock { (state: inout State) throws(FileIOError) in
            guard state.live.files[path] != nil else {
                throw FileIOError(call: "unlink", path: path, code: FileIOError.notFound)
            }
            Self.change(.unlink(path), in: &state)
        }
    }

    /// Removes an empty directory.
    package func removeDirectory(_ path: String) throws(FileIOError) {
        guard try list(path).isEmpty else {
            throw FileIOError(call: "rmdir", path: path, code: FileIOError.notEmpty)
        }
        state.withLock { Self.change(.removeDirectory(path), in: &$0) }
    }

    /// Makes a directory's changes last.
    package func syncDirectory(_ path: String) throws(FileIOError) {
        try state.withLock { (state: inout State) throws(FileIOError) in
            guard state.live.directories.contains(path) else {
                throw FileIOError(call: "fsync", path: path, code: FileIOError.notFound)
            }
            // A journal keeps order: all changes up to the last one of this directory.
            guard let last = state.changes.lastIndex(where: { $0.directory == path }) else {
                return
            }
            for change in state.changes[...last] {
                state.durable.apply(change)
            }
            state.changes.removeSubrange(...last)
        }
    }

    /// What is at a path.
    package func status(_ path: String) throws(FileIOError) -> FileStatus? {
        state.withLock { state in
            if let node = state.live.files[path] {
                return node.contents.withLock { contents in
                    FileStatus(
                        size: UInt64(contents.words?.byteCount ?? contents.live.count),
                        isDirectory: false,
                        modified: contents.modified
                    )
                }
            }
            guard state.live.directories.contains(path) else { return nil }
            return FileStatus(size: 0, isDirectory: true, modified: 0)
        }
    }

    /// The bytes that are left of the capacity.
    package func freeSpace(_ path: String) throws(FileIOError) -> UInt64 {
        state.withLock { state in
            let used = Self.used(state)
            return state.capacity > used ? state.capacity - used : 0
        }
    }

    /// Maps a file of shared words.
    package func mapWords(
        _ path: String,
        byteCount: Int,
        writable: Bool
    ) throws(FileIOError) -> any SharedWords {
        let node = try state.withLock { (state: inout State) throws(FileIOError) -> Node in
            if let node = state.live.files[path] { return node }
            guard writable else {
                throw FileIOError(call: "open", path: path, code: FileIOError.notFound)
            }
            return try Self.create(path, in: &state)
        }
        return node.contents.withLock { contents in
            if let words = contents.words { return words }
            let words = MappedWords(byteCount: byteCount)
            for place in 0..<(byteCount / 8) where place * 8 + 8 <= contents.live.count {
                let word = (0..<8).reduce(UInt64(0)) { word, byte in
                    word | UInt64(contents.live[place * 8 + byte]) << UInt64(8 * byte)
                }
                words.store64(place * 8, word)
            }
            contents.words = words
            return words
        }
    }

    /// Bytes that files hold or have reserved.
    private static func used(_ state: State) -> UInt64 {
        state.live.files.values.reduce(0) { sum, node in
            sum + node.contents.withLock { UInt64(max($0.live.count, $0.allocated)) }
        }
    }

    /// Fails when a file cannot grow to so many bytes.
    func claim(_ size: Int, for node: Node, call: String, path: String) throws(FileIOError) {
        try state.withLock { (state: inout State) throws(FileIOError) in
            guard state.capacity < .max else { return }
            let own = node.contents.withLock { max($0.live.count, $0.allocated) }
            guard size > own else { return }
            if Self.used(state) + UInt64(size - own) > state.capacity {
                throw FileIOError(call: call, path: path, code: FileIOError.outOfSpace)
            }
        }
    }
}

/// The same file system under the name of what it is used for.
package typealias CrashingFileSystem = MemoryFileSystem
