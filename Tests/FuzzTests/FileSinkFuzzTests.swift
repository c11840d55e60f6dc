import FileIO
import FileIOTesting
import Sinks
import Testing

/// Whatever stands in the directory of a file sink: every record is in the files once, or the sink
/// says what is wrong and leaves everything as it is.
@Suite("Fuzz of the file sink's directory", .serialized, .timeLimit(.minutes(30)))
struct FileSinkFuzzTests {
    @Test("a journal of any bytes", arguments: [false, true])
    func journal(isCompressed: Bool) async throws {
        let world = try await FileSinkWorld.filled(isCompressed: isCompressed)
        let original = try #require(world.memory.bytes(of: FileSinkWorld.journal))
        try await Fuzzer("file-sink").run(rounds: 60, suspends: true) { noise, choices in
            let world = world.copy()
            var bytes = original
            switch choices.below(8) {
            case 0: bytes = noise
            case 1: bytes.removeLast(choices.below(bytes.count + 1))
            case 2: bytes = Self.zeroed(bytes, &choices)
            default: for _ in 0...choices.below(3) { choices.change(&bytes) }
            }
            world.memory.setBytes(bytes, of: FileSinkWorld.journal)
            try await Self.check(world, losesNothing: true, &choices)
        }
    }

    @Test("every bit of a journal flipped, every byte cut off", arguments: [false, true])
    func everyBit(isCompressed: Bool) async throws {
        let world = try await FileSinkWorld.filled(isCompressed: isCompressed)
        let path = FileSinkWorld.journal
        let original = try #require(world.memory.bytes(of: path))
        let fuzzer = try Fuzzer("file-sink")
        var choices = fuzzer.choices
        // A few of them, beginning anywhere, in an ordinary run.
        let step = fuzzer.isLong ? 1 : 97
        for bit in stride(from: choices.below(step), to: original.count * 9, by: step) {
            let world = world.copy()
            var bytes = original
            if bit % 9 < 8 {
                bytes[bit / 9] ^= 1 << UInt8(bit % 9)
            } else {
                bytes.removeLast(bytes.count - bit / 9)
            }
            world.memory.setBytes(bytes, of: path)
            do {
                try await Self.check(world, losesNothing: true, &choices)
            } catch {
                throw Difference("byte \(bit / 9), bit \(bit % 9): \(error)")
            }
        }
    }

    @Test("a checksum that is right says nothing about the one who made it")
    func forged() async throws {
        let world = try await FileSinkWorld.filled(isCompressed: false)
        let original = try #require(world.memory.bytes(of: FileSinkWorld.journal))
        let pieces = ["/", "../x", "records-", ".ndjson", "c ", "p ", "-", ":"]
        try await Fuzzer("file-sink", pieces: pieces).run(rounds: 40, suspends: true) {
            noise,
            choices in
            let world = world.copy()
            var bytes = choices.below(8) == 0 ? noise : original
            for _ in 0...choices.below(4) { choices.change(&bytes) }
            world.memory.setBytes(Self.mended(bytes), of: FileSinkWorld.journal)
            world.memory.setBytes(noise, of: "/x/records-x.ndjson.part")
            _ = try await world.goOn(from: choices.below(world.batches.count))
            _ = try await world.replay()
            if world.memory.bytes(of: "/x/records-x.ndjson.part") != noise
                || !world.memory.paths.allSatisfy({
                    $0.hasPrefix(FileSinkWorld.directory + "/") || $0.hasPrefix("/x/")
                })
            {
                throw Difference("the sink went to another directory")
            }
        }
    }

