internal import FileIO
internal import Synchronization

/// An open file of a `MemoryFileSystem`.
final class MemoryFile: File {
    let path: String
    private let node: MemoryFileSystem.Node
    private let fileSystem: MemoryFileSystem
    private let isClosed = Atomic(false)

    init(path: String, node: MemoryFileSystem.Node, fileSystem: MemoryFileSystem) {
        self.path = path
        self.node = node
        self.fileSystem = fileSystem
    }

    deinit {
        close()
    }

    /// Runs a call on the file's contents.
    private func with<T: Sendable>(
        _ call: String,
        _ body: (inout MemoryFileSystem.Node.Contents) -> T
    ) throws(FileIOError) -> T {
        if isClosed.load(ordering: .relaxed) {
            throw FileIOError(call: call, path: path, code: FileIOError.closed)
        }
        return node.contents.withLock { body(&$0) }
    }

    /// Reads up to `count` bytes.
    func read(at position: UInt64, count: Int) throws(FileIOError) -> [UInt8] {
        try with("pread") { contents in
            let bytes = contents.bytes
            let start = min(Int(clamping: position), bytes.count)
            return Array(bytes[start..<min(bytes.count, start + count)])
        }
    }

    /// Writes all bytes, or as many as fit.
    func write(_ bytes: Span<UInt8>, at position: UInt64) throws(FileIOError) {
        var copy: [UInt8] = []
        copy.reserveCapacity(bytes.count)
        for index in bytes.indices { copy.append(bytes[index]) }
        let start = Int(clamping: position)
        let modified = fileSystem.modificationTime
        try fileSystem.claim(start + copy.count, for: node, call: "pwrite", path: path)
        try with("pwrite") { contents in
            contents.apply(.write(copy, position: start))
            contents.modified = modified
        }
    }

    /// Makes the contents last.
    func sync() throws(FileIOError) {
        if fileSystem.takeSyncFault() {
            try with("fdatasync") { $0.changes.removeAll() }
            throw FileIOError(call: "fdatasync", path: path, code: FileIOError.inputOutput)
        }
        try with("fdatasync") { contents in
            for change in contents.changes {
                MemoryFileSystem.Node.Contents.apply(change, to: &contents.synced)
            }
            contents.changes.removeAll()
        }
    }

    /// Reserves space.
    func allocate(from position: UInt64, count: UInt64) throws(FileIOError) {
        let end = Int(clamping: position) + Int(clamping: count)
        try fileSystem.claim(end, for: node, call: "fallocate", path: path)
        try with("fallocate") { $0.allocated = max($0.allocated, end) }
    }

    /// Sets the length.
    func truncate(to size: UInt64) throws(FileIOError) {
        let size = Int(clamping: size)
        try fileSystem.claim(size, for: node, call: "ftruncate", path: path)
        try with("ftruncate") { contents in
            contents.apply(.truncate(size))
            contents.allocated = 0
        }
    }

    /// The length.
    func size() throws(FileIOError) -> UInt64 {
        try with("fstat") { UInt64($0.bytes.count) }
    }

    /// Tries to lock the file.
    func tryLock() throws(FileIOError) -> Bool {
        let me = ObjectIdentifier(self)
        return try with("flock") { contents in
            if let owner = contents.lockOwner, owner != me { return false }
            contents.lockOwner = me
            return true
        }
    }

    /// Closes the file and gives back its lock.
    func close() {
        guard !isClosed.exchange(true, ordering: .relaxed) else { return }
        let me = ObjectIdentifier(self)
        node.contents.withLock { contents in
            if contents.lockOwner == me { contents.lockOwner = nil }
        }
    }
}

extension MemoryFileSystem.Node.Contents {
    /// What a read sees: the mapped words, if there are any.
    var bytes: [UInt8] {
        guard let words else { return live }
        var result: [UInt8] = []
        for place in 0..<(words.byteCount / 8) {
            result.appendLittleEndian(words.load64(place * 8))
        }
        return result
    }

    /// Applies and notes a change.
    mutating func apply(_ change: MemoryFileSystem.Node.Change) {
        Self.apply(change, to: &live)
        changes.append(change)
        // Writes into a mapped file are seen in the mapping.
        if let words, case .write(let bytes, let position) = change {
            for (index, byte) in bytes.enumerated() where position + index < words.byteCount {
                let place = (position + index) / 8 * 8
                let shift = UInt64((position + index) % 8 * 8)
                let word = words.load64(place) & ~(0xFF << shift) | UInt64(byte) << shift
                words.store64(place, word)
            }
        }
    }

    /// Applies a change to bytes.
    static func apply(_ change: MemoryFileSystem.Node.Change, to bytes: inout [UInt8]) {
        switch change {
        case .truncate(let size):
            if size < bytes.count {
                bytes.removeLast(bytes.count - size)
            } else {
                bytes += [UInt8](repeating: 0, count: size - bytes.count)
            }
        case .write(let new, let position):
            if bytes.count < position + new.count {
                bytes += [UInt8](repeating: 0, count: position + new.count - bytes.count)
            }
            bytes.replaceSubrange(position..<(position + new.count), with: new)
        }
    }
}
