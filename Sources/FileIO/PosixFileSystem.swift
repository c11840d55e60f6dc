internal import CSluice
internal import Glibc

/// The real file system.
package struct PosixFileSystem: FileSystem {
    /// Makes the file system; it has no state.
    package init() {}

    /// Opens a file (`open(2)`, close-on-exec; created files have mode 0640).
    package func open(_ path: String, _ mode: OpenMode) throws(FileIOError) -> any File {
        let flags: Int32
        switch mode {
        case .read: flags = O_RDONLY
        case .readWrite: flags = O_RDWR
        case .create: flags = O_RDWR | O_CREAT | O_EXCL
        case .openOrCreate: flags = O_RDWR | O_CREAT
        }
        let descriptor = try check("open", path) {
            unsafe Glibc.open(path, flags | O_CLOEXEC, 0o640)
        }
        return PosixFile(path: path, descriptor: descriptor)
    }

    /// The names in a directory (`readdir(3)`), sorted.
    package func list(_ directory: String) throws(FileIOError) -> [String] {
        guard let stream = unsafe opendir(directory) else {
            throw FileIOError(call: "opendir", path: directory, code: errno)
        }
        defer { unsafe _ = closedir(stream) }
        var names: [String] = []
        while true {
            errno = 0
            guard let entry = unsafe readdir(stream) else {
                if errno != 0 {
                    throw FileIOError(call: "readdir", path: directory, code: errno)
                }
                break
            }
            let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != "." && name != ".." {
                names.append(name)
            }
        }
        return names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }

    /// Makes a directory and those above it (`mkdir(2)`, mode 0750).
    package func createDirectory(_ path: String) throws(FileIOError) {
        if unsafe mkdir(path, 0o750) == 0 { return }
        let code = errno
        switch code {
        case EEXIST:
            guard try status(path)?.isDirectory == true else {
                throw FileIOError(call: "mkdir", path: path, code: ENOTDIR)
            }
        case ENOENT:
            let parent = parentDirectory(of: path)
            guard parent != path else {
                throw FileIOError(call: "mkdir", path: path, code: code)
            }
            try createDirectory(parent)
            if unsafe mkdir(path, 0o750) != 0 && errno != EEXIST {
                throw FileIOError(call: "mkdir", path: path, code: errno)
            }
        default:
            throw FileIOError(call: "mkdir", path: path, code: code)
        }
    }

    /// Renames atomically (`rename(2)`, or `renameat2(2)` with `RENAME_NOREPLACE`).
    package func rename(
        _ source: String,
        to target: String,
        replacing: Bool
    ) throws(FileIOError) {
        let code = unsafe sluice_rename(source, target, replacing ? 1 : 0)
        if code != 0 {
            let path = code == ENOENT ? source : target
            throw FileIOError(call: "rename", path: path, code: code)
        }
    }

    /// Removes a file (`unlink(2)`).
    package func removeFile(_ path: String) throws(FileIOError) {
        _ = try check("unlink", path) { unsafe unlink(path) }
    }

    /// Removes an empty directory (`rmdir(2)`).
    package func removeDirectory(_ path: String) throws(FileIOError) {
        _ = try check("rmdir", path) { unsafe rmdir(path) }
    }

    /// Makes changes of a directory durable (`fsync(2)`).
    package func syncDirectory(_ path: String) throws(FileIOError) {
        let descriptor = try check("open", path) {
            unsafe Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        }
        defer { _ = Glibc.close(descriptor) }
        _ = try check("fsync", path) { fsync(descriptor) }
    }

    /// What is at a path (`stat(2)`).
    package func status(_ path: String) throws(FileIOError) -> FileStatus? {
        var result = stat()
        if unsafe stat(path, &result) != 0 {
            if errno == ENOENT { return nil }
            throw FileIOError(call: "stat", path: path, code: errno)
        }
        return FileStatus(
            size: UInt64(clamping: result.st_size),
            isDirectory: result.st_mode & S_IFMT == S_IFDIR,
            modified: Int64(result.st_mtim.tv_sec) * 1_000_000
                + Int64(result.st_mtim.tv_nsec) / 1_000
        )
    }

    /// The bytes that may still be written (`statvfs(3)`, `f_bavail`).
    package func freeSpace(_ path: String) throws(FileIOError) -> UInt64 {
        var result = statvfs()
        _ = try check("statvfs", path) { unsafe statvfs(path, &result) }
        return UInt64(result.f_bavail) * UInt64(result.f_frsize)
    }

    /// Maps a file of shared words (`mmap(2)`, `MAP_SHARED`).
    package func mapWords(
        _ path: String,
        byteCount: Int,
        writable: Bool
    ) throws(FileIOError) -> any SharedWords {
        precondition(byteCount > 0 && byteCount % 8 == 0, "a mapping is whole 64-bit words")
        let flags = writable ? O_RDWR | O_CREAT : O_RDONLY
        let descriptor = try check("open", path) {
            unsafe Glibc.open(path, flags | O_CLOEXEC, 0o640)
        }
        defer { _ = Glibc.close(descriptor) }
        var result = stat()
        _ = try check("fstat", path) { unsafe fstat(descriptor, &result) }
        if result.st_size < byteCount {
            guard writable else {
                throw FileIOError(call: "mmap", path: path, code: EINVAL)
            }
            _ = try check("ftruncate", path) { ftruncate(descriptor, byteCount) }
        }
        let protection = writable ? PROT_READ | PROT_WRITE : PROT_READ
        let address = unsafe mmap(nil, byteCount, protection, MAP_SHARED, descriptor, 0)
        guard let address = unsafe address, unsafe address != MAP_FAILED else {
            throw FileIOError(call: "mmap", path: path, code: errno)
        }
        return unsafe MappedWords(address: address, byteCount: byteCount) { address, count in
            unsafe _ = munmap(address, count)
        }
    }
}

/// Repeats a system call while it is interrupted, and throws its error.
func check(
    _ call: String,
    _ path: String,
    _ body: () -> Int32
) throws(FileIOError) -> Int32 {
    while true {
        let result = body()
        if result >= 0 { return result }
        if errno != EINTR {
            throw FileIOError(call: call, path: path, code: errno)
        }
    }
}
