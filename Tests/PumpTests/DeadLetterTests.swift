import EventLog
import FileIO
import FileIOTesting
import Pump
import Records
import Sinks
import Synchronization
import Telemetry
import Testing

/// A sink that takes, refuses and fails as it is told, and keeps what it took.
private final class ChoosySink: Sink {
    let traits = SinkTraits(isTransport: false, ordersLogs: false)
    let taken = Mutex<[LetterName: Int]>([:])
    let refused: Set<UInt64>
    let failing: Set<UInt64>

    init(refused: Set<UInt64> = [], failing: Set<UInt64> = []) {
        self.refused = refused
        self.failing = failing
    }

    func open() async throws(SinkError) {}
    func flush() async throws(SinkError) {}
    func close() async {}

    func deliver(_ batch: SinkBatch) async -> DeliveryResult {
        var result = DeliveryResult()
        for case .records(let records) in batch.items {
            batch.forEachRecord(in: records) { offset, _ in
                if refused.contains(offset.rawValue) {
                    result.add(offset, .rejected(.rejected))
                } else if failing.contains(offset.rawValue) {
                    result.add(offset, .retry)
                } else {
                    taken.withLock {
                        $0[LetterName(log: batch.log, offset: offset), default: 0] += 1
                    }
                }
            }
        }
        return result
    }
}

/// A file system with a writer and a box over it.
private struct Drawer {
    var files = MemoryFileSystem()
    var limits = LetterLimits()
    static let log = LogID(high: 0x0123_4567_89AB_4000, low: 0x8000_0000_0000_0001)

    var paths: LetterPaths { LetterPaths(data: "/data", consumer: "sink-a") }
    var box: SinkLetterBox {
        SinkLetterBox(data: "/data", consumer: "sink-a", fileSystem: files)
    }

    func writer(_ fileSystem: (any FileSystem)? = nil) -> SinkLetterWriter {
        SinkLetterWriter(paths, fileSystem: fileSystem ?? files, limits: limits)
    }

    static func letter(_ offset: UInt64, bytes: Int = 10) -> SinkLetter {
        SinkLetter(
            log: log,
            offset: Offset(offset),
            reason: "rejected",
            detail: "no, thanks",
            appendTime: 1_000,
            record: [UInt8](repeating: UInt8(truncatingIfNeeded: offset), count: bytes)
        )
    }

    func offsets() throws -> [UInt64] { try box.letters().map(\.offset.rawValue) }

    init() throws {
        try files.createDirectory("/data")
        try files.syncDirectory("/")
    }
}

@Suite("Dead letters of sinks")
struct DeadLetterTests {
    @Test(
        "what a sink refuses is kept with its bytes, and the stream goes on",
        arguments: [true, false]
    )
    func goesOn(isTransport: Bool) throws {
        let bench = try Bench(isTransport: isTransport)
        let lane = try bench.directory.openLane(0, smallConfiguration())
        try lane.append(count: 20, text: "/poison")
        bench.run()
        var result = DeliveryResult()
        result.add(Offset(5), .rejected(.rejected))
        result.add(Offset(6), .rejected(.tooLarge))
        result.reason = "too odd"
        _ = try #require(bench.answer(result))
        bench.run(milliseconds: 2_000)
        while bench.answer() != nil { bench.run(milliseconds: 2_000) }
        #expect(try bench.checkpoint(lane.logID) == 21)
        let letters = try bench.letters()
        #expect(letters.map(\.offset) == [Offset(5), Offset(6)])
        #expect(letters.map(\.reason) == ["rejected", "too_large"])
        #expect(letters.map(\.detail) == ["too odd", "too odd"])
        #expect(letters.map(\.id) == [1, 2])
        let bytes = letters[0].record
        let record = try RequestRecord(decoding: bytes.span.raw)
        #expect(record.path == "/poison")
        #expect(bench.registry.render().contains("pump_dead_letters_total{sink=\"test\"} 2"))
        // Delivered once more, as after a crash, it is refused once more and not kept twice.
        try bench.directory.checkpoints(consumer: bench.pumped.consumer).store(lane.logID, .zero)
        try bench.restart()
        bench.run()
        _ = try #require(bench.answer(result))
        bench.run(milliseconds: 2_000)
        #expect(try bench.letters().count == 2)
    }

