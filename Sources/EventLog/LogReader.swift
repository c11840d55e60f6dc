internal import FileIO
package import Records

/// Reads one log front to back, up to the durable mark. Any number of readers, in any process;
/// each is owned by one thread.
package struct LogReader {
    /// The log.
    package let logID: LogID
    /// The first offset that has not been returned.
    package private(set) var nextOffset: Offset
    /// Whether the end has been returned.
    package private(set) var isFinished = false
    /// Whether the offsets of the last skip are gone without a trace: no segment holds them, they
    /// were durable, and neither damage nor a tombstone explains it. Who accounts for offsets must
    /// not call them skipped: they are a gap, until somebody brings the segment back.
    package private(set) var isMissing = false

    private let directory: String
    private let fileSystem: any FileSystem
    private let mark: DurableMark
    /// The offsets that retention has deleted, read when they are first needed.
    private let tombstones: @Sendable () throws(EventLogError) -> [Tombstone]
    private var segment: Position?

    /// The segment being read.
    private struct Position {
        let base: Offset
        var cursor: SegmentCursor
        /// The base offset of the next segment, once it is known: this one ends there.
        var successor: Offset?
        /// The file's length, once the durable mark is beyond this segment.
        var sealedLimit: UInt64?
        /// A frame that was found behind missing offsets.
        var held: SegmentCursor.Found?
    }

    init(
        logID: LogID,
        from: Offset,
        directory: String,
        fileSystem: any FileSystem,
        mark: DurableMark,
        tombstones: @escaping @Sendable () throws(EventLogError) -> [Tombstone]
    ) {
        self.logID = logID
        nextOffset = from
        self.directory = directory
        self.fileSystem = fileSystem
        self.mark = mark
        self.tombstones = tombstones
    }

    /// The first offset that is not durable yet: where `next` stops for now.
    package var durableOffset: Offset {
        mark.load()?.durableOffset ?? .zero
    }

    /// The next batch, skip or end.
    ///
    /// - Returns: Nil at the durable mark: wait for the bell and call again. After `end`, nil.
    package mutating func next() throws(EventLogError) -> LogItem? {
        guard !isFinished, let mark = mark.load() else { return nil }
        while nextOffset < mark.durableOffset || mark.isEnded {
            guard var current = segment else {
                if let gap = try locate(mark) { return gap }
                if segment == nil { return mark.isEnded ? finish(mark) : nil }
                continue
            }
            if current.base != mark.segmentBase && current.sealedLimit == nil {
                try seal(&current)
            }
            let item = try nextFrame(&current, mark)
            segment = current
            if let item { return item }
            // Nothing more in this segment.
            let end = min(current.successor ?? mark.durableOffset, mark.durableOffset)
            if nextOffset < end {
                var isDamage = current.base == mark.segmentBase || current.cursor.damagedBytes > 0
                if isDamage { isDamage = try !isCut(current, mark) }
                var isMissing = false
                if !isDamage, try !isDeleted(nextOffset) {
                    isMissing = try wasDurable(nextOffset, before: current.successor, mark)
                }
                return skip(to: end, .damaged, isMissing: isMissing)
            }
            guard let successor = current.successor, successor <= mark.segmentBase else {
                return mark.isEnded ? finish(mark) : nil
            }
            // A segment is opened only when some of it is durable: until then it may be replaced.
            guard nextOffset < mark.durableOffset || mark.isEnded else { return nil }
            current.cursor.close()
            segment = try open(successor)
        }
        return nil
    }

    /// The next item of a segment's frames; nil when there are no more that may be read.
    private mutating func nextFrame(
        _ current: inout Position,
        _ mark: MarkValue
    ) throws(EventLogError) -> LogItem? {
        let limit = current.sealedLimit ?? mark.position
        while true {
            let held = current.held.take()
            guard let found = try held == nil ? current.cursor.next(limit: limit) : held else {
                return nil
            }
            let header = found.header
            if header.nextOffset > current.successor ?? mark.durableOffset
                || header.nextOffset > mark.durableOffset
            {
                // Rewritten in the successor.
                continue
            }
            if header.baseOffset > nextOffset {
                current.held = found
                return skip(to: header.baseOffset, .damaged)
            }
            if header.kind == .end {
                isFinished = true
                return .end(header.baseOffset)
            }
            if header.nextOffset > nextOffset {
                return .records(batch(found))
            }
        }
    }

    /// The wanted part of a frame.
    private mutating func batch(_ found: SegmentCursor.Found) -> LogBatch {
        let header = found.header
        let unwanted = Int(nextOffset.rawValue - header.baseOffset.rawValue)
        var start = found.start + FrameHeader.headerBytes
        let bytes = found.chunk.span.raw
        for _ in 0..<unwanted {
            start += 4 + Int(bytes.littleEndian(UInt32.self, at: start))
        }
        let result = LogBatch(
            logID: logID,
            baseOffset: nextOffset,
            count: header.count - unwanted,
            appendTime: header.appendTime,
            eventTimeMin: header.eventTimeMin,
            eventTimeMax: header.eventTimeMax,
            chunk: found.chunk,
            start: start,
            stop: found.start + header.byteCount
        )
        nextOffset = header.nextOffset
        return result
    }

    /// Whether the files end before the mark does: a copy that was made while the log was written,
    /// and whose mark is younger than its segments. What is absent is not damaged; the log that was
    /// copied may have it.
    private func isCut(_ current: Position, _ mark: MarkValue) throws(EventLogError) -> Bool {
        if current.base == mark.segmentBase { return try current.cursor.size() < mark.position }
        return current.successor == nil
    }

    /// Steps over offsets that are not there.
    private mutating func skip(
        to end: Offset,
        _ reason: SkipReason,
        isMissing: Bool = false
    ) -> LogItem {
        let start = nextOffset
        self.isMissing = isMissing
        nextOffset = end
        return .skip(start..<end, reason)
    }

    /// The end that the mark tells of, when no end frame can be read.
    private mutating func finish(_ mark: MarkValue) -> LogItem {
        if nextOffset < mark.durableOffset {
            return skip(to: mark.durableOffset, .damaged)
        }
        isFinished = true
        return .end(mark.durableOffset)
    }

    // MARK: Segments

    /// Opens the segment that holds the next offset.
    ///
    /// - Returns: A skip when the offset lies before the first segment.
    private mutating func locate(_ mark: MarkValue) throws(EventLogError) -> LogItem? {
        var bases = try listSegments()
        while let base = bases.last(where: { $0 <= nextOffset && $0 <= mark.segmentBase }) {
            segment = try open(base)
            if segment != nil { return nil }
            // Deleted since it was listed.
            bases = try listSegments()
        }
        let end = min(bases.first ?? mark.durableOffset, mark.durableOffset)
        guard nextOffset < end else { return nil }
        let deleted = try tombstones().map(\.offsets)
        var expired = nextOffset
        for range in deleted where range.contains(expired) {
            expired = range.upperBound
        }
        if expired > nextOffset { return skip(to: min(expired, end), .expired) }
        let next = deleted.map(\.lowerBound).filter { $0 > nextOffset }.min() ?? end
        return skip(to: min(next, end), .damaged, isMissing: true)
    }

    /// Whether a tombstone has an offset.
    private func isDeleted(_ offset: Offset) throws(EventLogError) -> Bool {
        try tombstones().contains { $0.offsets.contains(offset) }
    }

    /// Whether the segments that follow prove that an offset was durable once, or cannot tell.
    ///
    /// A power cut may leave a segment without its unsynced end, and the next one: then what lies
    /// between was lost before it was synced. The end frame of recovery says nothing of what was
    /// synced; that of a writer comes after everything has been.
    private func wasDurable(
        _ offset: Offset,
        before successor: Offset?,
        _ mark: MarkValue
    ) throws(EventLogError) -> Bool {
        // Until the log has an end, its mark is what its writer synced.
        guard let successor, mark.isEnded else { return true }
        for base in try listSegments() where base >= successor {
            guard var next = try open(base), let header = next.cursor.header else { return true }
            defer { next.cursor.close() }
            if header.durableOffset > offset { return true }
            let limit = try next.cursor.size()
            var hasRecords = false
            while let found = try next.cursor.next(limit: limit) {
                if found.header.kind == .end { return hasRecords }
                hasRecords = true
                if found.header.durableOffset > offset { return true }
            }
        }
        return false
    }

    /// Finds out where the current segment ends, once the durable mark is beyond it.
    private func seal(_ current: inout Position) throws(EventLogError) {
        let base = current.base
        current.successor = try listSegments().first { $0 > base }
        current.sealedLimit = try current.cursor.size()
    }

    /// Opens a segment; nil when it has been deleted meanwhile.
    private func open(_ base: Offset) throws(EventLogError) -> Position? {
        let path = LogPaths.segment(base, in: directory)
        let file: any File
        do throws(FileIOError) {
            file = try fileSystem.open(path, .read)
        } catch {
            if error.isNotFound { return nil }
            throw .io(error)
        }
        return Position(base: base, cursor: try SegmentCursor(file, logID: logID, base: base))
    }

    /// The base offsets of the segments there are now.
    private func listSegments() throws(EventLogError) -> [Offset] {
        do throws(FileIOError) {
            return try LogPaths.segments(in: directory, fileSystem: fileSystem)
        } catch {
            if error.isNotFound { return [] }
            throw .io(error)
        }
    }
}
