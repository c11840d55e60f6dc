import EventLog
import Records

/// What of a file is new, decided by the digests of the first pass and the registry.
///
/// 1. When the content up to its last line end is inside an import that goes on after it, nothing
///    is new.
/// 2. Otherwise the new lines begin where the longest import ends that is a beginning of the
///    content.
/// 3. They end at the last line end, or, when the last line lacks an end but is complete and not
///    known, after it. If the file grows later, the rest of such a line is passed over: the line
///    has been counted.
struct ImportPlan {
    /// Where the new lines begin.
    let start: ContentPoint
    /// Where they end.
    let end: ContentPoint
    /// Bytes of a last line that is left for later.
    let unfinishedBytes: UInt64
    /// The logs that hold what is before `start`, or all.
    let knownLogs: [LogID]

    /// Whether there is anything to append.
    var hasNewLines: Bool { end.byteCount > start.byteCount }

    init(
        _ scan: ContentScan,
        tail: [UInt8],
        format: ImportFormat,
        registry: ImportRegistry,
        request: ImportRequest
    ) throws(ImportError) {
        let last = scan.lastLineEnd
        let hasTail = scan.end.byteCount > last.byteCount
        let beginnings = registry.entries.filter { scan.has($0.end) }
        let longest = beginnings.max { $0.end.byteCount < $1.end.byteCount }

        if let covering = try Self.covering(last, scan, registry, request) {
            start = last
            end = last
            unfinishedBytes = scan.end.byteCount - last.byteCount
            knownLogs = Self.chain(covering, registry)
            return
        }
        if let longest, longest.end.byteCount >= last.byteCount,
            longest.end.byteCount > last.byteCount || !hasTail
        {
            // All lines are known; what follows a known last line without end belongs to it.
            start = longest.end
            end = longest.end
            unfinishedBytes = 0
            knownLogs = Self.chain(longest, registry)
            return
        }
        start = longest?.end ?? ContentPoint()
        knownLogs = longest.map { Self.chain($0, registry) } ?? []
        var isTailNew = false
        if hasTail {
            isTailNew = try Self.isNew(tail, after: last, scan, format: format, registry)
        }
        end = isTailNew ? scan.end : last
        unfinishedBytes = scan.end.byteCount - end.byteCount
    }

    /// The import that holds the content up to `last` and goes on, if there is one.
    private static func covering(
        _ last: ContentPoint,
        _ scan: ContentScan,
        _ registry: ImportRegistry,
        _ request: ImportRequest
    ) throws(ImportError) -> ImportEntry? {
        guard last.lineCount > 0 else { return nil }
        var undecided: UInt64?
        for entry in registry.entries where entry.end.byteCount > last.byteCount {
            guard entry.parent.lineCount < last.lineCount,
                last.lineCount <= entry.end.lineCount
            else { continue }
            if let point = try registry.point(entry, ofLine: last.lineCount) {
                if point == last.digest.short { return entry }
                continue
            }
            // The entry keeps no digest of this line: is the content the same as far as can be
            // told?
            let line = last.lineCount / entry.lineStride * entry.lineStride
            if line > entry.parent.lineCount {
                if let point = try registry.point(entry, ofLine: line),
                    point == scan.digest(ofLine: line)
                {
                    undecided = max(undecided ?? 0, line)
                }
            } else if scan.has(entry.parent) {
                undecided = max(undecided ?? 0, entry.parent.lineCount)
            }
        }
        if let undecided, undecided > 0, !request.isForced {
            throw .undecidable(
                path: request.path,
                knownLines: undecided,
                lines: last.lineCount
            )
        }
        return nil
    }

    /// Whether a last line without end is complete, and not the beginning of one that is known.
    private static func isNew(
        _ tail: [UInt8],
        after last: ContentPoint,
        _ scan: ContentScan,
        format: ImportFormat,
        _ registry: ImportRegistry
    ) throws(ImportError) -> Bool {
        guard let line = try? AccessLogParser.parse(tail.span) else { return false }
        if format == .combined, !line.isWholeCombined { return false }
        let ended = scan.endedDigests
        for entry in registry.entries where entry.parent == last {
            // A known line comes next here. In the Common format one may be cut inside its last
            // number, and would be read all the same.
            if !line.isWholeCombined { return false }
            if let point = try registry.point(entry, ofLine: last.lineCount + 1),
                ended.contains(point)
            {
                return false
            }
        }
        return true
    }

    /// The log of an import, and those of the imports before it that it continues.
    private static func chain(_ entry: ImportEntry, _ registry: ImportRegistry) -> [LogID] {
        var logs = [entry.log]
        var first = entry
        while first.parent.byteCount > 0,
            let before = registry.entries.first(where: { $0.end == first.parent })
        {
            logs.append(before.log)
            first = before
        }
        return logs.reversed()
    }
}

extension ContentScan {
    /// Whether the content passes through a point of the registry.
    func has(_ point: ContentPoint) -> Bool {
        point.byteCount == 0 || points[point.byteCount] == point
    }
}
