import EventLog
import FileIO
import FileIOTesting
import Records
import Testing

/// Every file of a data directory, changed at random, checksums made right again in half of the
/// cases: it is recovered and read to the end, and offsets never go back.
@Suite("Fuzz of the log's files", .serialized, .timeLimit(.minutes(30)))
struct LogFuzzTests {
    /// A small log, closed, with a consumer's checkpoint.
    private static func sample() throws -> MemoryFileSystem {
        let memory = MemoryFileSystem()
        let directory = try LogDirectory(
            path: "/data",
            fileSystem: memory,
            time: ManualTimeSource()
        )
        var configuration = LogConfiguration()
        configuration.segmentBytes = 8_192
        configuration.startsSyncThread = false
        let lane = try directory.openLane(0, configuration)
        for number in 0..<12 {
            try lane.append(eventTime: 1_000) { encoder in
                encoder.put(.kind, UInt64(RecordKind.request.rawValue))
                encoder.put(.path, "/\(number)" + String(repeating: "x", count: 200))
            }
            try lane.write()
            try lane.commit()
        }
        try directory.checkpoints(consumer: "fuzz").store(lane.logID, Offset(5))
        try lane.close()
        return memory.killClone()
    }

    @Test("segments, marks, checkpoints and whatever else there is")
    func files() async throws {
        let original = try Self.sample()
        let paths = original.paths
        try await Fuzzer("log").run(rounds: 1_500) { noise, choices in
            let memory = original.killClone()
            for _ in 0...choices.below(2) {
                let path = paths[choices.below(paths.count)]
                var bytes = memory.bytes(of: path) ?? []
                if choices.below(10) == 0 {
                    bytes = noise
                } else {
                    for _ in 0...choices.below(4) { Self.change(&bytes, &choices) }
                }
                if choices.below(2) == 0 { Self.mendFrames(&bytes) }
                memory.setBytes(bytes, of: path)
            }
            try Self.readAll(memory)
        }
    }

    /// Changes a byte or a word where there is something, not in the zeros behind.
    private static func change(_ bytes: inout [UInt8], _ choices: inout Mutator) {
        let used = (bytes.lastIndex { $0 != 0 } ?? 0) + 1
        if choices.below(3) > 0, bytes.count > used + 8 {
            let at = choices.below(used)
            let piece = choices.pieces[choices.below(choices.pieces.count)]
            bytes.replaceSubrange(at..<min(bytes.count, at + piece.count), with: piece)
        } else {
            choices.change(&bytes)
        }
    }

    /// Gives every frame the checksum that belongs to it, as somebody who made it up would.
    private static func mendFrames(_ bytes: inout [UInt8]) {
        var at = 0
        while at + 72 <= bytes.count {
            guard Array(bytes[at..<at + 4]) == Array("SLFR".utf8) else {
                at += 1
                continue
            }
            let size = (0..<4).reduce(0) { $0 | Int(bytes[at + 8 + $1]) << (8 * $1) }
            guard size >= 72, at + size <= bytes.count else {
                at += 4
                continue
            }
            let head = Checksum.crc32c(Array(bytes[at..<at + 68]))
            let sum = Checksum.crc32c(Array(bytes[at + 72..<at + size]), continuing: head)
            for index in 0..<4 {
                bytes[at + 68 + index] = UInt8(truncatingIfNeeded: sum >> UInt32(8 * index))
            }
            at += size
        }
    }

    private static func readAll(_ memory: MemoryFileSystem) throws {
        guard
            let directory = try? LogDirectory(
                path: "/data",
                fileSystem: memory,
                time: ManualTimeSource()
            )
        else { return }
        _ = try? directory.recover()
        _ = try? directory.tombstones()
        for log in (try? directory.logs()) ?? [] {
            _ = directory.checkpoint(of: "fuzz", in: log.id)
            _ = try? directory.inspect(log.id)
            guard var reader = try? directory.reader(log.id, from: .zero) else { continue }
            var next: UInt64 = 0
            var items = 0
            reading: while let item = try? reader.next() {
                items += 1
                if items > 100_000 { throw Difference("the log does not end") }
                switch item {
                case .records(let batch):
                    if batch.baseOffset.rawValue < next { throw Difference("offsets go back") }
                    next = batch.nextOffset.rawValue
                    try? batch.forEach { _, bytes throws in
                        _ = try? RequestRecord(decoding: bytes)
                    }
                case .skip(let range, _):
                    if range.lowerBound.rawValue < next { throw Difference("skips go back") }
                    next = range.upperBound.rawValue
                case .end: break reading
                }
            }
        }
    }
}
