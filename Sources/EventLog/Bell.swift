internal import FileIO

/// The futex that wakes readers of a data directory, shared by all its processes.
///
/// | byte | size | field |
/// |---:|---:|---|
/// | 0 | 4 | change count: something moved |
/// | 4 | 4 | how many threads wait (a killed one stays counted: it costs a system call) |
/// | 8 | 4 | topology count: a log appeared, ended or went |
struct Bell: Sendable {
    /// The size of the file.
    static let byteCount = 4096

    private let words: any SharedWords

    /// Maps the bell, making the file when it is not there.
    init(_ path: String, fileSystem: any FileSystem) throws(EventLogError) {
        words = try io { () throws(FileIOError) in
            try fileSystem.mapWords(path, byteCount: Self.byteCount, writable: true)
        }
    }

    /// How often it has been rung, wrapping.
    var count: UInt32 { words.load32(0) }

    /// How often the set of logs has changed, wrapping.
    var topologyCount: UInt32 { words.load32(8) }

    /// Adds one and wakes everyone; no system call when nobody waits.
    func ring() {
        words.add32(0, 1)
        if words.load32(4) != 0 {
            words.wake32(0)
        }
    }

    /// Says that the set of logs has changed.
    func ringTopology() {
        words.add32(8, 1)
        ring()
    }

    /// Blocks until the count differs or the time is up; returns the count.
    func wait(since count: UInt32, timeoutNanoseconds: Int64) -> UInt32 {
        words.add32(4, 1)
        words.wait32(0, while: count, timeoutNanoseconds: timeoutNanoseconds)
        words.add32(4, UInt32.max)
        return words.load32(0)
    }
}
