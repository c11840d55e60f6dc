internal import FileIO
internal import Records

/// Deletion of what every configured consumer has passed.
extension LogDirectory {
    /// A sealed segment that may be deleted.
    private struct Candidate {
        let log: LogSummary
        let index: Int
        /// When it was last written, µs since the epoch.
        let modified: Int64

        var segment: SegmentSummary { log.segments[index] }
        /// The offset after its last record.
        var end: Offset {
            index + 1 < log.segments.count ? log.segments[index + 1].baseOffset : log.durableOffset
        }
    }

    /// Deletes sealed segments that all the consumers have passed and the policy does not keep.
    ///
    /// - Parameters:
    ///   - consumers: Whose checkpoints hold back deletion; with none, only the policy decides.
    ///   - policy: What is kept of the rest.
    /// - Returns: What is gone; also written to the log's tombstones before the deletion.
    @discardableResult
    package func deleteSegments(
        consumedBy consumers: [String],
        retain policy: RetentionPolicy
    ) throws(EventLogError) -> [Tombstone] {
        let logs = try logs()
        var total = logs.reduce(UInt64(0)) { $0 + $1.byteCount }
        let now = time.wallMicroseconds()
        let ageMax = policy.age.map { $0.nanoseconds / 1_000 }
        var result: [Tombstone] = []
        for candidate in try candidates(logs, consumers) {
            let isOld = ageMax.map { now - candidate.modified > $0 } ?? false
            let isTooMuch = policy.bytes.map { total > $0 } ?? false
            guard policy.deletesConsumed || isOld || isTooMuch else { continue }
            result.append(try delete(candidate))
            total -= min(total, candidate.segment.byteCount)
        }
        // Also those whose burial a crash has cut short.
        let empty = logs.filter { $0.isEnded && $0.segments.isEmpty }.map(\.id)
        try bury(Set(result.map(\.log)).union(empty))
        return result
    }

    /// All that was ever deleted.
    package func tombstones() throws(EventLogError) -> [Tombstone] {
        var result: [Tombstone] = []
        var ids = Set(try logIDs())
        do throws(FileIOError) {
            if try fileSystem.exists(paths.buried) {
                ids.formUnion(try fileSystem.list(paths.buried).compactMap { LogID($0) })
            }
        } catch {
            throw .io(error)
        }
        for id in ids.sorted() {
            result += try tombstones(of: id)
        }
        return result
    }

    /// What was deleted of one log, in the order of offsets.
    func tombstones(of id: LogID) throws(EventLogError) -> [Tombstone] {
        try io { () throws(FileIOError) in
            let present = LogPaths.tombstones(in: paths.log(id))
            let found =
                try TombstoneFile.read(present, fileSystem: fileSystem)
                + TombstoneFile.read(paths.buried(id), fileSystem: fileSystem)
            return found.sorted { $0.offsets.lowerBound < $1.offsets.lowerBound }
        }
    }

    /// Deletes the oldest segment that all consumers have passed, to make room.
    ///
    /// - Returns: False when there is none, or it could not be deleted.
    func deleteOldestShipped(consumers: [String]) -> Bool {
        do throws(EventLogError) {
            guard let oldest = try candidates(try logs(), consumers).first else { return false }
            try bury([try delete(oldest).log])
            return true
        } catch {
            return false
        }
    }

    /// Sealed segments that all consumers have passed, the oldest first; within a log a later one
    /// never comes before an earlier one.
    private func candidates(
        _ logs: [LogSummary],
        _ consumers: [String]
    ) throws(EventLogError) -> [Candidate] {
        var result: [Candidate] = []
        for log in logs {
            let passed =
                consumers.map { consumer in
                    checkpoint(of: consumer, in: log.id)
                }.min() ?? log.durableOffset
            var newest = Int64.min
            for index in log.segments.indices {
                let isLast = index + 1 == log.segments.count
                if isLast && !log.isEnded { break }
                let path = log.segments[index].path
                let status = try io { () throws(FileIOError) in try fileSystem.status(path) }
                newest = max(newest, status?.modified ?? newest)
                let candidate = Candidate(log: log, index: index, modified: newest)
                if candidate.end > min(passed, log.durableOffset) { break }
                result.append(candidate)
            }
        }
        return result.sorted {
            ($0.modified, $0.log.id, $0.index) < ($1.modified, $1.log.id, $1.index)
        }
    }

    /// Deletes one segment: first the tombstone, durably, then the file.
    private func delete(_ candidate: Candidate) throws(EventLogError) -> Tombstone {
        let times = try eventTimes(candidate)
        let tombstone = Tombstone(
            log: candidate.log.id,
            offsets: candidate.segment.baseOffset..<candidate.end,
            eventTimeMin: times?.lowerBound,
            eventTimeMax: times?.upperBound,
            deletedAt: time.wallMicroseconds()
        )
        let directory = paths.log(candidate.log.id)
        try io { () throws(FileIOError) in
            try TombstoneFile.append(
                [tombstone],
                to: LogPaths.tombstones(in: directory),
                fileSystem: fileSystem
            )
            try fileSystem.removeFile(candidate.segment.path)
            try fileSystem.syncDirectory(directory)
        }
        return tombstone
    }

    /// The event times of a segment's records; nil when there are none.
    private func eventTimes(_ candidate: Candidate) throws(EventLogError) -> ClosedRange<Int64>? {
        let path = candidate.segment.path
        let file = try io { () throws(FileIOError) in try fileSystem.open(path, .read) }
        defer { file.close() }
        var cursor = try SegmentCursor(
            file,
            logID: candidate.log.id,
            base: candidate.segment.baseOffset
        )
        let size = try cursor.size()
        var earliest = Int64.max
        var latest = Int64.min
        while let found = try cursor.next(limit: size) {
            guard found.header.kind == .records else { continue }
            earliest = min(earliest, found.header.eventTimeMin)
            latest = max(latest, found.header.eventTimeMax)
        }
        return earliest <= latest ? earliest...latest : nil
    }

    /// Removes the directories of logs of which nothing is left; their tombstones are kept.
    ///
    /// Crash story: the tombstones are copied and synced before anything is removed, and the mark
    /// goes last, so that what is left is still known as an ended log.
    private func bury(_ logs: Set<LogID>) throws(EventLogError) {
        for id in logs.sorted() {
            guard let log = try log(id), log.isEnded, log.segments.isEmpty else { continue }
            let tombstones = try tombstones(of: id)
            let directory = paths.log(id)
            try io { () throws(FileIOError) in
                try fileSystem.createDirectory(paths.buried)
                try fileSystem.syncDirectory(paths.logs)
                try TombstoneFile.append(
                    tombstones,
                    to: paths.buried(id),
                    fileSystem: fileSystem
                )
                for name in try fileSystem.list(directory) where name != "mark" {
                    try fileSystem.removeFile(directory + "/" + name)
                }
                try fileSystem.removeTree(directory)
                try fileSystem.syncDirectory(paths.logs)
            }
        }
        if !logs.isEmpty {
            bell.ringTopology()
        }
    }
}
