internal import FileIO
package import Records

/// A consumer's durable "everything below this offset is done", one small file per log.
///
/// The file is one line: `sluice-checkpoint 1 <log id> <next offset> <CRC32C, 8 hex digits>`, the
/// checksum being that of the line before its last space; version 2 has a tally of five numbers
/// before the checksum. `docs/formats/checkpoint.md` says it too.
package struct CheckpointStore: Sendable {
    /// The consumer.
    package let consumer: String

    private let directory: String
    private let fileSystem: any FileSystem
    private let bell: Bell

    private static let magic = "sluice-checkpoint"

    /// Makes the consumer's directory.
    init(
        consumer: String,
        paths: LogPaths,
        fileSystem: any FileSystem,
        bell: Bell
    ) throws(EventLogError) {
        let allowed = consumer.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"):
                true
            default: false
            }
        }
        guard allowed, !consumer.isEmpty, consumer.utf8.count <= 100 else {
            throw .invalidConsumerName(consumer)
        }
        self.consumer = consumer
        self.fileSystem = fileSystem
        self.bell = bell
        let directory = paths.checkpoints + "/" + consumer
        self.directory = directory
        try io { () throws(FileIOError) in
            try fileSystem.createDirectory(directory)
            try fileSystem.syncDirectory(paths.checkpoints)
        }
    }

    /// The next offset to consume; zero when nothing was stored or the file is not valid.
    package func load(_ log: LogID) -> Offset {
        Self.load(log, directory: directory, fileSystem: fileSystem)?.offset ?? .zero
    }

    /// The next offset to consume, and what was counted of those below; without a tally counting
    /// begins there.
    package func loadTally(_ log: LogID) -> (offset: Offset, tally: ConsumerTally) {
        let stored = Self.load(log, directory: directory, fileSystem: fileSystem)
        let offset = stored?.offset ?? .zero
        return (offset, stored?.tally ?? ConsumerTally(from: offset.rawValue))
    }

    /// Replaces the checkpoint, atomically and durably, and rings the bell.
    ///
    /// Returns after the file and its directory are on stable storage: two syncs.
    ///
    /// - Parameters:
    ///   - log: The log.
    ///   - offset: The next offset to consume.
    ///   - tally: What became of those below, if the consumer counts.
    package func store(
        _ log: LogID,
        _ offset: Offset,
        _ tally: ConsumerTally? = nil
    ) throws(EventLogError) {
        var text = "\(Self.magic) \(tally == nil ? 1 : 2) \(log) \(offset)"
        for number in tally?.fields ?? [] { text += " \(number)" }
        let sum = Checksum.crc32c(Array(text.utf8).span.raw)
        let line = text + " " + hexadecimal(sum) + "\n"
        try io { () throws(FileIOError) in
            try fileSystem.replaceFile("\(directory)/\(log)", with: Array(line.utf8))
        }
        bell.ring()
    }

    /// Forgets a log that is gone.
    func remove(_ log: LogID) {
        // A checkpoint left behind is of no harm.
        try? fileSystem.removeFile("\(directory)/\(log)")
    }

    /// A valid checkpoint.
    static func load(
        _ log: LogID,
        directory: String,
        fileSystem: any FileSystem
    ) -> (offset: Offset, tally: ConsumerTally?)? {
        guard let bytes = try? fileSystem.readFile("\(directory)/\(log)") else { return nil }
        let fields = String(decoding: bytes, as: UTF8.self).split(
            separator: " ",
            omittingEmptySubsequences: false
        )
        guard fields.count >= 5, fields[0] == magic, LogID(String(fields[2])) == log,
            let offset = UInt64(fields[3]), let last = fields.last
        else { return nil }
        let text = fields.dropLast().joined(separator: " ")
        let sum = hexadecimal(Checksum.crc32c(Array(text.utf8).span.raw))
        guard last == sum + "\n" else { return nil }
        let numbers = fields[4..<(fields.count - 1)].compactMap { UInt64($0) }
        switch fields[1] {
        case "1" where fields.count == 5: return (Offset(offset), nil)
        case "2":
            guard fields.count == 10, let tally = ConsumerTally(numbers) else { return nil }
            return (Offset(offset), tally)
        default: return nil
        }
    }

    /// The highest checkpoint that any consumer has for a log, configured or not.
    static func highest(
        _ log: LogID,
        paths: LogPaths,
        fileSystem: any FileSystem
    ) throws(EventLogError) -> Offset {
        let consumers: [String]
        do throws(FileIOError) {
            consumers = try fileSystem.list(paths.checkpoints)
        } catch {
            if error.isNotFound { return .zero }
            throw .io(error)
        }
        return consumers.compactMap {
            load(log, directory: paths.checkpoints + "/" + $0, fileSystem: fileSystem)?.offset
        }.max() ?? .zero
    }
}

extension LogDirectory {
    /// A consumer's checkpoint in one log, for those who only look: nothing is created.
    ///
    /// - Returns: The next offset to consume; zero when nothing was stored or it is not valid.
    package func checkpoint(of consumer: String, in log: LogID) -> Offset {
        tally(of: consumer, in: log).offset
    }

    /// A consumer's checkpoint in one log, and what was counted of the offsets below it.
    package func tally(
        of consumer: String,
        in log: LogID
    ) -> (offset: Offset, tally: ConsumerTally) {
        let stored = CheckpointStore.load(
            log,
            directory: paths.checkpoints + "/" + consumer,
            fileSystem: fileSystem
        )
        let offset = stored?.offset ?? .zero
        return (offset, stored?.tally ?? ConsumerTally(from: offset.rawValue))
    }
}

/// Eight lower-case hexadecimal digits.
func hexadecimal(_ value: UInt32) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: 8 - digits.utf8.count) + digits
}
