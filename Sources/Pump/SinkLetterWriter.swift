import EventLog
package import FileIO
import Records

/// How much a sink's dead letters may take.
package struct LetterLimits: Sendable {
    /// A file is finished once it has so many bytes. Chosen.
    package var fileBytes: UInt64 = 8 << 20
    /// All files together. Chosen: as much as a person looks at, and far less than the log.
    package var totalBytes: UInt64 = 64 << 20
    /// Records whose letters are remembered at most before the files are read again. Chosen: those
    /// of full files of the smallest letters, twice.
    package var knownMax = 1_000_000

    /// The defaults.
    package init() {}
}

/// Why letters were not stored.
package enum LetterError: Error, CustomStringConvertible {
    /// A file operation failed.
    case io(FileIOError)
    /// There is no room until some letters are redriven or dropped.
    case full(UInt64)

    /// What was wrong.
    package var description: String {
        switch self {
        case .io(let error): "\(error)"
        case .full(let bytes):
            "\(bytes) bytes of dead letters are there already: redrive or drop some (`sluice dlq`)"
        }
    }
}

/// The pump's side of a sink's dead letters: it appends, and is done when the bytes are durable.
///
/// A crash story: letters are synced before the checkpoint may pass their records, so after a crash
/// a record is there, or it is delivered and refused again; what is there already is not stored
/// twice. Nothing is overwritten: behind bytes that are no frame, and after a failed write or sync,
/// a new file begins. Only the newest file is written to, so the others may be removed meanwhile.
///
/// Owner: one thread.
package final class SinkLetterWriter {
    /// The newest file.
    private struct Active {
        var file: any File
        var length: UInt64
    }

    private let paths: LetterPaths
    private let fileSystem: any FileSystem
    private let limits: LetterLimits
    /// The records of the letters that are there; nil before the files were looked at.
    private var known: Set<LetterName>?
    /// Letters of which it is not certain that they are durable.
    private var doubtful: Set<LetterName> = []
    private var nextID: UInt64 = 1
    private var active: Active?

    /// A writer that has not looked at anything.
    package init(_ paths: LetterPaths, fileSystem: any FileSystem, limits: LetterLimits) {
        self.paths = paths
        self.fileSystem = fileSystem
        self.limits = limits
    }

    /// Stores letters and numbers them; those whose record is there already are left out.
    ///
    /// If there is no room for all of them, the first ones are stored all the same.
    ///
    /// - Parameters:
    ///   - letters: What was refused.
    ///   - time: When, µs since the epoch.
    /// - Returns: How many were stored.
    package func park(_ letters: [SinkLetter], at time: Int64) throws(LetterError) -> Int {
        do throws(LetterError) {
            return try store(letters, at: time)
        } catch {
            if case .io = error {
                // What the file holds now is not known.
                doubtful.formUnion(letters.map(\.name))
                active?.file.close()
                active = nil
                known = nil
            }
            throw error
        }
    }

    private func store(_ letters: [SinkLetter], at time: Int64) throws(LetterError) -> Int {
        if known.map({ $0.count > limits.knownMax }) ?? true { try open() }
        let names = known ?? []
        var new: Set<LetterName> = []
        let unknown = letters.filter { !names.contains($0.name) && new.insert($0.name).inserted }
        guard !unknown.isEmpty else { return 0 }
        let used = try byteCount()
        var frames: [UInt8] = []
        var stored: [LetterName] = []
        for var letter in unknown {
            letter.id = nextID + UInt64(stored.count)
            letter.parkedAt = time
            let length = frames.count
            LetterFrames.append(letter.payload, to: &frames)
            if used + UInt64(frames.count) > limits.totalBytes {
                frames.removeLast(frames.count - length)
                break
            }
            stored.append(letter.name)
        }
        if !stored.isEmpty {
            do throws(FileIOError) { try write(frames) } catch { throw .io(error) }
            nextID += UInt64(stored.count)
            known?.formUnion(stored)
            doubtful.subtract(stored)
        }
        guard stored.count == unknown.count else { throw .full(used) }
        return stored.count
    }

    /// Reads what is there.
    private func open() throws(LetterError) {
        active?.file.close()
        active = nil
        do throws(FileIOError) {
            try fileSystem.createDirectory(paths.directory)
            try fileSystem.syncDirectory(parentDirectory(of: paths.directory))
            try fileSystem.syncDirectory(
                parentDirectory(of: parentDirectory(of: paths.directory))
            )
            var names: Set<LetterName> = []
            var newest: (first: UInt64, length: UInt64, isWhole: Bool)?
            for first in try paths.files(fileSystem) {
                let bytes = try fileSystem.readFile(paths.file(first))
                let scan = LetterFrames.scan(bytes, LetterFrames.letters)
                nextID = max(nextID, first)
                for payload in scan.payloads {
                    guard let letter = SinkLetter(bytes.span.raw.extracting(payload)) else {
                        continue
                    }
                    names.insert(letter.name)
                    nextID = max(nextID, letter.id + 1)
                }
                newest = (first, UInt64(bytes.count), scan.isWhole && !bytes.isEmpty)
            }
            if let newest {
                if newest.isWhole, doubtful.isEmpty, newest.length < limits.fileBytes {
                    let file = try fileSystem.open(paths.file(newest.first), .readWrite)
                    // What a killed process has written counts only once it is durable.
                    try file.sync()
                    active = Active(file: file, length: newest.length)
                } else {
                    nextID = max(nextID, newest.first + 1)
                }
            }
            known = names.subtracting(doubtful)
        } catch {
            throw .io(error)
        }
    }

    /// The bytes that are there; files that were removed meanwhile are not counted.
    private func byteCount() throws(LetterError) -> UInt64 {
        do throws(FileIOError) { return try paths.byteCount(fileSystem) } catch { throw .io(error) }
    }

    private func write(_ frames: [UInt8]) throws(FileIOError) {
        if let full = active, full.length >= limits.fileBytes {
            full.file.close()
            active = nil
        }
        guard var active else {
            let bytes = LetterFrames.letters + frames
            let file = try fileSystem.open(paths.file(nextID), .create)
            try file.write(bytes, at: 0)
            try file.sync()
            try fileSystem.syncDirectory(paths.directory)
            self.active = Active(file: file, length: UInt64(bytes.count))
            return
        }
        try active.file.write(frames, at: active.length)
        try active.file.sync()
        active.length += UInt64(frames.count)
        self.active = active
    }
}

