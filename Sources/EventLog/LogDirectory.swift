package import FileIO
package import Records

/// The event logs of one data directory.
///
/// Files: `DATA/log/<log id>/<base offset>.log`, `DATA/log/<log id>/mark`, `DATA/log/bell`,
/// `DATA/checkpoints/<consumer>/<log id>`. Any number of processes may read; each lane has one
/// writer.
package final class LogDirectory: Sendable {
    /// The data directory.
    package let path: String
    /// The file system that it is in.
    package let fileSystem: any FileSystem
    /// The clocks.
    package let time: any TimeSource

    let paths: LogPaths
    let bell: Bell
    /// Sixty-four random bits, for ids and salts.
    let random: @Sendable () -> UInt64

    /// Opens a data directory; nothing is recovered or locked.
    ///
    /// - Parameters:
    ///   - path: The data directory (`DATA`, not `DATA/log`); created when it is not there.
    ///   - fileSystem: The file system that it is in.
    ///   - time: The clocks.
    ///   - random: Sixty-four random bits that nobody can guess; other ones only in tests.
    package init(
        path: String,
        fileSystem: any FileSystem,
        time: any TimeSource,
        random: @escaping @Sendable () -> UInt64 = LogDirectory.systemRandom
    ) throws(EventLogError) {
        self.path = path
        self.random = random
        self.fileSystem = fileSystem
        self.time = time
        let paths = LogPaths(data: path)
        self.paths = paths
        try io { () throws(FileIOError) in
            try fileSystem.createDirectory(paths.logs)
            try fileSystem.createDirectory(paths.checkpoints)
            try fileSystem.syncDirectory(path)
        }
        bell = try Bell(paths.bell, fileSystem: fileSystem)
    }

    /// Sixty-four bits of the kernel's random generator.
    package static let systemRandom: @Sendable () -> UInt64 = {
        var generator = SystemRandom()
        return generator.next()
    }

    // MARK: Waiting

    /// Counts every change: a durable mark moved, a log or segment appeared or went, a checkpoint
    /// moved. Shared by all processes.
    package var changeCount: UInt32 {
        bell.count
    }

    /// Counts changes of the set of logs and segments only: cheaper to watch than `logs()`.
    package var topologyCount: UInt32 {
        bell.topologyCount
    }

    /// Blocks the calling thread until `changeCount` differs from `since`; call it on a thread of
    /// your own.
    ///
    /// - Returns: The count now; equal to `since` when the time was up.
    @discardableResult
    package func waitForChange(since: UInt32, timeout: Duration) -> UInt32 {
        bell.wait(since: since, timeoutNanoseconds: max(0, timeout.nanoseconds))
    }

    /// Wakes everyone who waits for a change (for shutting down a waiting thread).
    package func ringBell() {
        bell.ring()
    }

    // MARK: Reading

    /// All logs, in the order of their ids.
    package func logs() throws(EventLogError) -> [LogSummary] {
        var result: [LogSummary] = []
        for id in try logIDs() {
            if let log = try log(id) { result.append(log) }
        }
        return result
    }

    /// One log; nil when it is not there.
    package func log(_ id: LogID) throws(EventLogError) -> LogSummary? {
        let directory = paths.log(id)
        let segments: [SegmentSummary]
        let mark: MarkValue
        do throws(FileIOError) {
            guard try fileSystem.exists(directory) else { return nil }
            var found: [SegmentSummary] = []
            for base in try LogPaths.segments(in: directory, fileSystem: fileSystem) {
                let path = LogPaths.segment(base, in: directory)
                guard let status = try fileSystem.status(path) else { continue }
                found.append(
                    SegmentSummary(baseOffset: base, byteCount: status.size, path: path)
                )
            }
            segments = found
            mark = try markValue(id) ?? MarkValue()
        } catch {
            if error.isNotFound { return nil }
            throw .io(error)
        }
        let header = try firstHeader(id, segments)
        return LogSummary(
            id: id,
            segments: segments,
            durableOffset: mark.durableOffset,
            endOffset: mark.isEnded ? mark.durableOffset : nil,
            lane: header?.lane,
            node: header?.node ?? "",
            region: header?.region ?? "",
            createdAt: header?.createdAt ?? 0,
            predecessor: header?.predecessor
        )
    }

    /// A reader of one log.
    ///
    /// - Parameters:
    ///   - log: The log.
    ///   - from: The first offset wanted.
    package func reader(_ log: LogID, from: Offset) throws(EventLogError) -> LogReader {
        let path = LogPaths.mark(in: paths.log(log))
        let words: any SharedWords
        do throws(FileIOError) {
            words = try fileSystem.mapWords(
                path,
                byteCount: DurableMark.byteCount,
                writable: false
            )
        } catch {
            if error.isNotFound { throw .unknownLog(log) }
            throw .io(error)
        }
        return LogReader(
            logID: log,
            from: from,
            directory: paths.log(log),
            fileSystem: fileSystem,
            mark: DurableMark(words, logID: log)
        ) { [self] () throws(EventLogError) in try tombstones(of: log) }
    }

    /// A consumer's checkpoints in this data directory.
    package func checkpoints(consumer: String) throws(EventLogError) -> CheckpointStore {
        try CheckpointStore(
            consumer: consumer,
            paths: paths,
            fileSystem: fileSystem,
            bell: bell
        )
    }

    // MARK: Within the module

    /// The ids of the logs there are, ascending.
    func logIDs() throws(EventLogError) -> [LogID] {
        try io { () throws(FileIOError) in
            try fileSystem.list(paths.logs).compactMap { LogID($0) }
        }
    }

    /// The value of a log's mark; nil when it has none.
    func markValue(_ id: LogID) throws(FileIOError) -> MarkValue? {
        let path = LogPaths.mark(in: paths.log(id))
        guard let status = try fileSystem.status(path), status.size > 0 else { return nil }
        let words = try fileSystem.mapWords(
            path,
            byteCount: DurableMark.byteCount,
            writable: false
        )
        return DurableMark(words, logID: id).load()
    }

    /// The first valid header of a log's segments.
    func firstHeader(
        _ id: LogID,
        _ segments: [SegmentSummary]
    ) throws(EventLogError) -> SegmentHeader? {
        for segment in segments {
            let block: [UInt8]
            do throws(FileIOError) {
                let file = try fileSystem.open(segment.path, .read)
                defer { file.close() }
                block = try file.read(at: 0, count: SegmentHeader.blockBytes)
            } catch {
                if error.isNotFound { continue }
                throw .io(error)
            }
            if case .valid(let header) = SegmentHeader.decode(block), header.logID == id {
                return header
            }
        }
        return nil
    }

    /// A fresh log id.
    func makeLogID() -> LogID {
        var generator = ClosureGenerator(body: random)
        return LogID(random: &generator)
    }
}

/// A generator whose numbers come from a closure.
private struct ClosureGenerator: RandomNumberGenerator {
    let body: @Sendable () -> UInt64

    func next() -> UInt64 { body() }
}
