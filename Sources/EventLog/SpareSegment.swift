internal import FileIO
internal import Records
internal import Synchronization

/// The preallocated file of a lane's next segment, so that promised space is there.
///
/// On a disk that is nearly full the file is smaller than configured, so that the rest of the disk
/// can be used; it grows when there is space again.
final class SpareSegment: Sendable {
    /// A file that is ready.
    struct Ready {
        let file: any File
        /// How many bytes are allocated.
        var capacity: Int
    }

    /// Where the file is; no reader looks at it.
    let path: String
    private let fileSystem: any FileSystem
    private let segmentBytes: Int
    /// Deletes something; nil when nothing may be deleted.
    private let makeRoom: (@Sendable () -> Bool)?
    private let ready = Mutex<Ready?>(nil)
    /// The ready file's capacity; 0 when there is none.
    private let readyCapacity = Atomic(0)
    /// Segments deleted to make room.
    let segmentsDropped = Atomic<UInt64>(0)

    /// The smallest segment worth having on a full disk; chosen: 1 MiB.
    private static let capacityMin = 1 << 20

    init(
        path: String,
        fileSystem: any FileSystem,
        segmentBytes: Int,
        makeRoom: (@Sendable () -> Bool)?
    ) {
        self.path = path
        self.fileSystem = fileSystem
        self.segmentBytes = segmentBytes
        self.makeRoom = makeRoom
    }

    /// The bytes allocated to the ready file; 0 when there is none. No lock is taken.
    var capacity: Int { readyCapacity.load(ordering: .relaxed) }

    /// Makes the file, or makes it larger, unless it has so many bytes already.
    ///
    /// - Parameter wanted: The smallest capacity that is of use.
    /// - Throws: `full` when there is no space for it, even after making room.
    func prepare(_ wanted: Int) throws(EventLogError) {
        guard capacity < wanted || capacity == 0 else { return }
        try ready.withLock { (ready: inout Ready?) throws(EventLogError) in
            let before = ready?.capacity ?? 0
            guard before < wanted || before == 0 else { return }
            do throws(FileIOError) {
                let file = try openFile(ready)
                do throws(FileIOError) {
                    if before == 0 { try file.truncate(to: 0) }
                    let least = max(wanted, min(segmentBytes, Self.capacityMin))
                    let capacity = try allocate(file, atLeast: least)
                    ready = Ready(file: file, capacity: capacity)
                    readyCapacity.store(capacity, ordering: .relaxed)
                } catch {
                    if before == 0 {
                        file.close()
                        try? fileSystem.removeFile(path)
                    }
                    throw error
                }
            } catch {
                throw error.isOutOfSpace ? .full : .io(error)
            }
        }
    }

    /// The ready file, or a new one.
    private func openFile(_ ready: Ready?) throws(FileIOError) -> any File {
        if let ready { return ready.file }
        return try fileSystem.open(path, .openOrCreate)
    }

    /// Allocates as much of a segment as there is room for.
    private func allocate(_ file: any File, atLeast least: Int) throws(FileIOError) -> Int {
        var size = max(segmentBytes, least)
        while true {
            do throws(FileIOError) {
                try file.allocate(from: 0, count: UInt64(size))
                return size
            } catch {
                guard error.isOutOfSpace else { throw error }
                if makeRoom?() == true {
                    segmentsDropped.add(1, ordering: .relaxed)
                } else if size / 2 >= least {
                    size /= 2
                } else {
                    throw error
                }
            }
        }
    }

    /// Uses the file for a segment; when the body throws, it stays ready.
    func take<T>(
        _ body: (Ready) throws(EventLogError) -> T
    ) throws(EventLogError) -> T {
        try ready.withLock { (ready: inout Ready?) throws(EventLogError) -> T in
            guard let file = ready else { throw .full }
            let result = try body(file)
            ready = nil
            readyCapacity.store(0, ordering: .relaxed)
            return result
        }
    }

    /// Removes the file.
    func remove() {
        ready.withLock { ready in
            guard let file = ready?.file else { return }
            file.close()
            try? fileSystem.removeFile(path)
            ready = nil
            readyCapacity.store(0, ordering: .relaxed)
        }
    }
}
