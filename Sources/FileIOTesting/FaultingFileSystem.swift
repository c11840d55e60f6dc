package import FileIO
internal import Synchronization

/// A file system that fails when it is told to.
///
/// Every call that changes something, opens a file or reads is an operation, counted from 1.
package final class FaultingFileSystem: FileSystem {
    /// Which operations fail.
    package struct Plan: Sendable {
        /// The first operation to fail; nil fails none.
        package var first: Int?
        /// Whether all later ones fail as well.
        package var isForever: Bool
        /// The error number.
        package var code: Int32
        /// The calls that can fail ("pwrite", "fdatasync", …); empty means all.
        package var calls: Set<String>

        /// Makes a plan.
        package init(
            first: Int? = nil,
            isForever: Bool = false,
            code: Int32 = FileIOError.inputOutput,
            calls: Set<String> = []
        ) {
            self.first = first
            self.isForever = isForever
            self.code = code
            self.calls = calls
        }
    }

    /// What the lock protects.
    private struct State {
        var plan: Plan
        var count = 0
        var hasFailed = false
    }

    private let base: any FileSystem
    private let state: Mutex<State>

    /// Wraps a file system.
    package init(_ base: any FileSystem, _ plan: Plan = Plan()) {
        self.base = base
        state = Mutex(State(plan: plan))
    }

    /// Changes the plan; operations are counted from 1 again.
    package func setPlan(_ plan: Plan) {
        state.withLock { $0 = State(plan: plan) }
    }

    /// Whether an operation was made to fail.
    package var hasFailed: Bool { state.withLock { $0.hasFailed } }

    /// Counts an operation, and fails it if the plan says so.
    fileprivate func step(_ call: String, _ path: String) throws(FileIOError) {
        let code: Int32? = state.withLock { state in
            guard state.plan.calls.isEmpty || state.plan.calls.contains(call) else { return nil }
            state.count += 1
            guard let first = state.plan.first else { return nil }
            guard state.count == first || (state.plan.isForever && state.count > first) else {
                return nil
            }
            state.hasFailed = true
            return state.plan.code
        }
        if let code { throw FileIOError(call: call, path: path, code: code) }
    }

    /// Opens a file.
    package func open(_ path: String, _ mode: OpenMode) throws(FileIOError) -> any File {
        try step("open", path)
        return FaultingFile(try base.open(path, mode), self)
    }

    /// The names in a directory.
    package func list(_ directory: String) throws(FileIOError) -> [String] {
        try step("list", directory)
        return try base.list(directory)
    }

    /// Makes a directory.
    package func createDirectory(_ path: String) throws(FileIOError) {
        try step("mkdir", path)
        try base.createDirectory(path)
    }

    /// Renames.
    package func rename(
        _ source: String,
        to target: String,
        replacing: Bool
    ) throws(FileIOError) {
        try step("rename", target)
        try base.rename(source, to: target, replacing: replacing)
    }

    /// Removes a file.
    package func removeFile(_ path: String) throws(FileIOError) {
        try step("unlink", path)
        try base.removeFile(path)
    }

    /// Removes a directory.
    package func removeDirectory(_ path: String) throws(FileIOError) {
        try step("rmdir", path)
        try base.removeDirectory(path)
    }

    /// Syncs a directory.
    package func syncDirectory(_ path: String) throws(FileIOError) {
        try step("fsync", path)
        try base.syncDirectory(path)
    }

    /// What is at a path; never fails by plan.
    package func status(_ path: String) throws(FileIOError) -> FileStatus? {
        try base.status(path)
    }

    /// Free space; never fails by plan.
    package func freeSpace(_ path: String) throws(FileIOError) -> UInt64 {
        try base.freeSpace(path)
    }

    /// Maps words.
    package func mapWords(
        _ path: String,
        byteCount: Int,
        writable: Bool
    ) throws(FileIOError) -> any SharedWords {
        try step("mmap", path)
        return try base.mapWords(path, byteCount: byteCount, writable: writable)
    }
}

/// An open file of a `FaultingFileSystem`.
private final class FaultingFile: File {
    private let base: any File
    private let fileSystem: FaultingFileSystem

    init(_ base: any File, _ fileSystem: FaultingFileSystem) {
        self.base = base
        self.fileSystem = fileSystem
    }

    var path: String { base.path }

    func read(at position: UInt64, count: Int) throws(FileIOError) -> [UInt8] {
        try fileSystem.step("pread", path)
        return try base.read(at: position, count: count)
    }

    func write(_ bytes: Span<UInt8>, at position: UInt64) throws(FileIOError) {
        do throws(FileIOError) {
            try fileSystem.step("pwrite", path)
        } catch {
            // A failed write may have got half-way.
            try base.write(bytes.extracting(first: bytes.count / 2), at: position)
            throw error
        }
        try base.write(bytes, at: position)
    }

    func sync() throws(FileIOError) {
        try fileSystem.step("fdatasync", path)
        try base.sync()
    }

    func allocate(from position: UInt64, count: UInt64) throws(FileIOError) {
        try fileSystem.step("fallocate", path)
        try base.allocate(from: position, count: count)
    }

    func truncate(to size: UInt64) throws(FileIOError) {
        try fileSystem.step("ftruncate", path)
        try base.truncate(to: size)
    }

    func size() throws(FileIOError) -> UInt64 {
        try base.size()
    }

    func tryLock() throws(FileIOError) -> Bool {
        try base.tryLock()
    }

    func close() {
        base.close()
    }
}
