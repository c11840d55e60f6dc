import FileIO
import FileIOTesting
import Testing

/// Runs a test with a private directory of the real file system, and removes it.
func withTemporaryDirectory(_ body: (String) throws -> Void) throws {
    var random = SystemRandom()
    let fileSystem = PosixFileSystem()
    let path = "/tmp/sluice-test-" + String(random.next(), radix: 16)
    try fileSystem.createDirectory(path)
    defer { try? fileSystem.removeTree(path) }
    try body(path)
}

/// Runs a test on the real file system, and on the one in memory.
func onBoth(_ body: (any FileSystem, String) throws -> Void) throws {
    try withTemporaryDirectory { path in
        try body(PosixFileSystem(), path)
    }
    let memory = MemoryFileSystem()
    try memory.createDirectory("/tmp/test")
    try body(memory, "/tmp/test")
    try body(FaultingFileSystem(MemoryFileSystem()), "/")
}

/// The error that a closure throws.
func failure(_ body: () throws(FileIOError) -> Void) -> FileIOError? {
    do throws(FileIOError) {
        try body()
        return nil
    } catch {
        return error
    }
}

@Suite("File system")
struct FileSystemTests {
    @Test("what is written at a position is read there")
    func readAndWrite() throws {
        try onBoth { fileSystem, path in
            let file = try fileSystem.open(path + "/file", .create)
            try file.write([1, 2, 3], at: 0)
            try file.write([4, 5], at: 5)
            #expect(try file.size() == 7)
            #expect(try file.readAll() == [1, 2, 3, 0, 0, 4, 5])
            #expect(try file.read(at: 5, count: 100) == [4, 5])
            #expect(try file.read(at: 7, count: 1) == [])
            try file.allocate(from: 0, count: 1 << 16)
            #expect(try file.size() == 7)
            try file.sync()
            try file.truncate(to: 2)
            #expect(try file.readAll() == [1, 2])
            file.close()
            #expect(failure { () throws(FileIOError) in _ = try file.readAll() } != nil)
            #expect(try fileSystem.readFile(path + "/file") == [1, 2])
            #expect(try fileSystem.status(path + "/file")?.size == 2)
        }
    }

    @Test("opening modes demand or refuse an existing file")
    func modes() throws {
        try onBoth { fileSystem, path in
            let name = path + "/file"
            let missing = failure { () throws(FileIOError) in _ = try fileSystem.open(name, .read) }
            #expect(missing?.isNotFound == true)
            let update = failure { () throws(FileIOError) in
                _ = try fileSystem.open(name, .readWrite)
            }
            #expect(update?.isNotFound == true)
            _ = try fileSystem.open(name, .openOrCreate)
            _ = try fileSystem.open(name, .openOrCreate)
            let taken = failure { () throws(FileIOError) in _ = try fileSystem.open(name, .create) }
            #expect(taken?.isAlreadyThere == true)
            #expect(taken?.description.contains("could not open") == true)
        }
    }

    @Test("directories are made with those above, listed in order and removed with their contents")
    func directories() throws {
        try onBoth { fileSystem, path in
            try fileSystem.createDirectory(path + "/a/b/c")
            try fileSystem.createDirectory(path + "/a/b/c")
            _ = try fileSystem.open(path + "/a/z", .create)
            _ = try fileSystem.open(path + "/a/B", .create)
            #expect(try fileSystem.list(path + "/a") == ["B", "b", "z"])
            #expect(try fileSystem.status(path + "/a/b")?.isDirectory == true)
            let full = failure { () throws(FileIOError) in
                try fileSystem.removeDirectory(path + "/a")
            }
            #expect(full?.isAlreadyThere == true)
            try fileSystem.syncDirectory(path + "/a")
            try fileSystem.removeTree(path + "/a")
            #expect(try fileSystem.exists(path + "/a") == false)
        }
    }

    @Test("a rename replaces only when it may, and moves whole directories")
    func rename() throws {
        try onBoth { fileSystem, path in
            try fileSystem.replaceFile(path + "/one", with: [1])
            try fileSystem.replaceFile(path + "/two", with: [2])
            let taken = failure { () throws(FileIOError) in
                try fileSystem.rename(path + "/one", to: path + "/two", replacing: false)
            }
            #expect(taken?.isAlreadyThere == true)
            try fileSystem.rename(path + "/one", to: path + "/two", replacing: true)
            #expect(try fileSystem.readFile(path + "/two") == [1])
            try fileSystem.createDirectory(path + "/from/deep")
            _ = try fileSystem.open(path + "/from/deep/file", .create)
            try fileSystem.rename(path + "/from", to: path + "/to", replacing: false)
            #expect(try fileSystem.list(path + "/to/deep") == ["file"])
            try fileSystem.createDirectory(path + "/other")
            _ = try fileSystem.open(path + "/other/file", .create)
            let full = failure { () throws(FileIOError) in
                try fileSystem.rename(path + "/to", to: path + "/other", replacing: false)
            }
            #expect(full?.isAlreadyThere == true)
        }
    }

