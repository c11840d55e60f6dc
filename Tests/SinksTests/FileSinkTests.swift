import EventLog
import FileIO
import FileIOTesting
import Records
import Sinks
import Testing

/// A directory of files that one sink after the other writes to.
private struct Archive {
    var fileSystem = MemoryFileSystem()
    let time = ManualTimeSource()
    var configuration = FileSinkConfiguration(path: "/archive/sink")

    func makeSink(_ over: (any FileSystem)? = nil) -> FileSink {
        FileSink(configuration, fileSystem: over ?? fileSystem, time: time, logger: silent)
    }

    /// The names of the files, without those of the sink itself.
    var names: [String] {
        fileSystem.paths.filter { $0.contains("/records-") && !$0.hasSuffix(".orphan") }
    }

    /// All lines of all files, the unfinished one included, as log id and offset.
    func identities() throws -> [String] {
        var result: [String] = []
        for name in names {
            let reader = try GzipReader(try fileSystem.open(name, .read))
            var bytes: [UInt8] = []
            while try reader.read(1 << 16, appendingTo: &bytes) > 0 {}
            #expect(bytes.isEmpty || bytes.last == UInt8(ascii: "\n"), "torn: \(name)")
            for line in bytes.split(separator: UInt8(ascii: "\n")) {
                result.append(try #require(identity(String(decoding: line, as: UTF8.self))))
            }
        }
        return result
    }

    /// Where a whole line of JSON comes from; nil when it is torn.
    private func identity(_ line: String) -> String? {
        guard line.hasPrefix("{"), line.hasSuffix("}"),
            let log = line.firstMatch(of: #/"log_id":"([0-9a-f-]{36})"/#),
            let offset = line.firstMatch(of: #/"offset":([0-9]+)/#)
        else { return nil }
        return "\(log.1) \(offset.1)"
    }
}

/// Which identities a batch holds.
private func identities(_ batch: SinkBatch) -> [String] {
    var result: [String] = []
    for case .records(let records) in batch.items {
        batch.forEachRecord(in: records) { offset, _ in result.append("\(batch.log) \(offset)") }
    }
    return result
}

@Suite("File sink", .timeLimit(.minutes(2)))
struct FileSinkTests {
    private let logs: SampleLogs

    init() throws { logs = try SampleLogs() }

    @Test("each record is a line, and a line that was acknowledged is not written again")
    func lines() async throws {
        let archive = Archive()
        let log = try logs.write(1, ["/a", "/b \"quoted\"", "/\u{e9}"])
        let batch = try logs.batch(log)
        let sink = archive.makeSink()
        try await sink.open()
        #expect(await sink.deliver(batch) == .accepted)
        #expect(await sink.deliver(batch) == .accepted)
        await sink.close()
        // A new process, whose pump does not know what was acknowledged.
        let next = archive.makeSink()
        try await next.open()
        #expect(await next.deliver(batch) == .accepted)
        await next.close()
        #expect(try archive.identities() == (0..<3).map { "\(log) \($0)" })
        let name = try #require(archive.names.first)
        #expect(name == "/archive/sink/records-20260101T000000Z-00000001.ndjson.part")
        let text = String(decoding: try #require(archive.fileSystem.bytes(of: name)), as: UTF8.self)
        #expect(text.contains("\"path\":\"/b \\\"quoted\\\"\""))
    }

    @Test(
        "files are finished by size and by age, also when nothing comes",
        arguments: [false, true]
    )
    func rotation(isCompressed: Bool) async throws {
        var archive = Archive()
        archive.configuration.rotateBytes = 500
        archive.configuration.isCompressed = isCompressed
        let sink = archive.makeSink()
        try await sink.open()
        var expected: [String] = []
        for number in 1...6 {
            let log = try logs.write(UInt64(number), (0..<20).map { "/\($0)" })
            let batch = try logs.batch(log)
            expected += identities(batch)
            #expect(await sink.deliver(batch) == .accepted)
        }
        #expect(archive.names.count > 1)
        archive.time.advance(microseconds: 3_600_000_000)
        try await sink.flush()
        #expect(archive.names.allSatisfy { $0.hasSuffix(isCompressed ? ".ndjson.gz" : ".ndjson") })
        #expect(try archive.identities().sorted() == expected.sorted())
        await sink.close()
    }

    @Test("what cannot be decoded keeps its bytes")
    func malformed() async throws {
        let archive = Archive()
        let id = LogID(high: 0x4001, low: 0x8000_0000_0000_0001)
        _ = try logs.directory.writeSealedLog(id: id, LogConfiguration()) {
            writer throws(EventLogError) in
            // A tag whose key runs beyond the record.
            try writer.append(eventTime: 1) { $0.put(.tags, [0x0A, 0x7F] as [UInt8]) }
        }
        let sink = archive.makeSink()
        try await sink.open()
        #expect(await sink.deliver(try logs.batch(id)) == .accepted)
        await sink.close()
        #expect(try archive.identities() == ["\(id) 0"])
        let name = try #require(archive.names.first)
        let text = String(decoding: try #require(archive.fileSystem.bytes(of: name)), as: UTF8.self)
        #expect(text.contains("\"malformed\":\""))
        #expect(text.hasSuffix("0a7f\"}\n"))
    }

    @Test("a directory belongs to one sink at a time")
    func lock() async throws {
        let archive = Archive()
        let sink = archive.makeSink()
        try await sink.open()
        let other = archive.makeSink()
        await #expect(throws: SinkError.self) { try await other.open() }
        await sink.close()
        try await other.open()
        await other.close()
    }

    @Test("a journal whose beginning is damaged is never taken for an empty one")
    func damagedJournal() async throws {
        let archive = Archive()
        let sink = archive.makeSink()
        try await sink.open()
        #expect(await sink.deliver(try logs.batch(try logs.write(1, ["/a"]))) == .accepted)
        await sink.close()
        let path = "/archive/sink/sluice-journal"
        var bytes = try #require(archive.fileSystem.bytes(of: path))
        bytes[3] ^= 1
        archive.fileSystem.setBytes(bytes, of: path)
        let next = archive.makeSink()
        await #expect(throws: SinkError.self) { try await next.open() }
        await next.close()
    }

    @Test(
        "whichever operation fails or is the last one, every record is in the files exactly once",
        arguments: [false, true],
        [false, true]
    )
    func everyOperation(isForever: Bool, isCompressed: Bool) async throws {
        var batches: [SinkBatch] = []
        for number in 1...5 {
            let log = try logs.write(UInt64(number), (0..<6).map { "/\($0)" })
            batches.append(try logs.batch(log))
            batches.append(try logs.batch(log, from: 3))
        }
        let expected = Set(batches.flatMap(identities)).sorted()
        var generator = SystemRandom()
        let seed = generator.next()
        var random = Seeded(seed)
        var failing = 0
        while true {
            failing += 1
            var archive = Archive()
            archive.configuration.rotateBytes = 700
            archive.configuration.journalBytesMax = 300
            archive.configuration.isCompressed = isCompressed
            let faulty = FaultingFileSystem(
                archive.fileSystem,
                FaultingFileSystem.Plan(first: failing, isForever: isForever)
            )
            let sink = archive.makeSink(faulty)
            var done = 0
            var tries = 0
            while done < batches.count, tries < 40 {
                tries += 1
                let result = await sink.deliver(batches[done])
                if result == .accepted {
                    done += 1
                } else if isForever {
                    break
                }
            }
            await sink.close()
            let hasFailed = faulty.hasFailed
            // Now the process is gone, or even the power; the next one takes up the work, from
            // what was acknowledged or from anywhere before.
            archive.fileSystem =
                Bool.random(using: &random)
                ? archive.fileSystem.killClone()
                : archive.fileSystem.crashClone(
                    probability: Double.random(in: 0...1, using: &random),
                    using: &random
                )
            let next = archive.makeSink()
            for batch in batches[Int.random(in: 0...done, using: &random)...] {
                let result = await next.deliver(batch)
                #expect(result == .accepted, "operation \(failing), seed \(seed)")
            }
            await next.close()
            let found = try archive.identities().sorted()
            #expect(found == expected, "operation \(failing), seed \(seed)")
            if found != expected || !hasFailed { break }
        }
        #expect(failing > 30)
    }

    @Test(
        "a replay adds what the files lack beside the pump's own sink, once, in whole files",
        arguments: [false, true]
    )
    func replays(isCompressed: Bool) async throws {
        var archive = Archive()
        archive.configuration.isCompressed = isCompressed
        let log = try logs.write(1, (0..<10).map { "/\($0)" })
        let other = try logs.write(2, ["/x", "/y"])
        let sink = archive.makeSink()
        try await sink.open()
        #expect(await sink.deliver(try logs.batch(log, from: 6)) == .accepted)
        // The pump goes on while the replay runs, and starts anew.
        var replaying = archive
        replaying.configuration.isReplay = true
        for round in 0..<2 {
            let replay = replaying.makeSink()
            try await replay.open()
            await #expect(throws: SinkError.self) { try await replaying.makeSink().open() }
            let holdings = try #require(try await replay.holdings())
            let missing = holdings.missing(0..<10, of: log)
            #expect(missing == (round == 0 ? [0..<6] : []))
            if !missing.isEmpty {
                let wanted = missing.map { Offset($0.lowerBound)..<Offset($0.upperBound) }
                let whole = try logs.batch(log)
                let part = SinkBatch(log: log, items: whole.items, wanted: wanted)
                #expect(await replay.deliver(part) == .accepted)
            }
            await replay.close()
        }
        await sink.close()
        #expect(try await sink.holdings() == nil)
        let next = archive.makeSink()
        try await next.open()
        #expect(await next.deliver(try logs.batch(other)) == .accepted)
        await next.close()
        let expected = (0..<10).map { "\(log) \($0)" } + (0..<2).map { "\(other) \($0)" }
        #expect(try archive.identities().sorted() == expected.sorted())
        #expect(archive.names.count { $0.hasSuffix(".part") } == 1, "the pump's own")
        #expect(archive.names.contains { $0.contains("-r0000001.ndjson") })
    }

    @Test("a replay that is killed at any file operation is completed by the next, without doubles")
    func replayCrashes() async throws {
        let log = try logs.write(1, (0..<6).map { "/\($0)" })
        for failing in 1... {
            var archive = Archive()
            archive.configuration.isReplay = true
            let faulty = FaultingFileSystem(
                archive.fileSystem,
                FaultingFileSystem.Plan(first: failing, isForever: true)
            )
            let dying = archive.makeSink(faulty)
            if (try? await dying.open()) != nil { _ = await dying.deliver(try logs.batch(log)) }
            await dying.close()
            let isOver = !faulty.hasFailed
            var random = Seeded(UInt64(failing))
            archive.fileSystem = archive.fileSystem.crashClone(probability: 0.5, using: &random)
            let sink = archive.makeSink()
            try await sink.open()
            let holdings = try #require(try await sink.holdings())
            let wanted = holdings.missing(0..<6, of: log)
                .map { Offset($0.lowerBound)..<Offset($0.upperBound) }
            let items = try logs.batch(log).items
            #expect(
                await sink.deliver(SinkBatch(log: log, items: items, wanted: wanted)) == .accepted
            )
            await sink.close()
            #expect(try archive.identities() == (0..<6).map { "\(log) \($0)" }, "at \(failing)")
            if isOver { break }
        }
    }

    @Test("what only begins like a line, behind what the journal knows, is none")
    func strangeTail() async throws {
        let archive = Archive()
        let batch = try logs.batch(try logs.write(1, ["/a"]))
        let sink = archive.makeSink()
        #expect(await sink.deliver(batch) == .accepted)
        await sink.close()
        let name = try #require(archive.names.first)
        let bytes = try #require(archive.fileSystem.bytes(of: name))
        let other = "{\"log_id\":\"00000000-0000-4000-8000-000000000001\",\"offset\":1"
        for tail in ["7x}\n", "7,\0}\n", "7", "8446744073709551615}\n", "\n"] {
            archive.fileSystem.setBytes(bytes + Array((other + tail).utf8), of: name)
            let next = archive.makeSink()
            #expect(await next.deliver(batch) == .accepted)
            await next.close()
            #expect(archive.fileSystem.bytes(of: name) == bytes, "\(tail)")
        }
    }

    @Test("a file that no sink has written is no ground to deliver everything again")
    func strangeFiles() async throws {
        var archive = Archive()
        archive.configuration.isReplay = true
        let sink = archive.makeSink()
        try await sink.open()
        try archive.fileSystem.replaceFile(
            "/archive/sink/records-x.ndjson",
            with: Array("{\"a\":1}\n".utf8)
        )
        await #expect(throws: SinkError.self) { try await sink.holdings() }
        await sink.close()
    }
}
