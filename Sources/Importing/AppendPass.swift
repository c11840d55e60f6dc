import Crypto
import EventLog
import FileIO
import Records

/// The second pass over a file: its new lines become records.
struct AppendPass {
    /// Lines that became records of requests.
    private(set) var lines: UInt64 = 0
    /// Lines that could not be read.
    private(set) var badLines: UInt64 = 0

    private let request: ImportRequest
    private let plan: ImportPlan
    private let format: ImportFormat
    private let time: any TimeSource
    private var encoder: LineEncoder
    private var splitter = LineSplitter()
    private var hash = SHA256()
    private var byteCount: UInt64 = 0
    /// Whether the new part begins with the rest of a line that has been counted.
    private var isInsideKnownLine: Bool
    /// The time of the last line that was read, for those that have none.
    private var lastTime: Int64?

    init(
        request: ImportRequest,
        format: ImportFormat,
        plan: ImportPlan,
        time: any TimeSource
    ) {
        self.request = request
        self.format = format
        self.plan = plan
        self.time = time
        encoder = LineEncoder(org: request.org, api: request.api, format: format)
        isInsideKnownLine = !plan.start.isLineEnd
    }

    /// How far the pass is.
    var progress: ImportProgress {
        ImportProgress(
            phase: .appending,
            bytes: byteCount,
            bytesTotal: plan.end.byteCount,
            lines: lines,
            badLines: badLines
        )
    }

    /// Appends the record that begins every log; it says where the lines come from.
    mutating func begin(_ writer: SealedLogWriter) throws(ImportError) {
        let now = time.wallMicroseconds()
        try logOperation { () throws(EventLogError) in
            try writer.append(eventTime: now) { record in
                record.put(.kind, UInt64(RecordKind.logStart.rawValue))
                record.put(.completedAt, signed: now)
                record.put(.org, request.org)
                record.put(.api, request.api)
                if !request.configuration.node.isEmpty {
                    record.put(.node, request.configuration.node)
                }
                if !request.configuration.region.isEmpty {
                    record.put(.region, request.configuration.region)
                }
                if let before = plan.knownLogs.last { record.put(.predecessorLogID, before) }
                record.putTag(key: "import_format", value: format.rawValue)
                record.putTag(key: "import_sha256", value: plan.end.digest.hexadecimal)
                record.putTag(key: "import_from", value: "\(plan.start.byteCount)")
                record.putTag(key: "import_to", value: "\(plan.end.byteCount)")
            }
        }
    }

    /// Takes the next piece of the content; what is after the end of the plan is ignored.
    mutating func feed(_ piece: [UInt8], _ writer: SealedLogWriter) throws(ImportError) {
        let left = plan.end.byteCount - byteCount
        let count = left < UInt64(piece.count) ? Int(left) : piece.count
        guard count > 0 else { return }
        let first = byteCount
        byteCount += UInt64(count)
        // The content before the plan must still be the same, too: it decides what is new.
        let known = plan.start.byteCount
        var start = 0
        if first < known {
            start = min(count, Int(clamping: known - first))
            hash.update(data: piece[..<start])
            if byteCount >= known {
                guard ContentDigest(hash) == plan.start.digest else {
                    throw .fileChanged(path: request.path)
                }
            }
        }
        guard start < count else { return }
        hash.update(data: piece[start..<count])
        try appendLines(piece.span.extracting(start..<count), writer)
    }

    /// Appends a last line without end, and checks that the content is the one that was hashed.
    mutating func finish(_ writer: SealedLogWriter) throws(ImportError) {
        var last = splitter
        try last.finish { line, length throws(ImportError) in
            try append(line, length, writer)
        }
        guard byteCount == plan.end.byteCount, ContentDigest(hash) == plan.end.digest else {
            throw .fileChanged(path: request.path)
        }
    }

    private mutating func appendLines(
        _ bytes: Span<UInt8>,
        _ writer: SealedLogWriter
    ) throws(ImportError) {
        var bytes = bytes
        if isInsideKnownLine {
            var index = 0
            while index < bytes.count, bytes[index] != 0x0A { index += 1 }
            if index == bytes.count { return }
            isInsideKnownLine = false
            bytes = bytes.extracting(index + 1..<bytes.count)
        }
        // The splitter is taken out for the time, as its closure changes the rest of this value.
        var splitter = splitter
        self.splitter = LineSplitter()
        try splitter.feed(bytes) { line, length throws(ImportError) in
            try append(line, length, writer)
        }
        self.splitter = splitter
    }

    /// Appends one line; empty ones are no lines.
    private mutating func append(
        _ line: Span<UInt8>,
        _ length: Int,
        _ writer: SealedLogWriter
    ) throws(ImportError) {
        guard length > 0 else { return }
        let parsed: AccessLogLine
        do throws(LineProblem) {
            guard length == line.count else { throw .tooLong }
            parsed = try AccessLogParser.parse(line)
        } catch {
            badLines += 1
            let eventTime = lastTime ?? time.wallMicroseconds()
            try logOperation { () throws(EventLogError) in
                try writer.append(eventTime: eventTime) { record in
                    LineEncoder.encodeUnparsed(
                        line,
                        length: length,
                        error,
                        org: request.org,
                        api: request.api,
                        into: &record
                    )
                }
            }
            return
        }
        lines += 1
        lastTime = parsed.time
        try logOperation { () throws(EventLogError) in
            try writer.append(eventTime: parsed.time) { record in
                encoder.encode(parsed, line, into: &record)
            }
        }
    }

    private func logOperation<T>(
        _ body: () throws(EventLogError) -> T
    ) throws(ImportError) {
        do throws(EventLogError) {
            _ = try body()
        } catch { throw .log(error) }
    }
}