/// Where a sink's dead letters are.
package struct LetterPaths: Sendable {
    /// `DATA/dead-letters/sink-NAME`.
    package let directory: String

    /// The letters of a consumer such as `sink-archive`.
    package init(data: String, consumer: String) {
        directory = "\(data)/dead-letters/\(consumer)"
    }

    /// What became of letters.
    var settled: String { directory + "/settled" }
    /// Locked by whoever settles letters.
    var lock: String { directory + "/lock" }

    private static let prefix = "letters-"

    /// The file that begins with a letter.
    package func file(_ first: UInt64) -> String {
        let digits = String(first)
        let padding = String(repeating: "0", count: 20 - digits.utf8.count)
        return "\(directory)/\(Self.prefix)\(padding)\(digits)"
    }

    /// The first letters of the files there are, ascending.
    package func files(_ fileSystem: any FileSystem) throws(FileIOError) -> [UInt64] {
        try fileSystem.list(directory).compactMap { name in
            guard name.hasPrefix(Self.prefix) else { return nil }
            return UInt64(name.dropFirst(Self.prefix.utf8.count))
        }.sorted()
    }

    /// The bytes of all files of letters.
    func byteCount(_ fileSystem: any FileSystem) throws(FileIOError) -> UInt64 {
        var total: UInt64 = 0
        for first in try files(fileSystem) {
            total += try fileSystem.status(file(first))?.size ?? 0
        }
        return total
    }
}