    @Test(
        "an operation that fails leaves every letter there once, whichever it is, once or for ever"
    )
    func faults() throws {
        for isForever in [false, true] {
            for failing in 1...60 {
                var drawer = try Drawer()
                drawer.limits.fileBytes = 400
                let plan = FaultingFileSystem.Plan(first: failing, isForever: isForever)
                let faulty = FaultingFileSystem(drawer.files, plan)
                let writer = drawer.writer(faulty)
                for number in 0..<UInt64(8) {
                    let letters = [Drawer.letter(2 * number), Drawer.letter(2 * number + 1)]
                    do throws(LetterError) {
                        _ = try writer.park(letters, at: 1)
                    } catch {
                        // The disk is mended, and the records are refused again.
                        faulty.setPlan(FaultingFileSystem.Plan())
                        _ = try writer.park(letters, at: 1)
                    }
                }
                var random = SystemRandom()
                drawer.files = drawer.files.crashClone(probability: 0, using: &random)
                #expect(try drawer.offsets() == Array(0..<16), "operation \(failing)")
                // Another writer knows them all.
                let again = (0..<16).map { Drawer.letter($0) }
                #expect(try drawer.writer().park(again, at: 2) == 0, "operation \(failing)")
            }
        }
    }

    @Test("after a power cut what was acknowledged is there, and numbers are not given twice")
    func powerCuts() throws {
        var generator = SystemRandom()
        for _ in 0..<200 {
            let seed = generator.next()
            var random = Seeded(seed)
            var drawer = try Drawer()
            drawer.limits.fileBytes = UInt64.random(in: 100...2_000, using: &random)
            var acknowledged: [UInt64] = []
            var next: UInt64 = 0
            for _ in 0..<6 {
                let writer = drawer.writer()
                for _ in 0..<Int.random(in: 0...5, using: &random) {
                    let count = UInt64.random(in: 1...4, using: &random)
                    let bytes = Int.random(in: 0...700, using: &random)
                    let letters = (next..<(next + count)).map { Drawer.letter($0, bytes: bytes) }
                    _ = try writer.park(letters, at: 1)
                    acknowledged += letters.map(\.offset.rawValue)
                    next += count
                }
                // A batch that is not acknowledged may be there in part.
                if Bool.random(using: &random) {
                    let faulty = FaultingFileSystem(drawer.files)
                    let doomed = drawer.writer(faulty)
                    faulty.setPlan(.init(first: 1, calls: ["fdatasync"]))
                    _ = try? doomed.park([Drawer.letter(next, bytes: 900)], at: 1)
                }
                drawer.files = drawer.files.crashClone(
                    probability: Double.random(in: 0...1, using: &random),
                    using: &random
                )
                let letters = try drawer.box.letters()
                let found = Set(letters.map(\.offset.rawValue))
                #expect(found.isSuperset(of: acknowledged), "seed \(seed)")
                #expect(found.isSubset(of: acknowledged + [next]), "seed \(seed)")
                #expect(Set(letters.map(\.id)).count == letters.count, "seed \(seed)")
                if found.contains(next) {
                    acknowledged.append(next)
                    next += 1
                }
            }
        }
    }

    @Test("damage costs the letter that is hit, and what is written later is found")
    func damage() throws {
        let drawer = try Drawer()
        let writer = drawer.writer()
        _ = try writer.park((0..<3).map { Drawer.letter($0) }, at: 1)
        let path = drawer.paths.file(1)
        let whole = try #require(drawer.files.bytes(of: path))
        // The first eight bytes say what the file is.
        for index in 8..<whole.count {
            var bytes = whole
            bytes[index] ^= 0x10
            drawer.files.setBytes(bytes, of: path)
            let left = try drawer.offsets()
            #expect(left.count == 2, "byte \(index): \(left)")
            #expect(try drawer.writer().park([Drawer.letter(9)], at: 2) == 1)
            #expect(try drawer.offsets().last == 9, "byte \(index)")
            for other in try drawer.paths.files(drawer.files) where other != 1 {
                try drawer.files.removeFile(drawer.paths.file(other))
            }
        }
    }

