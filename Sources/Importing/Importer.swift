package import EventLog
import FileIO
import Records

/// Appends foreign access logs, each part of a file as a log of its own that counts once.
///
/// Two passes over the file with bounded memory: the first hashes and decides what is new, the
/// second appends that to a log whose id follows from the content (`LogIdentity`). A file that has
/// grown adds only its new lines; the beginning of a file that was imported adds nothing; a file
/// that differs from what was imported is another file. Blocking: call it on a thread of your own.
package struct Importer {
    private let directory: LogDirectory

    /// Bytes read at a time; chosen: 256 KiB.
    private static let readBytes = 256 << 10
    /// Bytes looked at to recognise a format.
    private static let detectionBytes = 256 << 10

    /// The digests of line ends kept per import; smaller in tests.
    private let pointsMax: Int

    /// An importer into a data directory.
    package init(directory: LogDirectory, pointsMax: Int? = nil) {
        self.directory = directory
        self.pointsMax = pointsMax ?? ContentScan.pointsMax
    }

    /// Imports one file.
    ///
    /// When this returns, the new lines are in a published, durable log. When it throws, or the
    /// process is killed, either nothing of the file was published, or all, and the same import
    /// again settles which.
    package func run(
        _ request: ImportRequest,
        progress: (ImportProgress) -> Void = { _ in }
    ) throws(ImportError) -> ImportOutcome {
        let status = try ioOperation { () throws(FileIOError) in
            try directory.fileSystem.status(request.path)
        }
        if status?.isDirectory == true { throw .isDirectory(path: request.path) }
        let format: ImportFormat
        if let given = request.format { format = given } else { format = try detect(request.path) }
        let registry = try ImportRegistry(directory, org: request.org, api: request.api)
        defer { registry.close() }
        let (scan, tail) = try hash(request, registry, progress)
        let plan = try ImportPlan(
            scan,
            tail: tail,
            format: format,
            registry: registry,
            request: request
        )
        var outcome = ImportOutcome(
            log: nil,
            logs: plan.knownLogs,
            format: format,
            lines: 0,
            badLines: 0,
            bytes: scan.end.byteCount,
            knownBytes: plan.start.byteCount,
            unfinishedBytes: plan.unfinishedBytes
        )
        guard plan.hasNewLines else { return outcome }

        let log = LogIdentity.log(
            org: request.org,
            api: request.api,
            format: format,
            parent: plan.start.digest,
            end: plan.end.digest
        )
        let entry = ImportEntry(
            log: log,
            format: format.rawValue,
            parent: plan.start,
            end: plan.end
        )
        try registry.prepare(entry, scan)
        let counts: (lines: UInt64, badLines: UInt64)
        do throws(ImportError) {
            counts = try append(log, request, format, plan, progress)
        } catch {
            // A log that cannot be synced may be published nevertheless; the pending entry then
            // stays, and the next import settles it.
            if let isPublished = try? directory.isTaken(log), !isPublished { registry.abandon(log) }
            throw error
        }
        try registry.complete(log)
        outcome.log = log
        outcome.logs.append(log)
        (outcome.lines, outcome.badLines) = counts
        return outcome
    }

    // MARK: The first pass

    private func detect(_ path: String) throws(ImportError) -> ImportFormat {
        var bytes: [UInt8] = []
        try ioOperation { () throws(FileIOError) in
            let file = try directory.fileSystem.open(path, .read)
            defer { file.close() }
            let reader = try GzipReader(file)
            while bytes.count < Self.detectionBytes,
                try reader.read(Self.detectionBytes - bytes.count, appendingTo: &bytes) > 0
            {}
        }
        // A file without a whole line, such as an empty one, has every format.
        if bytes.count < Self.detectionBytes, !bytes.contains(0x0A) { return .combined }
        guard let format = ImportFormat.detect(bytes.span) else {
            throw .unrecognisedFormat(path: path)
        }
        return format
    }

    /// Hashes the content; also returns its last line, if that has no end.
    private func hash(
        _ request: ImportRequest,
        _ registry: ImportRegistry,
        _ progress: (ImportProgress) -> Void
    ) throws(ImportError) -> (ContentScan, tail: [UInt8]) {
        var scan = ContentScan(
            byteCounts: registry.entries.map(\.end.byteCount)
                + registry.entries.map(\.parent.byteCount),
            pointsMax: pointsMax
        )
        var splitter = LineSplitter()
        var now = ImportProgress(phase: .hashing, bytes: 0, lines: 0, badLines: 0)
        try forEachPiece(request.path) { piece throws(ImportError) in
            scan.feed(piece)
            splitter.keepTail(piece.span)
            now.bytes += UInt64(piece.count)
            progress(now)
        }
        scan.finish()
        var tail: [UInt8] = []
        try splitter.finish { line, _ in tail = line.copied() }
        return (scan, tail)
    }

    // MARK: The second pass

    /// Writes the log; the numbers of records and of lines that could not be read.
    private func append(
        _ log: LogID,
        _ request: ImportRequest,
        _ format: ImportFormat,
        _ plan: ImportPlan,
        _ progress: (ImportProgress) -> Void
    ) throws(ImportError) -> (lines: UInt64, badLines: UInt64) {
        var pass = AppendPass(
            request: request,
            format: format,
            plan: plan,
            time: directory.time
        )
        var refusal: ImportError?
        do throws(EventLogError) {
            _ = try directory.writeSealedLog(id: log, request.configuration) {
                writer throws(EventLogError) in
                do throws(ImportError) {
                    try pass.begin(writer)
                    try forEachPiece(request.path) { piece throws(ImportError) in
                        try pass.feed(piece, writer)
                        progress(pass.progress)
                    }
                    try pass.finish(writer)
                } catch {
                    // Nothing may be published: the error that stops the log is passed by the side.
                    if case .log(let error) = error { throw error }
                    refusal = error
                    throw .closed
                }
            }
        } catch {
            throw refusal ?? .log(error)
        }
        return (pass.lines, pass.badLines)
    }

    /// Calls `body` with the decompressed content, piece by piece.
    private func forEachPiece(
        _ path: String,
        _ body: ([UInt8]) throws(ImportError) -> Void
    ) throws(ImportError) {
        let file = try ioOperation { () throws(FileIOError) in
            try directory.fileSystem.open(path, .read)
        }
        defer { file.close() }
        let reader = try ioOperation { () throws(FileIOError) in try GzipReader(file) }
        var piece: [UInt8] = []
        while true {
            piece.removeAll(keepingCapacity: true)
            let count = try ioOperation { () throws(FileIOError) in
                try reader.read(Self.readBytes, appendingTo: &piece)
            }
            if count == 0 { return }
            try body(piece)
        }
    }
}