    @Test("the file that is being written: cut, longer, changed, gone", arguments: [false, true])
    func part(isCompressed: Bool) async throws {
        let world = try await FileSinkWorld.filled(isCompressed: isCompressed)
        let original = try #require(world.memory.bytes(of: world.part))
        try await Fuzzer("file-sink").run(rounds: 60, suspends: true) { noise, choices in
            let world = world.copy()
            let part = world.part
            let others = try world.identities(world.files.filter { $0 != part })
            var bytes = original
            let kind = choices.below(6)
            switch kind {
            case 0: bytes.removeLast(choices.below(bytes.count) + 1)
            case 1: bytes += noise
            case 2: bytes += [UInt8](repeating: 0, count: choices.below(2_000) + 1)
            case 3: bytes += original.prefix(choices.below(original.count))
            default: for _ in 0...choices.below(3) { choices.change(&bytes) }
            }
            world.memory.setBytes(bytes, of: part)
            if (1...3).contains(kind) {
                return try await Self.check(world, losesNothing: true, &choices)
            }
            if kind == 0 { return try await Self.check(world, losesNothing: false, &choices) }
            // What is damaged there is damaged; nothing else may be.
            if let error = try await world.goOn(from: choices.below(world.batches.count)) {
                throw Difference("the sink stopped: \(error)")
            }
            let finished = world.files.filter { !$0.hasSuffix(".part") }
            let now = try world.identities(
                finished.filter { !$0.hasPrefix(String(part.dropLast(5))) }
            )
            if !Set(others).isSubset(of: Set(now)) { throw Difference("records of other files") }
            _ = try await world.replay()
        }
    }

    @Test("any other file of the directory", arguments: [false, true])
    func others(isCompressed: Bool) async throws {
        let world = try await FileSinkWorld.filled(isCompressed: isCompressed)
        let names = [
            "sluice-lock", "sluice-journal.tmp", "sluice-journal-replay", "sluice-lock-replay",
            "records-x.ndjson.part", "records-x.ndjson.gz.part", "-.part", ".part", "x",
            "records-20260101T000000Z-r0000001.ndjson.part", "records-x.ndjson.orphan",
        ]
        try await Fuzzer("file-sink").run(rounds: 25, suspends: true) { noise, choices in
            let world = world.copy()
            for _ in 0...choices.below(3) {
                let name = names[choices.below(names.count)]
                world.memory.setBytes(noise, of: FileSinkWorld.directory + "/" + name)
            }
            try await Self.check(world, losesNothing: true, &choices)
        }
    }

    // MARK: What must be

    /// Goes on in a directory in which no line was changed.
    ///
    /// - Parameter losesNothing: Whether every line that was acknowledged is still there.
    private static func check(
        _ world: FileSinkWorld,
        losesNothing: Bool,
        _ choices: inout Mutator
    ) async throws {
        func lines() -> [[UInt8]] {
            world.files.compactMap { world.memory.bytes(of: $0) }.sorted { $0.count < $1.count }
        }
        let before = lines()
        if let error = try await world.goOn(from: choices.below(world.batches.count + 1)) {
            guard losesNothing, error.hasSuffix("(damaged)"), error.contains("away") else {
                throw Difference("the sink stopped: \(error)")
            }
            if lines() != before { throw Difference("the sink stopped, and changed files") }
            return
        }
        let found = try world.identities(world.files.filter { !$0.contains("-r0") })
        let told = world.told.take()
        if found != world.expected, losesNothing || !told.contains("file_sink_file_too_short") {
            throw Difference("\(found) instead of \(world.expected); told: \(told)")
        }
        if Set(found).count != found.count { throw Difference("doubles: \(found)") }
        if let error = try await world.replay() { throw Difference("the replay: \(error)") }
        let replayed = try world.identities(world.files)
        if replayed != world.expected { throw Difference("after a replay: \(replayed)") }
    }

    /// A sector that the disk has lost.
    private static func zeroed(_ bytes: [UInt8], _ choices: inout Mutator) -> [UInt8] {
        var bytes = bytes
        let from = choices.below(bytes.count)
        for index in from..<min(bytes.count, from + 512) { bytes[index] = 0 }
        return bytes
    }

    /// Gives every line the checksum that belongs to it.
    private static func mended(_ bytes: [UInt8]) -> [UInt8] {
        var result: [UInt8] = []
        for line in bytes.split(separator: UInt8(ascii: "\n")) {
            let end = line.lastIndex(of: UInt8(ascii: " ")) ?? line.endIndex
            let body = Array(line[..<end])
            let sum = String(Checksum.crc32c(body), radix: 16)
            result += body + Array(" ".utf8)
            result += Array((String(repeating: "0", count: 8 - sum.utf8.count) + sum + "\n").utf8)
        }
        return result
    }
}
