import EventLog
import FileIO
import Logging
import Records

/// The files of a file sink. Every call blocks.
///
/// A crash story, and why no record is in the files twice or in part:
///
/// 1. Lines are appended to the `.part` file and synced.
/// 2. A line of the journal then says how long the file is and which offset of each log comes next;
///    it is synced, too. Only now is the batch acknowledged.
/// 3. Killed before 2: the next `open` takes the whole lines behind the journal's length for what
///    they say, cuts the rest off, and the pump sends the records again. Killed after 2 but before
///    the pump has stored its checkpoint: the pump sends them again. Either way those that are in
///    the file are dropped, being below the offsets that are known.
/// 4. A failed write or sync is never repeated on what is there: all is closed, and opened as after
///    a crash, which writes what it keeps, and the journal into a new file, before it believes
///    either.
///
/// So a journal that has lost lines, whoever did that, costs neither records nor doubles: the lines
/// of the file say the same. A journal without a good beginning says nothing; then the sink stops.
///
/// Owner: one thread.
final class FileSinkWriter {
    let configuration: FileSinkConfiguration
    let fileSystem: any FileSystem
    private let time: any TimeSource
    let logger: Logger

    /// Open files.
    private struct Active {
        var journal: any File
        var journalLength: UInt64
        /// When it is written anew.
        var journalLengthMax: UInt64
        /// Nil while no file has been begun.
        var data: (any File)?
    }

    private var lock: (any File)?
    private var active: Active?
    private var state = FileSinkJournal()
    /// What came of batches whose callers have not asked yet, by ticket.
    var results: [UInt64: DeliveryResult] = [:]

    init(
        _ configuration: FileSinkConfiguration,
        fileSystem: any FileSystem,
        time: any TimeSource,
        logger: Logger
    ) {
        self.configuration = configuration
        self.fileSystem = fileSystem
        self.time = time
        self.logger = logger
    }

    var directory: String { configuration.path }
    /// What tells the files of a replay from those of the pump.
    private var suffix: String { configuration.isReplay ? "-replay" : "" }
    /// The journal.
    var journalPath: String { directory + "/sluice-journal" + suffix }
    /// A file while it is being written.
    func partPath(_ name: String) -> String { "\(directory)/\(name).part" }

    // MARK: Opening

    /// Locks the directory and brings it into the state of the journal.
    func open() throws(SinkError) {
        guard active == nil else { return }
        try io { () throws(FileIOError) in
            try fileSystem.createDirectory(directory)
            try fileSystem.syncDirectory(parentDirectory(of: directory))
        }
        try takeLock()
        try recover()
    }

    private func takeLock() throws(SinkError) {
        guard lock == nil else { return }
        let file = try io { () throws(FileIOError) in
            let file = try fileSystem.open(directory + "/sluice-lock" + suffix, .openOrCreate)
            return try file.tryLock() ? file : nil
        }
        guard let file else {
            let user = configuration.isReplay ? "another replay" : "another pump"
            throw SinkError(code: "locked", message: "\"\(directory)\" is in use by \(user)")
        }
        lock = file
    }

    /// Writes the journal anew, and opens it.
    func writeJournal(
        _ new: FileSinkJournal,
        _ data: (any File)?
    ) throws(FileIOError) {
        let bytes = new.snapshot
        active = nil
        try fileSystem.replaceFile(journalPath, with: bytes)
        let journal = try fileSystem.open(journalPath, .readWrite)
        state = new
        let length = UInt64(bytes.count)
        active = Active(
            journal: journal,
            journalLength: length,
            journalLengthMax: 2 * length + configuration.journalBytesMax,
            data: data
        )
    }

    // MARK: Writing

    /// Writes what is new of some batches; all of them share one fate.
    func write(_ batches: [SinkBatch]) -> DeliveryResult {
        do throws(SinkError) {
            try open()
            try rotateIfDue()
            var lines = NDJSONLines()
            var changed: [LogID: UInt64] = [:]
            for batch in batches { add(batch, &lines, &changed) }
            guard !changed.isEmpty else { return .accepted }
            try io { () throws(FileIOError) in
                let bytes =
                    configuration.isCompressed && !lines.bytes.isEmpty
                    ? try GzipMember.compress(lines.bytes) : lines.bytes
                try commit(bytes, changed)
            }
            return .accepted
        } catch {
            closeFiles()
            return .retryAll(error)
        }
    }

