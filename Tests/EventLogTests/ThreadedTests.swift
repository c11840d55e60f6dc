import EventLog
import FileIO
import FileIOTesting
import Glibc
import Records
import Synchronization
import Testing
import Threads

/// Runs a test with a private data directory of the real file system, and removes it.
func withDataDirectory(_ body: (String) throws -> Void) throws {
    var random = SystemRandom()
    let fileSystem = PosixFileSystem()
    let path = "/tmp/sluice-test-" + String(random.next(), radix: 16)
    try fileSystem.createDirectory(path)
    defer { try? fileSystem.removeTree(path) }
    try body(path)
}

/// Another opening of a data directory, as another process has it.
func openDirectory(_ path: String) throws -> LogDirectory {
    try LogDirectory(path: path, fileSystem: PosixFileSystem(), time: SystemTimeSource())
}

/// What a following reader has seen so far.
private struct Followed: Sendable {
    var next: UInt64 = 0
    var isInOrder = true
    var hasEnded = false
    var failure: String?
}

/// Reads a log to its end on a thread of its own, blocking on the bell.
private func follow(_ path: String, _ id: LogID) throws -> (NamedThread, Mailbox) {
    let directory = try openDirectory(path)
    let mailbox = Mailbox()
    let thread = NamedThread(name: "reader") {
        var state = Followed()
        do {
            var reader = try directory.reader(id, from: .zero)
            while !state.hasEnded {
                let seen = directory.changeCount
                while let item = try reader.next() {
                    switch item {
                    case .records(let batch):
                        batch.forEach { offset, _ in
                            if offset.rawValue != state.next { state.isInOrder = false }
                            state.next = offset.rawValue + 1
                        }
                    case .skip: state.isInOrder = false
                    case .end: state.hasEnded = true
                    }
                }
                if !state.hasEnded { directory.waitForChange(since: seen, timeout: .seconds(20)) }
            }
        } catch {
            state.failure = "\(error)"
        }
        mailbox.value.withLock { $0 = state }
    }
    return (thread, mailbox)
}

/// A place for a thread's result.
private final class Mailbox: Sendable {
    let value = Mutex(Followed())
}

@Suite("Threads and the real file system", .timeLimit(.minutes(5)))
struct ThreadedTests {
    @Test(
        "a reader that blocks on the bell gets every record, across segments, to the end",
        arguments: SyncMode.allCases
    )
    func follows(sync: SyncMode) throws {
        try withDataDirectory { path in
            let directory = try openDirectory(path)
            var configuration = LogConfiguration()
            configuration.sync = sync
            configuration.syncInterval = .milliseconds(2)
            configuration.segmentBytes = 1 << 18
            let lane = try directory.openLane(0, configuration)
            let (thread, mailbox) = try follow(path, lane.logID)
            for number in 1...20_000 {
                try lane.append(text: "record \(number)")
                if number % 50 == 0 { try lane.write() }
            }
            try lane.heartbeat()
            try lane.close()
            thread.join()
            let state = mailbox.value.withLock { $0 }
            #expect(state.failure == nil)
            #expect(state.isInOrder)
            #expect(state.next == 20_002)
            let summary = try #require(try directory.log(lane.logID))
            #expect(summary.segments.count >= 4)
            #expect(summary.endOffset == Offset(20_002))
            for segment in summary.segments {
                #expect(segment.byteCount <= 1 << 18)
            }
        }
    }

    @Test("in mode strict every offset is reported durable, in order, on the sync thread")
    func strictCompletions() throws {
        try withDataDirectory { path in
            let directory = try openDirectory(path)
            var configuration = LogConfiguration()
            configuration.sync = .strict
            let lane = try directory.openLane(0, configuration)
            let bell = Doorbell()
            let latest = Atomic<UInt64>(0)
            let isInOrder = Atomic(true)
            lane.onDurable = { offset in
                if offset.rawValue < latest.load(ordering: .relaxed) {
                    isInOrder.store(false, ordering: .relaxed)
                }
                latest.store(offset.rawValue, ordering: .releasing)
                bell.ring()
            }
            for number in 1...200 {
                let offset = try lane.append(text: "\(number)")
                try lane.write()
                var seen = bell.count
                while latest.load(ordering: .acquiring) <= offset.rawValue {
                    seen = bell.wait(since: seen, timeoutNanoseconds: 1_000_000_000)
                }
            }
            let wasInOrder = isInOrder.load(ordering: .relaxed)
            #expect(wasInOrder)
            #expect(lane.statistics.syncs >= 200)
            try lane.close()
        }
    }

