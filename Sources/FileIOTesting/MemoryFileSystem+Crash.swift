internal import FileIO
internal import Synchronization

/// What is left after a crash.
extension MemoryFileSystem {
    /// The size of the pieces that reach the disk one by one.
    private static var sectorBytes: Int { 512 }

    /// What the disk holds after a power cut now; this file system stays as it is.
    ///
    /// - Parameters:
    ///   - probability: How likely it is that an unsynced sector or directory change has reached
    ///     the disk; 0 keeps only what was synced.
    ///   - generator: Decides which ones.
    package func crashClone(
        probability: Double,
        using generator: inout some RandomNumberGenerator
    ) -> MemoryFileSystem {
        let (durable, changes, capacity) = state.withLock { ($0.durable, $0.changes, $0.capacity) }
        var tree = durable
        for change in changes {
            // A journal keeps order: what comes after a lost change is lost, too.
            guard Self.chance(probability, &generator) else { break }
            tree.apply(change)
        }
        var clones: [ObjectIdentifier: Node] = [:]
        // In the order of the names, so that a seed decides everything.
        for path in tree.files.keys.sorted() {
            guard let node = tree.files[path] else { continue }
            guard tree.directories.contains(parentDirectory(of: path)) else {
                tree.files[path] = nil
                continue
            }
            let clone =
                clones[ObjectIdentifier(node)]
                ?? node.crashed(probability, Self.sectorBytes, &generator)
            clones[ObjectIdentifier(node)] = clone
            tree.files[path] = clone
        }
        return MemoryFileSystem(tree, capacity: capacity)
    }

    /// What is left after the process was killed now: everything but the locks.
    package func killClone() -> MemoryFileSystem {
        var (tree, capacity) = state.withLock { ($0.live, $0.capacity) }
        for (path, node) in tree.files {
            tree.files[path] = node.killed()
        }
        return MemoryFileSystem(tree, capacity: capacity)
    }

    /// The bytes of a file, for tests that damage them; nil when it is not there.
    package func bytes(of path: String) -> [UInt8]? {
        let node = state.withLock { $0.live.files[path] }
        return node?.contents.withLock { $0.bytes }
    }

    /// Replaces a file's bytes, as a failing disk does: without anybody's knowledge.
    package func setBytes(_ bytes: [UInt8], of path: String) {
        state.withLock { state in
            state.live.files[path] = Node(bytes)
            state.durable.files[path] = Node(bytes)
        }
    }

    /// The paths of all files, sorted.
    package var paths: [String] {
        state.withLock { $0.live.files.keys.sorted() }
    }

    /// Whether something with this probability happens.
    static func chance(
        _ probability: Double,
        _ generator: inout some RandomNumberGenerator
    ) -> Bool {
        Double.random(in: 0..<1, using: &generator) < probability
    }
}

extension MemoryFileSystem.Node {
    /// Makes a file whose bytes are all synced.
    convenience init(_ bytes: [UInt8]) {
        var contents = Contents()
        contents.live = bytes
        contents.synced = bytes
        self.init(contents)
    }

    /// The file as it is, without locks.
    func killed() -> MemoryFileSystem.Node {
        contents.withLock { contents in
            var copy = contents
            copy.lockOwner = nil
            copy.live = contents.bytes
            copy.words = nil
            return MemoryFileSystem.Node(copy)
        }
    }

    /// The file as the disk has it: unsynced sectors have reached it or not.
    func crashed(
        _ probability: Double,
        _ sectorBytes: Int,
        _ generator: inout some RandomNumberGenerator
    ) -> MemoryFileSystem.Node {
        let (synced, changes, mapped) = contents.withLock { contents in
            (contents.synced, contents.changes, contents.words == nil ? nil : contents.bytes)
        }
        var bytes = synced
        if let mapped {
            // Mapped pages are written back whenever the kernel likes.
            bytes += [UInt8](repeating: 0, count: max(0, mapped.count - bytes.count))
            for start in stride(from: 0, to: mapped.count, by: sectorBytes)
            where MemoryFileSystem.chance(probability, &generator) {
                let end = min(start + sectorBytes, mapped.count)
                bytes.replaceSubrange(start..<end, with: mapped[start..<end])
            }
            return MemoryFileSystem.Node(bytes)
        }
        for change in changes {
            switch change {
            case .truncate:
                if MemoryFileSystem.chance(probability, &generator) {
                    Contents.apply(change, to: &bytes)
                }
            case .write(let new, let position):
                var start = 0
                while start < new.count {
                    let end = min(
                        new.count,
                        start + sectorBytes - (position + start) % sectorBytes
                    )
                    if MemoryFileSystem.chance(probability, &generator) {
                        Contents.apply(
                            .write(Array(new[start..<end]), position: position + start),
                            to: &bytes
                        )
                    }
                    start = end
                }
            }
        }
        return MemoryFileSystem.Node(bytes)
    }
}
