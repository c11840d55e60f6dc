package import FileIO

/// A file system that hands everything on to another one, and lets writes and syncs of files be
/// watched on their way.
package final class WatchedFileSystem: FileSystem {
    /// What is called on the way.
    package struct Watch: Sendable {
        /// Before a write, with the file's path; may block.
        package var write: @Sendable (String) -> Void = { _ in }
        /// Before a sync, with the file's path; may block. False acknowledges it without making it.
        package var sync: @Sendable (String) -> Bool = { _ in true }

        /// Nothing.
        package init() {}
    }

    private let base: any FileSystem
    private let watch: Watch

    /// Wraps a file system.
    package init(_ base: any FileSystem, _ watch: Watch) {
        self.base = base
        self.watch = watch
    }

    /// Opens a file.
    package func open(_ path: String, _ mode: OpenMode) throws(FileIOError) -> any File {
        WatchedFile(try base.open(path, mode), watch)
    }

    /// The names in a directory.
    package func list(_ directory: String) throws(FileIOError) -> [String] {
        try base.list(directory)
    }

    /// Makes a directory.
    package func createDirectory(_ path: String) throws(FileIOError) {
        try base.createDirectory(path)
    }

    /// Renames.
    package func rename(
        _ source: String,
        to target: String,
        replacing: Bool
    ) throws(FileIOError) {
        try base.rename(source, to: target, replacing: replacing)
    }

    /// Removes a file.
    package func removeFile(_ path: String) throws(FileIOError) { try base.removeFile(path) }

    /// Removes a directory.
    package func removeDirectory(_ path: String) throws(FileIOError) {
        try base.removeDirectory(path)
    }

    /// Syncs a directory.
    package func syncDirectory(_ path: String) throws(FileIOError) {
        try base.syncDirectory(path)
    }

    /// What is at a path.
    package func status(_ path: String) throws(FileIOError) -> FileStatus? {
        try base.status(path)
    }

    /// Free space.
    package func freeSpace(_ path: String) throws(FileIOError) -> UInt64 {
        try base.freeSpace(path)
    }

    /// Maps words.
    package func mapWords(
        _ path: String,
        byteCount: Int,
        writable: Bool
    ) throws(FileIOError) -> any SharedWords {
        try base.mapWords(path, byteCount: byteCount, writable: writable)
    }
}

/// An open file of a `WatchedFileSystem`.
private final class WatchedFile: File {
    private let base: any File
    private let watch: WatchedFileSystem.Watch

    init(_ base: any File, _ watch: WatchedFileSystem.Watch) {
        self.base = base
        self.watch = watch
    }

    var path: String { base.path }

    func read(at position: UInt64, count: Int) throws(FileIOError) -> [UInt8] {
        try base.read(at: position, count: count)
    }

    func write(_ bytes: Span<UInt8>, at position: UInt64) throws(FileIOError) {
        watch.write(path)
        try base.write(bytes, at: position)
    }

    func sync() throws(FileIOError) {
        guard watch.sync(path) else { return }
        try base.sync()
    }

    func allocate(from position: UInt64, count: UInt64) throws(FileIOError) {
        try base.allocate(from: position, count: count)
    }

    func truncate(to size: UInt64) throws(FileIOError) { try base.truncate(to: size) }

    func size() throws(FileIOError) -> UInt64 { try base.size() }

    func tryLock() throws(FileIOError) -> Bool { try base.tryLock() }

    func close() { base.close() }
}
