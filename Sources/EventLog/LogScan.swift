internal import FileIO
internal import Records

/// All that the bytes of a log's directory say, read front to back; nothing is changed.
struct LogScan {
    /// A segment file.
    struct Segment {
        let base: Offset
        let path: String
        let byteCount: UInt64
        let header: SegmentHeader?
        /// How many valid frames count.
        var frameCount = 0
        /// The offset after the last record of the valid frames; the base if there are none.
        var end: Offset
        /// Where the last valid frame ends.
        var validPosition: UInt64 = 0
    }

    /// Segments in ascending order.
    private(set) var segments: [Segment] = []
    /// The first offset that may be there: lower ones were deleted by retention.
    private(set) var startOffset = Offset.zero
    /// Whether retention has deleted every segment, of which the last had the log's end.
    private(set) var isDeleted = false
    /// Offsets between valid frames that are in none.
    private(set) var gaps: [Range<Offset>] = []
    /// The end of the valid frames, or of what a valid header proves to have been assigned.
    private(set) var validEnd = Offset.zero
    /// How many records the valid frames hold.
    private(set) var recordCount: UInt64 = 0
    /// The highest durable mark in valid headers.
    private(set) var highestMark = Offset.zero
    /// The end frame's offset.
    private(set) var endOffset: Offset?
    /// Where the end frame ends: base of its segment and file position.
    private(set) var endPosition: (segment: Offset, position: UInt64)?
    /// Bytes after the last valid frame of the log.
    private(set) var tailBytes: UInt64 = 0

    /// Scans a log's directory.
    init(
        logID: LogID,
        directory: String,
        fileSystem: any FileSystem
    ) throws(EventLogError) {
        let bases = try io { () throws(FileIOError) in
            try LogPaths.segments(in: directory, fileSystem: fileSystem)
        }
        let deleted = try io { () throws(FileIOError) in
            try TombstoneFile.read(
                LogPaths.tombstones(in: directory),
                fileSystem: fileSystem
            )
        }
        startOffset = Self.deletedEnd(deleted, first: bases.first)
        isDeleted = bases.isEmpty && !deleted.isEmpty
        validEnd = startOffset
        for (index, base) in bases.enumerated() {
            let successor = index + 1 < bases.count ? bases[index + 1] : nil
            let path = LogPaths.segment(base, in: directory)
            let file = try io { () throws(FileIOError) in try fileSystem.open(path, .read) }
            defer { file.close() }
            try scan(file, logID: logID, base: base, successor: successor)
        }
    }

    /// Where deletion by retention has come to: the end of the tombstones that reach up from zero.
    private static func deletedEnd(_ tombstones: [Tombstone], first: Offset?) -> Offset {
        var end = Offset.zero
        for tombstone in tombstones.sorted(by: { $0.offsets.lowerBound < $1.offsets.lowerBound })
        where tombstone.offsets.lowerBound <= end {
            end = max(end, tombstone.offsets.upperBound)
        }
        // A segment that was to be deleted and is still there counts as there.
        return min(end, first ?? end)
    }

    /// Scans one segment.
    private mutating func scan(
        _ file: any File,
        logID: LogID,
        base: Offset,
        successor: Offset?
    ) throws(EventLogError) {
        var cursor = try SegmentCursor(file, logID: logID, base: base)
        let byteCount = try cursor.size()
        var segment = Segment(
            base: base,
            path: file.path,
            byteCount: byteCount,
            header: cursor.header,
            end: base
        )
        if let header = cursor.header {
            highestMark = max(highestMark, header.durableOffset)
            // A valid header proves that all offsets below its base were assigned.
            extend(to: base)
        }
        var tail = byteCount
        while let found = try cursor.next(limit: byteCount) {
            let header = found.header
            if let successor, header.nextOffset > successor { continue }
            if header.kind == .records && header.baseOffset < validEnd { continue }
            highestMark = max(highestMark, header.durableOffset)
            extend(to: header.baseOffset)
            if header.kind == .end {
                endOffset = header.baseOffset
                endPosition = (base, found.position + UInt64(header.byteCount))
            } else {
                endOffset = nil
                validEnd = header.nextOffset
                segment.end = header.nextOffset
                recordCount += UInt64(header.count)
            }
            segment.frameCount += 1
            segment.validPosition = found.position + UInt64(header.byteCount)
            tail = byteCount - segment.validPosition
        }
        tailBytes = segment.frameCount > 0 ? tail : tailBytes + tail
        segments.append(segment)
    }

    /// Notes that offsets up to this one were assigned.
    private mutating func extend(to offset: Offset) {
        guard offset > validEnd else { return }
        Self.add(validEnd..<offset, to: &gaps)
        validEnd = offset
    }

    /// Appends a gap, which may go on from the last one in another segment.
    private static func add(_ next: Range<Offset>, to gaps: inout [Range<Offset>]) {
        if let last = gaps.last, last.upperBound == next.lowerBound {
            gaps[gaps.count - 1] = last.lowerBound..<next.upperBound
        } else {
            gaps.append(next)
        }
    }

    /// Whether the files hold as many bytes as a mark tells of, if it tells of lost records at all:
    /// then what is invalid there is damaged, and not absent.
    func reaches(_ mark: MarkValue?) -> Bool {
        guard let mark, let last = segments.last, mark.durableOffset > validEnd else {
            return false
        }
        return last.base == mark.segmentBase && last.byteCount >= mark.position
    }

    /// The losses, given that everything below `durable` had been synced or seen by a consumer.
    func losses(durable: Offset, end: Offset) -> [RecoveryReport.Loss] {
        var all = gaps
        if end > validEnd { Self.add(validEnd..<end, to: &all) }
        var result: [RecoveryReport.Loss] = []
        for gap in all {
            let middle = min(max(durable, gap.lowerBound), gap.upperBound)
            if gap.lowerBound < middle {
                result.append(.init(kind: .damaged, offsets: gap.lowerBound..<middle))
            }
            if middle < gap.upperBound {
                result.append(.init(kind: .lostBeforeSync, offsets: middle..<gap.upperBound))
            }
        }
        return result
    }
}