    @Test("a sync that fails once is made good by the thread, without another write")
    func threadRebuilds() throws {
        let fileSystem = MemoryFileSystem()
        let directory = try LogDirectory(
            path: "/data",
            fileSystem: fileSystem,
            time: SystemTimeSource()
        )
        var configuration = smallConfiguration(segmentBytes: 1 << 16)
        configuration.startsSyncThread = true
        let lane = try directory.openLane(0, configuration)
        let bell = Doorbell()
        lane.onDurable = { _ in bell.ring() }
        for failures in [1, 3] {
            let offset = try lane.append(text: "x")
            fileSystem.failSyncs(failures)
            try lane.write()
            var seen = bell.count
            while lane.durableOffset <= offset {
                seen = bell.wait(since: seen, timeoutNanoseconds: 1_000_000_000)
            }
        }
        #expect(lane.statistics.syncFailures >= 1)
        try lane.close()
        #expect(try readAll(directory, lane.logID).count == 4)
    }

    @Test("in mode interval several writes share a sync")
    func intervalGroups() throws {
        try withDataDirectory { path in
            let directory = try openDirectory(path)
            var configuration = LogConfiguration()
            configuration.sync = .interval
            configuration.syncInterval = .milliseconds(50)
            let lane = try directory.openLane(0, configuration)
            for number in 1...1_000 {
                try lane.append(text: "\(number)")
                try lane.write()
            }
            try lane.close()
            #expect(lane.statistics.batchesWritten == 1_001)
            #expect(lane.statistics.syncs < 500)
            #expect(lane.durableOffset == Offset(1_001))
        }
    }

    @Test("a killed process's lock is free, a living one's is not")
    func lockAcrossOpenings() throws {
        try withDataDirectory { path in
            let lane = try openDirectory(path).openLane(0, smallConfiguration())
            #expect(try openDirectory(path).recover().isEmpty)
            lane.abandon()
            let report = try #require(try openDirectory(path).recover().first)
            #expect(report.log == lane.logID)
            #expect(report.endOffset == Offset(1))
        }
    }

    @Test("what another process had written when it was killed is there")
    func killedProcess() async throws {
        var random = SystemRandom()
        let path = "/tmp/sluice-test-" + String(random.next(), radix: 16)
        defer { try? PosixFileSystem().removeTree(path) }
        await #expect(processExitsWith: .signal(SIGKILL)) { [path = path as String] in
            let lane = try openDirectory(path).openLane(0, LogConfiguration())
            for number in 1...5_000 {
                try lane.append(text: "record \(number)")
                if number % 10 == 0 { try lane.write() }
            }
            raise(SIGKILL)
        }
        let directory = try openDirectory(path)
        let id = try #require(try directory.logs().first).id
        let report = try #require(try directory.recover().first)
        #expect(report.endOffset == Offset(5_001))
        #expect(report.recordCount == 5_001)
        #expect(report.losses.isEmpty)
        #expect(try readAll(directory, id).last == .end(5_001))
    }

    @Test("lanes come and go, and what they leave can be deleted")
    func manyLanes() throws {
        try withDataDirectory { path in
            let directory = try openDirectory(path)
            for number in 0..<30 {
                var configuration = LogConfiguration()
                configuration.segmentBytes = 1 << 14
                configuration.sync = number % 2 == 0 ? .interval : .os
                try directory.openLane(number % 3, configuration).close()
            }
            #expect(try directory.logs().count == 30)
            try directory.deleteSegments(
                consumedBy: [],
                retain: RetentionPolicy(deletesConsumed: true)
            )
            #expect(try directory.logs().isEmpty)
            #expect(try directory.tombstones().count == 30)
        }
    }
}
