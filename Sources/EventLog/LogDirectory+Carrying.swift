internal import FileIO
package import Records

/// What carrying a log into another data directory has done.
package struct CarriedLog: Equatable, Sendable {
    /// The log.
    package let log: LogID
    /// The segments that were copied.
    package var segmentsCopied = 0
    /// The segments that were there already, byte for byte, or were there and have been deleted.
    package var segmentsPresent = 0
    /// How many bytes were copied.
    package var bytesCopied: UInt64 = 0
    /// The first offset that is not in the target now.
    package var nextOffset = Offset.zero
    /// Whether the target has the log to its end.
    package var isEnded = false

    /// Nothing done yet.
    init(log: LogID) { self.log = log }
}

/// Carrying sealed segments from one data directory to another, by hand and in any number of steps.
///
/// A carried log keeps its id and offsets, so its records count once wherever and however often
/// they arrive. Its directory has a file `carried`: recovery does not end such a log, because its
/// writer lives elsewhere.
///
/// Crash story: a new directory is published by a rename with its mark at zero; each segment is
/// copied and synced under another name, renamed, the directory synced; then the mark moves. Killed
/// anywhere, the next attempt finds the segments that are there and goes on.
extension LogDirectory {
    /// Copies the segments that will not change any more, with what is needed to read them.
    ///
    /// - Parameters:
    ///   - id: A log of this directory.
    ///   - target: Where to; it may have a part of the log already, from an earlier time.
    ///   - acceptsGaps: Whether offsets that are neither here nor there become `expired` there.
    ///   - progress: Called with the number of bytes just copied or compared.
    /// - Returns: What was done; nothing is copied of a log whose first segment is being written.
    /// - Throws: `gap`, `differs`, `locked` or an error of the file system. What was copied before
    ///   stays and is readable.
    package func carry(
        _ id: LogID,
        to target: LogDirectory,
        acceptsGaps: Bool = false,
        progress: (UInt64) -> Void = { _ in }
    ) throws(EventLogError) -> CarriedLog {
        guard let source = try log(id) else { throw .unknownLog(id) }
        var result = CarriedLog(log: id)
        let segments = try unchanging(source)
        guard let last = segments.last, let first = segments.first else { return result }
        let isBuried = try io { () throws(FileIOError) in
            try target.fileSystem.exists(target.paths.buried(id))
        }
        if isBuried {
            // It was there to its end, and retention has deleted it.
            result.segmentsPresent = segments.count
            result.nextOffset = source.durableOffset
            result.isEnded = true
            return result
        }
        let lock = try target.makeCarried(id)
        defer { lock.close() }
        let mark = try DurableMark.map(
            LogPaths.mark(in: target.paths.log(id)),
            logID: id,
            fileSystem: target.fileSystem,
            writable: true
        )
        let known = mark.load() ?? MarkValue()
        let gap = known.durableOffset..<max(known.durableOffset, first.baseOffset)
        if !gap.isEmpty {
            try target.acceptGap(
                id,
                gap,
                deletedHere: try tombstones(of: id),
                acceptsGaps: acceptsGaps
            )
        }
        let deletedThere = try target.tombstones(of: id).map(\.offsets)
        for segment in segments {
            if deletedThere.contains(where: { $0.contains(segment.baseOffset) }) {
                result.segmentsPresent += 1
            } else if try copy(segment, of: id, to: target, progress) {
                result.segmentsCopied += 1
                result.bytesCopied += segment.byteCount
            } else {
                result.segmentsPresent += 1
            }
        }
        let isEnded = source.isEnded
        let end = isEnded ? source.durableOffset : source.segments[segments.count].baseOffset
        if end > known.durableOffset || (isEnded && !known.isEnded) {
            mark.store(
                MarkValue(
                    durableOffset: end,
                    segmentBase: last.baseOffset,
                    position: last.byteCount,
                    isEnded: isEnded
                )
            )
            target.bell.ringTopology()
        }
        result.nextOffset = max(end, known.durableOffset)
        result.isEnded = isEnded || known.isEnded
        return result
    }

    /// The segments to which nothing will be appended: all of an ended log, else those before the
    /// one in which the durable records end.
    private func unchanging(_ log: LogSummary) throws(EventLogError) -> [SegmentSummary] {
        if log.isEnded { return log.segments }
        let mark = try io { () throws(FileIOError) in try markValue(log.id) }
        guard let active = mark?.segmentBase else { return [] }
        return log.segments.filter { $0.baseOffset < active }
    }

