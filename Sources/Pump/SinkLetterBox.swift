import EventLog
package import FileIO
import Records
package import Sinks

/// Everybody else's side of a sink's dead letters: looks at them and settles them, while the pump
/// may be appending others.
///
/// A settlement is a frame in a file of its own, synced; files of which every letter is settled are
/// removed, but for the newest. A letter that was handed over and not settled, because of a crash,
/// is handed over again, under the record's identity.
package struct SinkLetterBox: Sendable {
    private let paths: LetterPaths
    private let fileSystem: any FileSystem

    /// How often a record is handed over before a redrive gives up. Chosen: a Kafka sink needs
    /// three to find out which message of a request a broker refuses.
    private static let attemptsMax = 6

    /// The letters of a sink in a data directory; nothing is created.
    ///
    /// - Parameters:
    ///   - data: The data directory.
    ///   - consumer: `sink-NAME`.
    ///   - fileSystem: Its file system.
    package init(data: String, consumer: String, fileSystem: any FileSystem) {
        paths = LetterPaths(data: data, consumer: consumer)
        self.fileSystem = fileSystem
    }

    /// The letters that are not settled, oldest first; each record once.
    package func letters() throws(FileIOError) -> [SinkLetter] {
        var seen = Set(try settlements().map(\.name))
        var letters: [SinkLetter] = []
        for first in try files() {
            for letter in try self.letters(of: first) where seen.insert(letter.name).inserted {
                letters.append(letter)
            }
        }
        return letters
    }

    /// The bytes that all letters take, settled ones included as long as they are there.
    package func byteCount() throws(FileIOError) -> UInt64 {
        try fileSystem.exists(paths.directory) ? try paths.byteCount(fileSystem) : 0
    }

    /// Keeps everybody else from settling letters until the lock is closed; nil if somebody does.
    package func lock() throws(FileIOError) -> (any File)? {
        try fileSystem.createDirectory(paths.directory)
        let file = try fileSystem.open(paths.lock, .openOrCreate)
        return try file.tryLock() ? file : nil
    }

    /// Notes durably what became of letters, and removes files of which nothing is left.
    ///
    /// The caller holds the lock.
    ///
    /// - Parameters:
    ///   - letters: The letters.
    ///   - outcome: What became of all of them.
    ///   - time: When, µs since the epoch.
    package func settle(
        _ letters: [SinkLetter],
        as outcome: LetterOutcome,
        at time: Int64
    ) throws(FileIOError) {
        guard !letters.isEmpty else { return }
        var settled = try settlements()
        settled += letters.map {
            SettledLetter(name: $0.name, outcome: outcome, settledAt: time)
        }
        // Few and small: the whole file is replaced, which a crash cannot leave half done.
        try replace(settled)
        try sweep(settled)
    }

    /// Hands letters to the sink that refused them.
    ///
    /// The caller holds the lock, and the sink is open.
    ///
    /// - Parameters:
    ///   - letters: Letters of one sink.
    ///   - sink: The sink.
    ///   - time: The clock.
    /// - Returns: How many it took and refused again; and what it said about those that it could
    ///   not take now, if any.
    package func redrive(
        _ letters: [SinkLetter],
        to sink: any Sink,
        time: any TimeSource
    ) async throws(FileIOError) -> (taken: Int, refused: Int, failure: String?) {
        var (taken, refused) = (0, 0)
        var rest = letters[...]
        while let first = rest.first {
            // One log at a time, as sinks expect it; small batches, so that a refusal is precise.
            let group = rest.prefix(100).prefix { $0.log == first.log }
            rest = rest.dropFirst(group.count)
            let sorted = group.sorted { $0.offset < $1.offset }
            var batch = SinkBatch(log: first.log, items: sorted.map { .records($0.batch) })
            for attempt in 1...Self.attemptsMax {
                let result = await sink.deliver(batch)
                let outcome = batch.outcome(result, marksRejected: false)
                let left = Set(outcome.remainder?.names ?? [])
                let lost = Set(result.rejectedNames(of: batch))
                let names = Set(batch.names).subtracting(left).subtracting(lost)
                let done = sorted.filter { names.contains($0.offset) }
                try settle(done, as: .redriven, at: time.wallMicroseconds())
                taken += done.count
                refused += lost.count
                guard let remainder = outcome.remainder else { break }
                if attempt == Self.attemptsMax {
                    return (taken, refused, result.reason ?? "not taken now")
                }
                batch = remainder
            }
        }
        return (taken, refused, nil)
    }

    // MARK: Files

    private func files() throws(FileIOError) -> [UInt64] {
        try fileSystem.exists(paths.directory) ? try paths.files(fileSystem) : []
    }

    private func letters(of first: UInt64) throws(FileIOError) -> [SinkLetter] {
        let bytes = try fileSystem.readFile(paths.file(first))
        return LetterFrames.scan(bytes, LetterFrames.letters).payloads.compactMap {
            SinkLetter(bytes.span.raw.extracting($0))
        }
    }

    private func settlements() throws(FileIOError) -> [SettledLetter] {
        guard try fileSystem.exists(paths.settled) else { return [] }
        let bytes = try fileSystem.readFile(paths.settled)
        return LetterFrames.scan(bytes, LetterFrames.settled).payloads.compactMap {
            SettledLetter(bytes.span.raw.extracting($0))
        }
    }

    private func replace(_ settled: [SettledLetter]) throws(FileIOError) {
        var bytes = LetterFrames.settled
        for one in settled { LetterFrames.append(one.payload, to: &bytes) }
        try fileSystem.replaceFile(paths.settled, with: bytes)
    }

    /// Removes files of which every letter is settled, and settlements of letters that are gone.
    private func sweep(_ settled: [SettledLetter]) throws(FileIOError) {
        let names = Set(settled.map(\.name))
        var left: Set<LetterName> = []
        var isAnyRemoved = false
        let files = try files()
        for first in files {
            let letters = try letters(of: first).map(\.name)
            if first != files.last, !letters.isEmpty, names.isSuperset(of: letters) {
                try fileSystem.removeFile(paths.file(first))
                isAnyRemoved = true
            } else {
                left.formUnion(letters)
            }
        }
        guard isAnyRemoved else { return }
        try fileSystem.syncDirectory(paths.directory)
        try replace(settled.filter { left.contains($0.name) })
    }
}

extension SinkLetter {
    /// The record as it was in the log.
    fileprivate var batch: LogBatch {
        var bytes: [UInt8] = []
        bytes.appendLittleEndian(UInt32(record.count))
        return LogBatch(
            logID: log,
            baseOffset: offset,
            count: 1,
            appendTime: appendTime,
            records: bytes + record
        )
    }
}

extension SinkBatch {
    /// The offsets of all records.
    fileprivate var names: [Offset] {
        var names: [Offset] = []
        for case .records(let records) in items {
            forEachRecord(in: records) { offset, _ in names.append(offset) }
        }
        return names
    }
}

extension DeliveryResult {
    /// The offsets of the records of a batch that were refused.
    fileprivate func rejectedNames(of batch: SinkBatch) -> [Offset] {
        guard !retriesAll else { return [] }
        let rejected = exceptions.filter { $0.verdict != .retry }
        return batch.names.filter { name in
            rejected.contains { $0.offsets.contains(name) }
        }
    }
}
