import EventLog
import FileIO
import FileIOTesting
import Logging
import Records
import Sinks
import Synchronization

/// The directory of a file sink, and what the sink was given.
struct FileSinkWorld {
    static let directory = "/archive/sink"
    static let journal = directory + "/sluice-journal"

    /// What the directory holds after the process was killed.
    var memory: MemoryFileSystem
    /// All that was acknowledged, in this order.
    let batches: [SinkBatch]
    let time = ManualTimeSource()
    let configuration: FileSinkConfiguration
    /// What the sinks have told the operator.
    var told = Told()

    /// An empty directory.
    private init(isCompressed: Bool) throws {
        var configuration = FileSinkConfiguration(path: Self.directory)
        configuration.isCompressed = isCompressed
        configuration.rotateBytes = isCompressed ? 600 : 2_000
        self.configuration = configuration
        memory = MemoryFileSystem()
        batches = try Self.sample(time)
    }

    /// Three logs, delivered in turn into several files, by a sink that was killed then.
    static func filled(isCompressed: Bool) async throws -> FileSinkWorld {
        let world = try FileSinkWorld(isCompressed: isCompressed)
        let sink = world.makeSink()
        try await sink.open()
        for batch in world.batches {
            let result = await sink.deliver(batch)
            if let reason = result.reason { throw Difference("the sample: \(reason)") }
        }
        return world.copy()
    }

    /// Four batches of each of three logs, in turn.
    private static func sample(_ time: ManualTimeSource) throws -> [SinkBatch] {
        let logs = try LogDirectory(path: "/data", fileSystem: MemoryFileSystem(), time: time)
        var configuration = LogConfiguration()
        configuration.startsSyncThread = false
        var batches: [[SinkBatch]] = []
        for number in 0..<3 {
            let lane = try logs.openLane(number, configuration)
            for count in [2, 3, 1, 3] {
                for record in 0..<count {
                    try lane.append(eventTime: 1_000) { encoder in
                        encoder.put(.kind, UInt64(RecordKind.request.rawValue))
                        encoder.put(.path, "/\(number)/\(count)/\(record)")
                    }
                }
                try lane.write()
                try lane.commit()
            }
            try lane.close()
            batches.append([])
            var reader = try logs.reader(lane.logID, from: .zero)
            while case .records(let records)? = try reader.next() {
                batches[number].append(SinkBatch(log: lane.logID, items: [.records(records)]))
            }
        }
        let longest = batches.map(\.count).max() ?? 0
        return (0..<longest).flatMap { turn in
            batches.compactMap { turn < $0.count ? $0[turn] : nil }
        }
    }

    func makeSink(isReplay: Bool = false) -> FileSink {
        var configuration = configuration
        configuration.isReplay = isReplay
        let told = told
        let logger = Logger(label: "test") { _ in told }
        return FileSink(configuration, fileSystem: memory, time: time, logger: logger)
    }

    // MARK: What is there

    /// The files of records, without those that were put aside.
    var files: [String] {
        memory.paths.filter {
            $0.hasPrefix(Self.directory + "/records-")
                && [".ndjson", ".ndjson.gz", ".part"].contains(where: $0.hasSuffix)
        }
    }

    /// The file that is being written.
    var part: String { files.first { $0.hasSuffix(".part") } ?? "" }

    /// Every record that the sink was given.
    var expected: [String] { batches.flatMap(Self.identities).sorted() }

    /// Every record of a batch, as log and offset.
    static func identities(_ batch: SinkBatch) -> [String] {
        var result: [String] = []
        for case .records(let records) in batch.items {
            batch.forEachRecord(in: records) { offset, _ in
                result.append("\(batch.log) \(offset)")
            }
        }
        return result
    }

    /// Every line of some files, sorted.
    func identities(_ files: [String]) throws -> [String] {
        var result: [String] = []
        for path in files {
            let reader = try GzipReader(try memory.open(path, .read))
            var bytes: [UInt8] = []
            do {
                while try reader.read(1 << 16, appendingTo: &bytes) > 0 {}
            } catch {
                throw Difference("\(path): \(error)")
            }
            if bytes.last.map({ $0 != UInt8(ascii: "\n") }) ?? false {
                throw Difference("\(path) ends with a torn line")
            }
            for line in bytes.split(separator: UInt8(ascii: "\n")) {
                let text = String(decoding: line, as: UTF8.self)
                guard text.hasSuffix("}"),
                    let match = text.firstMatch(
                        of: #/"log_id":"([0-9a-f-]{36})","offset":([0-9]+)/#
                    )
                else { throw Difference("\(path) has a torn line: \(text)") }
                result.append("\(match.1) \(match.2)")
            }
        }
        return result.sorted()
    }

    // MARK: What is done

    /// The same directory, for one round.
    func copy() -> FileSinkWorld {
        var copy = self
        copy.memory = memory.killClone()
        copy.told = Told()
        return copy
    }
    /// A new process goes on: the pump sends everything from a batch on once more.
    ///
    /// - Returns: Why the sink does not go on; nil when it does.
    func goOn(from batch: Int) async throws -> String? {
        let sink = makeSink()
        var failure: String?
        do throws(SinkError) {
            try await sink.open()
            for batch in batches[batch...] {
                failure = await sink.deliver(batch).reason
                if failure != nil { break }
            }
            if failure == nil { try await sink.flush() }
        } catch {
            failure = "\(error)"
        }
        await sink.close()
        return failure
    }

    /// What the operator is told to do when records are lost: a replay of everything.
    func replay() async throws -> String? {
        let sink = makeSink(isReplay: true)
        var failure: String?
        do throws(SinkError) {
            try await sink.open()
            let holdings = try await sink.holdings()
            for batch in batches {
                guard case .records(let records)? = batch.items.first, let holdings else {
                    continue
                }
                let range = records.baseOffset.rawValue..<records.nextOffset.rawValue
                let wanted = holdings.missing(range, of: batch.log)
                    .map { Offset($0.lowerBound)..<Offset($0.upperBound) }
                if wanted.isEmpty { continue }
                let part = SinkBatch(log: batch.log, items: batch.items, wanted: wanted)
                failure = await sink.deliver(part).reason
                if failure != nil { break }
            }
        } catch {
            failure = "\(error)"
        }
        await sink.close()
        return failure
    }
}

/// What a sink has written into its log.
final class Told: LogHandler {
    private let lines = Mutex<[String]>([])

    var metadata: Logger.Metadata {
        get { [:] }
        set {}
    }
    var logLevel: Logger.Level {
        get { .info }
        set {}
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { nil }
        set {}
    }

    /// Keeps an event's name.
    func log(event: LogEvent) {
        lines.withLock { $0.append("\(event.message)") }
    }

    /// The events so far, which are forgotten then.
    func take() -> [String] {
        lines.withLock { lines in
            defer { lines = [] }
            return lines
        }
    }
}
