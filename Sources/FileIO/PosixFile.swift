internal import CSluice
internal import Glibc
internal import Synchronization

/// An open file of the real file system.
package final class PosixFile: File {
    /// The path that it was opened by.
    package let path: String
    /// The descriptor; −1 once closed.
    private let descriptor: Atomic<Int32>

    /// Takes over an open descriptor.
    init(path: String, descriptor: Int32) {
        self.path = path
        self.descriptor = Atomic(descriptor)
    }

    deinit {
        close()
    }

    /// Reads up to `count` bytes (`pread(2)`, repeated until full or at the end).
    package func read(at position: UInt64, count: Int) throws(FileIOError) -> [UInt8] {
        let descriptor = descriptor.load(ordering: .relaxed)
        var code: Int32 = 0
        let bytes = unsafe [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            while filled < count {
                let got = unsafe pread(
                    descriptor,
                    buffer.baseAddress.map { unsafe $0 + filled },
                    count - filled,
                    Int(clamping: position) + filled
                )
                if got > 0 {
                    filled += got
                } else if got == 0 {
                    break
                } else if errno != EINTR {
                    code = errno
                    break
                }
            }
        }
        guard code == 0 else { throw FileIOError(call: "pread", path: path, code: code) }
        return bytes
    }

    /// Writes all bytes (`pwrite(2)`, repeated after a short write).
    package func write(_ bytes: Span<UInt8>, at position: UInt64) throws(FileIOError) {
        let descriptor = descriptor.load(ordering: .relaxed)
        let code: Int32 = unsafe bytes.withUnsafeBytes { buffer in
            var written = 0
            while written < buffer.count {
                let put = unsafe pwrite(
                    descriptor,
                    buffer.baseAddress.map { unsafe $0 + written },
                    buffer.count - written,
                    Int(clamping: position) + written
                )
                if put > 0 {
                    written += put
                } else if put == 0 {
                    return EIO
                } else if errno != EINTR {
                    return errno
                }
            }
            return 0
        }
        guard code == 0 else { throw FileIOError(call: "pwrite", path: path, code: code) }
    }

    /// Makes bytes and length durable (`fdatasync(2)`); an interrupted call is not repeated.
    package func sync() throws(FileIOError) {
        if fdatasync(descriptor.load(ordering: .relaxed)) != 0 {
            throw FileIOError(call: "fdatasync", path: path, code: errno)
        }
    }

    /// Reserves disk space (`fallocate(2)`, `FALLOC_FL_KEEP_SIZE`).
    ///
    /// On a file system that cannot, it only checks that as much space is free now.
    package func allocate(from position: UInt64, count: UInt64) throws(FileIOError) {
        let descriptor = descriptor.load(ordering: .relaxed)
        var code = sluice_allocate(descriptor, Int64(clamping: position), Int64(clamping: count))
        if code == EOPNOTSUPP || code == ENOSYS {
            var result = statvfs()
            code = unsafe fstatvfs(descriptor, &result) == 0 ? 0 : errno
            if code == 0 && UInt64(result.f_bavail) * UInt64(result.f_frsize) < count {
                code = ENOSPC
            }
        }
        guard code == 0 else { throw FileIOError(call: "fallocate", path: path, code: code) }
    }

    /// Sets the length (`ftruncate(2)`).
    package func truncate(to size: UInt64) throws(FileIOError) {
        let descriptor = descriptor.load(ordering: .relaxed)
        _ = try check("ftruncate", path) { ftruncate(descriptor, Int(clamping: size)) }
    }

    /// The length in bytes (`fstat(2)`).
    package func size() throws(FileIOError) -> UInt64 {
        let descriptor = descriptor.load(ordering: .relaxed)
        var result = stat()
        _ = try check("fstat", path) { unsafe fstat(descriptor, &result) }
        return UInt64(clamping: result.st_size)
    }

    /// Tries to lock the file (`flock(2)`, exclusive, not waiting).
    package func tryLock() throws(FileIOError) -> Bool {
        while true {
            if flock(descriptor.load(ordering: .relaxed), LOCK_EX | LOCK_NB) == 0 { return true }
            switch errno {
            case EINTR: continue
            case EWOULDBLOCK: return false
            default: throw FileIOError(call: "flock", path: path, code: errno)
            }
        }
    }

    /// Closes the descriptor, once.
    package func close() {
        let open = descriptor.exchange(-1, ordering: .acquiringAndReleasing)
        if open >= 0 {
            _ = Glibc.close(open)
        }
    }
}