    private func add(
        _ batch: SinkBatch,
        _ lines: inout NDJSONLines,
        _ changed: inout [LogID: UInt64]
    ) {
        for case .records(let records) in batch.items {
            let done = changed[batch.log] ?? state.positions[batch.log] ?? 0
            guard records.nextOffset.rawValue > done else { continue }
            batch.forEachRecord(in: records) { offset, bytes in
                if offset.rawValue >= done { lines.append(batch.log, offset, bytes) }
            }
            changed[batch.log] = records.nextOffset.rawValue
        }
    }

    private func commit(_ bytes: [UInt8], _ changed: [LogID: UInt64]) throws(FileIOError) {
        let data = try beginFile()
        guard var active else { return }
        let length = state.length + UInt64(bytes.count)
        if !bytes.isEmpty {
            try data.write(bytes, at: state.length)
            try data.sync()
        }
        let line = FileSinkJournal.commit(length, changed)
        try active.journal.write(line, at: active.journalLength)
        try active.journal.sync()
        active.journalLength += UInt64(line.count)
        self.active = active
        state.length = length
        state.positions.merge(changed) { $1 }
        if active.journalLength > active.journalLengthMax { try writeJournal(state, data) }
    }

    /// The file to write to; a new one when there is none.
    private func beginFile() throws(FileIOError) -> any File {
        if let data = active?.data { return data }
        var next = state
        next.sequence += 1
        next.begunAt = time.wallMicroseconds()
        next.length = 0
        next.fileName = Self.fileName(next.begunAt, next.sequence, configuration)
        // Without the journal that counted them, a number may have been given before.
        while try fileSystem.exists(directory + "/" + next.fileName) {
            next.sequence += 1
            next.fileName = Self.fileName(next.begunAt, next.sequence, configuration)
        }
        let data = try fileSystem.open(partPath(next.fileName), .openOrCreate)
        try data.truncate(to: 0)
        // Its name becomes durable with the journal's: they are in one directory.
        try writeJournal(next, data)
        return data
    }

    // MARK: Finishing files

    /// Gives the file its final name when it is large or old enough.
    func rotateIfDue() throws(SinkError) {
        guard active?.data != nil, state.length > 0 else { return }
        let age = time.wallMicroseconds() - state.begunAt
        let (seconds, attoseconds) = configuration.rotateAge.components
        let ageMax = seconds &* 1_000_000 &+ attoseconds / 1_000_000_000_000
        let isOtherFormat = configuration.isCompressed != state.fileName.hasSuffix(".gz")
        guard state.length >= configuration.rotateBytes || age >= ageMax || isOtherFormat else {
            return
        }
        do throws(FileIOError) {
            try finishFile()
        } catch {
            closeFiles()
            throw SinkError(error)
        }
    }

    /// Gives the file its final name, if there is one with something in it.
    func finishFile() throws(FileIOError) {
        guard let data = active?.data, state.length > 0 else { return }
        let (part, path) = (partPath(state.fileName), directory + "/" + state.fileName)
        try fileSystem.rename(part, to: path, replacing: false)
        try fileSystem.syncDirectory(directory)
        data.close()
        active?.data = nil
    }

    /// The name of a file: when it was begun, and its number, which begins with `r` in a replay.
    private static func fileName(
        _ begunAt: Int64,
        _ sequence: UInt64,
        _ configuration: FileSinkConfiguration
    ) -> String {
        let number = String(sequence)
        let mark = configuration.isReplay ? "r" : ""
        let padding = String(repeating: "0", count: max(0, 8 - number.utf8.count - mark.utf8.count))
        let suffix = configuration.isCompressed ? ".ndjson.gz" : ".ndjson"
        return "records-\(compactTime(begunAt))-\(mark)\(padding)\(number)\(suffix)"
    }

    /// Whether a file was written by a replay.
    static func isReplay(_ name: String) -> Bool {
        name.hasPrefix("records-") && name.split(separator: "-").last?.first == "r"
    }

    private func closeFiles() {
        active?.data?.close()
        active?.journal.close()
        active = nil
    }

    /// Closes everything and unlocks the directory; a replay's file is finished.
    func close() {
        // What is left unfinished is finished by the next replay.
        if configuration.isReplay { try? finishFile() }
        closeFiles()
        lock?.close()
        lock = nil
    }

    /// Runs file operations.
    func io<T>(_ body: () throws(FileIOError) -> T) throws(SinkError) -> T {
        do throws(FileIOError) {
            return try body()
        } catch {
            throw SinkError(error)
        }
    }
}

extension SinkError {
    /// A failed file operation.
    init(_ error: FileIOError) {
        self.init(code: "io", message: "\(error)")
    }
}