    @Test("redriven letters reach the sink, refused ones stay, finished files are removed")
    func redrives() async throws {
        var drawer = try Drawer()
        drawer.limits.fileBytes = 300
        let writer = drawer.writer()
        for offset in 0..<UInt64(20) { _ = try writer.park([Drawer.letter(offset)], at: 1) }
        let filesBefore = try drawer.paths.files(drawer.files).count
        #expect(filesBefore > 3)
        let lock = try #require(try drawer.box.lock())
        #expect(try drawer.box.lock() == nil)
        let time = ManualTimeSource()
        let first = ChoosySink(refused: [3], failing: [17])
        let result = try await drawer.box.redrive(try drawer.box.letters(), to: first, time: time)
        #expect(result.taken == 18)
        #expect(result.refused == 1)
        #expect(result.failure != nil)
        #expect(try drawer.offsets() == [3, 17])
        // The pump goes on meanwhile, and does not take what is settled for new.
        _ = try writer.park([Drawer.letter(20)], at: 1)
        let second = ChoosySink()
        let again = try await drawer.box.redrive(try drawer.box.letters(), to: second, time: time)
        #expect(again.taken == 3)
        #expect(again.failure == nil)
        #expect(try drawer.offsets().isEmpty)
        #expect(try drawer.paths.files(drawer.files).count == 1)
        #expect(first.taken.withLock { $0.values.allSatisfy { $0 == 1 } })
        lock.close()
        // Killed between handing over and settling, the records are handed over again, as the same.
        _ = try writer.park([Drawer.letter(30)], at: 1)
        let letters = try drawer.box.letters()
        let third = ChoosySink()
        let before = drawer.files.killClone()
        _ = try await drawer.box.redrive(letters, to: third, time: time)
        drawer.files = before
        _ = try await drawer.box.redrive(try drawer.box.letters(), to: third, time: time)
        let name = LetterName(log: Drawer.log, offset: Offset(30))
        #expect(third.taken.withLock { $0 } == [name: 2])
        #expect(try drawer.offsets().isEmpty)
    }

    @Test("a full store holds up a sink, not a transport, until letters are dropped")
    func full() throws {
        for isTransport in [false, true] {
            let bench = try Bench(isTransport: isTransport) { configuration, pumped in
                pumped.batchRecordsMax = 2
                configuration.deadLetters.fileBytes = 100
                configuration.deadLetters.totalBytes = 600
            }
            let lane = try bench.directory.openLane(0, smallConfiguration())
            for _ in 0..<40 { try lane.append(count: 1, text: "/long/enough/to/fill") }
            var quiet = 0
            while quiet < 40 {
                bench.run(milliseconds: 500)
                quiet += 1
                while let (id, batch) = bench.pending.popLast() {
                    bench.driver.handle(.delivered(id, refuse(batch)))
                }
            }
            let stored = try bench.letters().count
            #expect(stored < 20)
            if isTransport {
                #expect(try bench.checkpoint(lane.logID) == 41)
                continue
            }
            #expect(try bench.checkpoint(lane.logID) < 41)
            var dropped = 0
            for _ in 0..<400 {
                if try bench.checkpoint(lane.logID) == 41 { break }
                let letters = try bench.letters()
                try bench.box.settle(letters, as: .dropped, at: 1)
                dropped += letters.count
                bench.run(milliseconds: 2_000)
                while let (id, batch) = bench.pending.popLast() {
                    bench.driver.handle(.delivered(id, refuse(batch)))
                }
                bench.run(milliseconds: 2_000)
            }
            #expect(try bench.checkpoint(lane.logID) == 41)
            #expect(dropped + (try bench.letters().count) == 40)
        }
    }

    /// Takes the first record of a log, which says that it began, and refuses all others.
    private func refuse(_ batch: SinkBatch) -> DeliveryResult {
        var result = DeliveryResult()
        for case .records(let records) in batch.items {
            batch.forEachRecord(in: records) { offset, _ in
                if offset > .zero { result.add(offset, .rejected(.rejected)) }
            }
        }
        return result
    }

    @Test("the bytes are those of docs/formats/dead-letters.md")
    func format() throws {
        let drawer = try Drawer()
        let letter = SinkLetter(
            log: Drawer.log,
            offset: Offset(42),
            reason: "rejected",
            detail: "no",
            appendTime: 1_000_000,
            record: [0x08, 0x01]
        )
        _ = try drawer.writer().park([letter], at: 2_000_000)
        let bytes = try #require(drawer.files.bytes(of: drawer.paths.file(1)))
        var hex = ""
        for byte in bytes { Hexadecimal.append(byte, to: &hex) }
        #expect(
            hex == """
                736c756963654c313f00000062b6fcfb01000000000000000123456789ab4000\
                80000000000000012a0000000000000040420f000000000080841e0000000000\
                0872656a656374656402006e6f0801
                """
        )
    }
}