    /// Makes sure that a carried log of this id is here, and takes its lock.
    private func makeCarried(_ id: LogID) throws(EventLogError) -> any File {
        let directory = paths.log(id)
        if try !io({ () throws(FileIOError) in try fileSystem.exists(directory) }) {
            let temporary = paths.unpublished(makeLogID())
            try io { () throws(FileIOError) in
                try fileSystem.createDirectory(temporary)
                try fileSystem.replaceFile(LogPaths.carried(in: temporary), with: [])
            }
            let mark = try DurableMark.map(
                LogPaths.mark(in: temporary),
                logID: id,
                fileSystem: fileSystem,
                writable: true
            )
            mark.initialize()
            mark.store(MarkValue())
            try io { () throws(FileIOError) in
                try fileSystem.syncDirectory(temporary)
                do throws(FileIOError) {
                    try fileSystem.rename(temporary, to: directory, replacing: false)
                } catch {
                    // Unless somebody else carries it at the same time.
                    guard error.isAlreadyThere else { throw error }
                    try fileSystem.removeTree(temporary)
                }
                try fileSystem.syncDirectory(paths.logs)
            }
        }
        let lock = try io { () throws(FileIOError) in
            try fileSystem.open(LogPaths.mark(in: directory), .openOrCreate)
        }
        let isOurs = try io { () throws(FileIOError) in try lock.tryLock() }
        var isNobodys = try isCarried(id)
        if !isNobodys { isNobodys = try log(id)?.isEnded ?? true }
        guard isOurs, isNobodys else {
            lock.close()
            throw .locked(id)
        }
        return lock
    }

    /// Whether a log was carried here, so that its writer is somewhere else.
    func isCarried(_ id: LogID) throws(EventLogError) -> Bool {
        try io { () throws(FileIOError) in
            try fileSystem.exists(LogPaths.carried(in: paths.log(id)))
        }
    }

    /// Notes that offsets are missing between what is here and what comes, or refuses.
    private func acceptGap(
        _ id: LogID,
        _ gap: Range<Offset>,
        deletedHere: [Tombstone],
        acceptsGaps: Bool
    ) throws(EventLogError) {
        var missing = gap
        for tombstone in deletedHere where tombstone.offsets.contains(missing.lowerBound) {
            missing = min(tombstone.offsets.upperBound, gap.upperBound)..<gap.upperBound
        }
        guard acceptsGaps else { throw .gap(id, gap, isDeleted: missing.isEmpty) }
        let tombstone = Tombstone(
            log: id,
            offsets: gap,
            eventTimeMin: deletedHere.compactMap(\.eventTimeMin).min(),
            eventTimeMax: deletedHere.compactMap(\.eventTimeMax).max(),
            deletedAt: time.wallMicroseconds()
        )
        try io { () throws(FileIOError) in
            try TombstoneFile.append(
                [tombstone],
                to: LogPaths.tombstones(in: paths.log(id)),
                fileSystem: fileSystem
            )
        }
    }

    /// Copies one segment unless the same is there; false then.
    private func copy(
        _ segment: SegmentSummary,
        of id: LogID,
        to target: LogDirectory,
        _ progress: (UInt64) -> Void
    ) throws(EventLogError) -> Bool {
        let directory = target.paths.log(id)
        let path = LogPaths.segment(segment.baseOffset, in: directory)
        let source = try io { () throws(FileIOError) in
            try fileSystem.open(segment.path, .read)
        }
        defer { source.close() }
        let isThere = try io { () throws(FileIOError) in try target.fileSystem.exists(path) }
        guard !isThere else {
            let isSame = try io { () throws(FileIOError) in
                let present = try target.fileSystem.open(path, .read)
                defer { present.close() }
                return try Self.areSame(source, present, segment.byteCount, progress)
            }
            guard isSame else { throw .differs(path: path, from: segment.path) }
            return false
        }
        try io { () throws(FileIOError) in
            let temporary = path + ".tmp"
            let copy = try target.fileSystem.open(temporary, .openOrCreate)
            defer { copy.close() }
            try copy.truncate(to: 0)
            var position: UInt64 = 0
            while position < segment.byteCount {
                let wanted = min(Self.pieceBytes, Int(clamping: segment.byteCount - position))
                let bytes = try source.read(at: position, count: wanted)
                guard !bytes.isEmpty else { break }
                try copy.write(bytes, at: position)
                position += UInt64(bytes.count)
                progress(UInt64(bytes.count))
            }
            try copy.sync()
            try target.fileSystem.rename(temporary, to: path, replacing: false)
            try target.fileSystem.syncDirectory(directory)
        }
        return true
    }

    /// How much is copied at once; chosen: a megabyte, beyond which nothing is gained.
    private static let pieceBytes = 1 << 20

    private static func areSame(
        _ first: any File,
        _ second: any File,
        _ byteCount: UInt64,
        _ progress: (UInt64) -> Void
    ) throws(FileIOError) -> Bool {
        guard try second.size() == byteCount else { return false }
        var position: UInt64 = 0
        while position < byteCount {
            let wanted = min(pieceBytes, Int(clamping: byteCount - position))
            let bytes = try first.read(at: position, count: wanted)
            let others = try second.read(at: position, count: wanted)
            guard !bytes.isEmpty, bytes == others else { return false }
            position += UInt64(bytes.count)
            progress(UInt64(bytes.count))
        }
        return true
    }
}
