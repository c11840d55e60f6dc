/// The seam that all file operations go through, so that tests can crash and fail them.
///
/// Existentials are fine here: a call is one system call for a whole batch.
package protocol FileSystem: Sendable {
    /// Opens a file.
    ///
    /// - Parameters:
    ///   - path: The file.
    ///   - mode: How, and what to do when it exists or does not.
    /// - Returns: The open file; closed by `close` or when the last reference goes.
    func open(_ path: String, _ mode: OpenMode) throws(FileIOError) -> any File

    /// The names in a directory, sorted by code point, without "." and "..".
    func list(_ directory: String) throws(FileIOError) -> [String]

    /// Makes a directory and those above it; one that is there already is fine.
    ///
    /// A new directory is on stable storage only after `syncDirectory` of the one above it.
    func createDirectory(_ path: String) throws(FileIOError)

    /// Renames a file or directory, atomically.
    ///
    /// - Parameters:
    ///   - source: The present name.
    ///   - target: The new name, in the same file system.
    ///   - replacing: Whether an existing file may be replaced; otherwise `isAlreadyThere`.
    func rename(_ source: String, to target: String, replacing: Bool) throws(FileIOError)

    /// Removes a file.
    func removeFile(_ path: String) throws(FileIOError)

    /// Removes an empty directory.
    func removeDirectory(_ path: String) throws(FileIOError)

    /// Makes creations, renames and removals in a directory durable (`fsync(2)` of the directory).
    func syncDirectory(_ path: String) throws(FileIOError)

    /// What is at a path; nil when nothing is.
    func status(_ path: String) throws(FileIOError) -> FileStatus?

    /// The bytes that an ordinary user may still write to the file system of a path.
    func freeSpace(_ path: String) throws(FileIOError) -> UInt64

    /// Maps a file of shared words, made (zero-filled) when it is not there.
    ///
    /// - Parameters:
    ///   - path: The file.
    ///   - byteCount: Its size; a multiple of 8. A shorter file is extended.
    ///   - writable: Whether words may be stored; when false, the file must exist.
    func mapWords(
        _ path: String,
        byteCount: Int,
        writable: Bool
    ) throws(FileIOError) -> any SharedWords
}

/// How to open a file.
package enum OpenMode: Sendable {
    /// For reading; it must exist.
    case read
    /// For reading and writing; it must exist.
    case readWrite
    /// For reading and writing; it must not exist (`O_EXCL`).
    case create
    /// For reading and writing; made when it does not exist.
    case openOrCreate
}

/// What is known about a file without opening it.
package struct FileStatus: Equatable, Sendable {
    /// Its length in bytes.
    package let size: UInt64
    /// Whether it is a directory.
    package let isDirectory: Bool
    /// When it was last written, µs since the epoch.
    package let modified: Int64

    /// Describes a file.
    package init(size: UInt64, isDirectory: Bool, modified: Int64) {
        self.size = size
        self.isDirectory = isDirectory
        self.modified = modified
    }
}

/// An open file. Safe to use from several threads, as system calls are.
package protocol File: AnyObject, Sendable {
    /// The path that it was opened by.
    var path: String { get }

    /// Reads up to `count` bytes at a file position; fewer only at the end of the file.
    func read(at position: UInt64, count: Int) throws(FileIOError) -> [UInt8]

    /// Writes all bytes at a file position; when it throws, any part of them may have been written.
    func write(_ bytes: Span<UInt8>, at position: UInt64) throws(FileIOError)

    /// Makes the file's bytes and length durable (`fdatasync(2)`).
    ///
    /// After a failure the state of the bytes is unknown, and a second call proves nothing.
    func sync() throws(FileIOError)

    /// Reserves disk space for a range without changing the file's length.
    func allocate(from position: UInt64, count: UInt64) throws(FileIOError)

    /// Sets the length; space reserved beyond it is given back.
    func truncate(to size: UInt64) throws(FileIOError)

    /// The length in bytes.
    func size() throws(FileIOError) -> UInt64

    /// Tries to lock the file against every other opening of it, in any process (`flock(2)`).
    ///
    /// - Returns: False when somebody else holds the lock. It is released by `close` or a crash.
    func tryLock() throws(FileIOError) -> Bool

    /// Closes the file; later operations fail with `closed`. Errors of `close(2)` are of no use
    /// after `sync`, and ignored.
    func close()
}

extension File {
    /// Writes all bytes of an array at a file position.
    package func write(_ bytes: [UInt8], at position: UInt64) throws(FileIOError) {
        try write(bytes.span, at: position)
    }

    /// Reads the whole file.
    package func readAll() throws(FileIOError) -> [UInt8] {
        try read(at: 0, count: Int(clamping: try size()))
    }
}

/// Atomic words in memory shared by everyone who maps the same file, in any process.
///
/// Byte offsets must be multiples of the word's size and inside the mapping.
package protocol SharedWords: AnyObject, Sendable {
    /// The mapping's size.
    var byteCount: Int { get }
    /// The 32-bit word at a byte offset (sequentially consistent).
    func load32(_ byteOffset: Int) -> UInt32
    /// Replaces the 32-bit word at a byte offset.
    func store32(_ byteOffset: Int, _ value: UInt32)
    /// Adds to the 32-bit word at a byte offset, wrapping; returns the value before.
    @discardableResult
    func add32(_ byteOffset: Int, _ value: UInt32) -> UInt32
    /// The 64-bit word at a byte offset (acquire).
    func load64(_ byteOffset: Int) -> UInt64
    /// Replaces the 64-bit word at a byte offset (release).
    func store64(_ byteOffset: Int, _ value: UInt64)
    /// Blocks while the 32-bit word equals `expected`, at most so long (negative: no limit).
    func wait32(_ byteOffset: Int, while expected: UInt32, timeoutNanoseconds: Int64)
    /// Wakes everyone who waits for the 32-bit word.
    func wake32(_ byteOffset: Int)
}

extension FileSystem {
    /// Whether something is at a path.
    package func exists(_ path: String) throws(FileIOError) -> Bool {
        try status(path) != nil
    }

    /// The bytes of a whole file.
    package func readFile(_ path: String) throws(FileIOError) -> [UInt8] {
        let file = try open(path, .read)
        defer { file.close() }
        return try file.readAll()
    }

    /// Replaces a small file so that after a crash it is either the old or the new one, whole.
    ///
    /// Writes `path.tmp`, syncs it, renames it over `path` and syncs the directory.
    package func replaceFile(_ path: String, with bytes: [UInt8]) throws(FileIOError) {
        let temporary = path + ".tmp"
        let file = try open(temporary, .openOrCreate)
        defer { file.close() }
        try file.truncate(to: 0)
        try file.write(bytes.span, at: 0)
        try file.sync()
        try rename(temporary, to: path, replacing: true)
        try syncDirectory(parentDirectory(of: path))
    }

    /// Removes a directory and all that is in it.
    package func removeTree(_ path: String) throws(FileIOError) {
        for name in try list(path) {
            let child = path + "/" + name
            if try status(child)?.isDirectory == true {
                try removeTree(child)
            } else {
                try removeFile(child)
            }
        }
        try removeDirectory(path)
    }
}

/// The path of the directory that a path is in.
package func parentDirectory(of path: String) -> String {
    guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return "." }
    return slash == path.utf8.startIndex ? "/" : String(path[..<slash])
}