    @Test("a lock keeps others out until its file is closed")
    func locks() throws {
        try onBoth { fileSystem, path in
            let first = try fileSystem.open(path + "/lock", .openOrCreate)
            let second = try fileSystem.open(path + "/lock", .openOrCreate)
            #expect(try first.tryLock())
            #expect(try first.tryLock())
            #expect(try second.tryLock() == false)
            first.close()
            #expect(try second.tryLock())
        }
    }

    @Test("mapped words are shared by everyone who maps the file")
    func words() throws {
        try onBoth { fileSystem, path in
            let first = try fileSystem.mapWords(path + "/words", byteCount: 4096, writable: true)
            let second = try fileSystem.mapWords(path + "/words", byteCount: 4096, writable: false)
            first.store64(8, 0x0102_0304_0506_0708)
            first.store32(4088, 7)
            #expect(first.add32(4088, 5) == 7)
            #expect(second.load64(8) == 0x0102_0304_0506_0708)
            #expect(second.load32(4088) == 12)
            let bytes = try fileSystem.readFile(path + "/words")
            #expect(Array(bytes[8..<16]) == [8, 7, 6, 5, 4, 3, 2, 1])
            let missing = failure { () throws(FileIOError) in
                _ = try fileSystem.mapWords(path + "/none", byteCount: 4096, writable: false)
            }
            #expect(missing?.isNotFound == true)
        }
    }

    @Test("a full disk is reported as such")
    func fullDisk() throws {
        let fileSystem = MemoryFileSystem(capacity: 1000)
        let file = try fileSystem.open("/file", .create)
        try file.allocate(from: 0, count: 900)
        #expect(try fileSystem.freeSpace("/") == 100)
        let other = try fileSystem.open("/other", .create)
        let error = failure { () throws(FileIOError) in
            try other.write([UInt8](repeating: 0, count: 200), at: 0)
        }
        #expect(error?.isOutOfSpace == true)
        try file.truncate(to: 0)
        try other.write([UInt8](repeating: 0, count: 200), at: 0)
    }

    @Test("ten thousand files are opened and closed without running out of descriptors")
    func descriptors() throws {
        try withTemporaryDirectory { path in
            for _ in 0..<10_000 {
                _ = try PosixFileSystem().open(path + "/file", .openOrCreate)
            }
        }
    }
}

@Suite("Crashing file system")
struct CrashTests {
    @Test("a power cut keeps what was synced, and nothing else when nothing else got through")
    func synced() throws {
        let fileSystem = CrashingFileSystem()
        try fileSystem.createDirectory("/d")
        try fileSystem.syncDirectory("/")
        let file = try fileSystem.open("/d/file", .create)
        try file.write([1, 2, 3], at: 0)
        try file.sync()
        try file.write([9], at: 1)
        var random = SystemRandom()
        let lost = fileSystem.crashClone(probability: 0, using: &random)
        #expect(try lost.list("/d") == [])
        try fileSystem.syncDirectory("/d")
        let kept = fileSystem.crashClone(probability: 0, using: &random)
        #expect(try kept.readFile("/d/file") == [1, 2, 3])
        let lucky = fileSystem.crashClone(probability: 1, using: &random)
        #expect(try lucky.readFile("/d/file") == [1, 9, 3])
    }

    @Test("a kill keeps everything but the locks")
    func killed() throws {
        let fileSystem = CrashingFileSystem()
        let file = try fileSystem.open("/file", .create)
        try file.write([1], at: 0)
        #expect(try file.tryLock())
        let clone = fileSystem.killClone()
        #expect(try clone.readFile("/file") == [1])
        #expect(try clone.open("/file", .read).tryLock())
    }

    @Test("the n-th operation fails, once or for ever")
    func faults() throws {
        let fileSystem = FaultingFileSystem(
            MemoryFileSystem(),
            .init(first: 2, calls: ["fdatasync"])
        )
        let file = try fileSystem.open("/file", .create)
        try file.sync()
        #expect(failure { () throws(FileIOError) in try file.sync() } != nil)
        try file.sync()
        fileSystem.setPlan(.init(first: 1, isForever: true))
        for _ in 0..<3 {
            #expect(failure { () throws(FileIOError) in try file.sync() } != nil)
        }
    }
}
