import EventLog
import FileIO
import FileIOTesting
import Pump
import Records
import Sinks
import Synchronization
import Testing

/// A sink that takes what it is told to take, and says what it has if it can.
private final class ScriptedSink: Sink {
    let traits: SinkTraits
    let arrivals = Mutex(Arrivals())
    private let random: Mutex<Seeded>
    private let failures: Double
    /// After so many deliveries nothing is taken any more.
    private let left: Mutex<Int>
    private let knows: Bool
    /// Whether it dies.
    let isMortal: Bool

    init(
        isTransport: Bool = false,
        ordersLogs: Bool = false,
        seed: UInt64 = 1,
        failures: Double = 0,
        dies after: Int = .max,
        knows: Bool = false
    ) {
        traits = SinkTraits(isTransport: isTransport, ordersLogs: ordersLogs)
        random = Mutex(Seeded(seed))
        self.failures = failures
        left = Mutex(after)
        isMortal = after < .max
        self.knows = knows
    }

    func open() async throws(SinkError) {}
    func flush() async throws(SinkError) {}
    func close() async {}

    func holdings() async throws(SinkError) -> SinkHoldings? {
        guard knows else { return nil }
        var holdings = SinkHoldings()
        arrivals.withLock { arrivals in
            for (log, records) in arrivals.records {
                for offset in records.keys { holdings.add(log, offset) }
            }
        }
        holdings.sort()
        return holdings
    }

    func deliver(_ batch: SinkBatch) async -> DeliveryResult {
        let isDead = left.withLock { left in
            left -= 1
            return left < 0
        }
        if isDead { return .retryAll(SinkError(code: "dead", message: "it is dead")) }
        var result = DeliveryResult()
        result.reason = "not now"
        arrivals.withLock { arrivals in
            for item in batch.items {
                if case .records(let records) = item {
                    batch.forEachRecord(in: records) { offset, _ in
                        if random.withLock({ Double.random(in: 0..<1, using: &$0) }) < failures {
                            result.add(offset, .retry)
                        } else {
                            arrivals.take(batch.log, offset)
                        }
                    }
                } else {
                    arrivals.take(batch.log, marker: item)
                }
            }
        }
        return result
    }
}

/// Logs of which the pump has delivered a part, and a replay over them.
private struct Stage {
    let fileSystem = MemoryFileSystem()
    let directory: LogDirectory
    /// The completion time of each record.
    private(set) var times: [LogID: [Int64]] = [:]

    init() throws {
        directory = try LogDirectory(
            path: "/data",
            fileSystem: fileSystem,
            time: ManualTimeSource()
        )
    }

    /// Writes a closed log whose records completed at these times.
    mutating func write(_ number: UInt64, _ completed: [Int64], delivered: Int? = nil) throws {
        let id = LogID(high: 0x0123_4567_89AB_4000, low: 0x8000_0000_0000_0000 | number)
        _ = try directory.writeSealedLog(id: id, smallConfiguration()) {
            writer throws(EventLogError) in
            for time in completed {
                try writer.append(eventTime: time) { encoder in
                    encoder.put(.kind, UInt64(RecordKind.request.rawValue))
                    encoder.put(.completedAt, UInt64(time))
                    encoder.put(.path, String(repeating: "x", count: 100))
                }
            }
        }
        times[id] = completed
        let store = try directory.checkpoints(consumer: "sink-test")
        try store.store(id, Offset(UInt64(delivered ?? completed.count + 1)))
    }

    /// The records of a range below an offset.
    func wanted(_ range: Range<Int64>, _ below: [LogID: Int] = [:]) -> [LogID: Set<UInt64>] {
        var result: [LogID: Set<UInt64>] = [:]
        for (log, list) in times {
            let some = list.prefix(below[log] ?? list.count).indices
                .filter { range.contains(list[$0]) }.map(UInt64.init)
            if !some.isEmpty { result[log] = Set(some) }
        }
        return result
    }

    func replay(_ sink: ScriptedSink, _ range: Range<Int64>) async throws -> SinkReplayReport {
        var pumped = PumpedSink(name: "test", sink: sink)
        pumped.batchRecordsMax = 20
        pumped.inFlightMax = 3
        pumped.retryDelayMin = .nanoseconds(1)
        pumped.retryDelayMax = .nanoseconds(1)
        return try await SinkReplay(
            pumped,
            from: range.lowerBound,
            to: range.upperBound,
            directory: directory,
            logger: silent,
            patience: sink.isMortal ? .zero : .seconds(60)
        ).run()
    }

    /// The checkpoints as the pump left them.
    func checkpoints() throws -> [LogID: Offset] {
        let store = try directory.checkpoints(consumer: "sink-test")
        return Dictionary(uniqueKeysWithValues: times.keys.map { ($0, store.load($0)) })
    }
}

@Suite("Replay into a sink", .timeLimit(.minutes(2)))
struct SinkReplayTests {
    @Test("the records of the range arrive once each, whatever their order, and nothing else does")
    func range() async throws {
        for seed in 1...6 as ClosedRange<UInt64> {
            var random = Seeded(seed)
            var stage = try Stage()
            for log in 1...3 as ClosedRange<UInt64> {
                let count = Int.random(in: 1...400, using: &random)
                try stage.write(
                    log,
                    (0..<count).map { _ in Int64.random(in: 1...1_000, using: &random) }
                )
            }
            let from = Int64.random(in: 1...900, using: &random)
            let range = from..<Int64.random(in: (from + 1)...1_100, using: &random)
            let before = try stage.checkpoints()
            let sink = ScriptedSink(ordersLogs: seed % 2 == 0, seed: seed, failures: 0.1)
            let report = try await stage.replay(sink, range)
            let wanted = stage.wanted(range)
            let arrived = sink.arrivals.withLock { $0.records }
            #expect(arrived.mapValues { Set($0.keys) } == wanted, "seed \(seed)")
            #expect(arrived.values.allSatisfy { $0.values.allSatisfy { $0 == 1 } })
            #expect(report.counts.delivered == UInt64(wanted.values.reduce(0) { $0 + $1.count }))
            #expect(report.counts.pending == 0 && report.counts.skipped == 0 && report.logs == 3)
            #expect(try stage.checkpoints() == before)
            let left = stage.fileSystem.paths.filter { $0.hasPrefix("/data/replay/") }
            #expect(left == ["/data/replay/test.lock"])
        }
    }

    @Test("what the pump has not delivered is counted and left to it")
    func pending() async throws {
        var stage = try Stage()
        try stage.write(1, Array(1...300), delivered: 120)
        let sink = ScriptedSink()
        let report = try await stage.replay(sink, 101..<201)
        #expect(report.counts.delivered == 20 && report.counts.pending == 80)
        let arrived = sink.arrivals.withLock { $0.records.values.flatMap(\.keys) }
        #expect(Set(arrived) == Set(100..<120))
    }

    @Test("a transport is told of ends, and gets every record of the range")
    func transport() async throws {
        var stage = try Stage()
        try stage.write(1, Array(1...50))
        let sink = ScriptedSink(isTransport: true)
        let report = try await stage.replay(sink, 10..<20)
        #expect(report.counts.delivered == 10)
        #expect(sink.arrivals.withLock { $0.ends.values.sorted() } == [50])
    }

    @Test("a replay that was interrupted goes on, with the counts of both parts")
    func resumes() async throws {
        var stage = try Stage()
        for log in 1...3 as ClosedRange<UInt64> { try stage.write(log, Array(1...200)) }
        let dying = ScriptedSink(dies: 7)
        await #expect(throws: SinkReplayError.self) { try await stage.replay(dying, 1..<201) }
        let first = dying.arrivals.withLock { $0.records.values.reduce(0) { $0 + $1.count } }
        #expect(first > 0)
        let sink = ScriptedSink()
        let report = try await stage.replay(sink, 1..<201)
        #expect(report.isResumed)
        #expect(report.counts.delivered == 600)
        var both = dying.arrivals.withLock { $0.records.mapValues { Set($0.keys) } }
        sink.arrivals.withLock { arrivals in
            for (log, offsets) in arrivals.records {
                both[log, default: []].formUnion(offsets.keys)
            }
        }
        #expect(both == stage.wanted(1..<201))
        // Another range does not go on with this one.
        let again = try await stage.replay(ScriptedSink(), 1..<101)
        #expect(!again.isResumed && again.counts.delivered == 300)
    }

    @Test("another range begins anew; a damaged file of positions does as well")
    func beginsAnew() async throws {
        var stage = try Stage()
        try stage.write(1, Array(1...200))
        await #expect(throws: SinkReplayError.self) {
            try await stage.replay(ScriptedSink(dies: 2), 1..<201)
        }
        let other = try await stage.replay(ScriptedSink(), 1..<11)
        #expect(!other.isResumed && other.counts.delivered == 10)
        try stage.fileSystem.replaceFile("/data/replay/test", with: Array("sluice\n".utf8))
        let report = try await stage.replay(ScriptedSink(), 1..<11)
        #expect(!report.isResumed && report.counts.delivered == 10)
    }

    @Test("a destination that says what it has gets what it lacks")
    func holdings() async throws {
        var stage = try Stage()
        try stage.write(1, Array(1...300))
        let sink = ScriptedSink(knows: true)
        #expect(try await stage.replay(sink, 51..<101).counts.delivered == 50)
        let report = try await stage.replay(sink, 1..<301)
        #expect(report.counts.delivered == 250 && report.counts.present == 50)
        #expect(sink.arrivals.withLock { $0.records.values.allSatisfy { $0.values.max() == 1 } })
    }

    @Test("offsets of the range that were deleted before are told")
    func deleted() async throws {
        var stage = try Stage()
        try stage.write(1, Array(1...400))
        let log = try #require(try stage.directory.logs().first)
        #expect(log.segments.count > 2)
        let second = log.segments[1].baseOffset.rawValue
        var policy = RetentionPolicy()
        policy.bytes = log.byteCount - 1
        let gone = try stage.directory.deleteSegments(consumedBy: ["sink-test"], retain: policy)
        #expect(gone.count == 1)
        let report = try await stage.replay(ScriptedSink(), 1..<401)
        #expect(report.counts.deleted == second)
        #expect(report.counts.delivered == 400 - second)
    }

    @Test("ranges of what a destination has are cut out of any range")
    func cutting() {
        for seed in 1...50 as ClosedRange<UInt64> {
            var random = Seeded(seed)
            let log = LogID(high: 1, low: 2)
            let held = Set((0..<30).map { _ in UInt64.random(in: 0..<60, using: &random) })
            var holdings = SinkHoldings()
            for offset in held.shuffled(using: &random) { holdings.add(log, offset) }
            holdings.sort()
            let from = UInt64.random(in: 0..<60, using: &random)
            let range = from..<UInt64.random(in: from...60, using: &random)
            let missing = holdings.missing(range, of: log).flatMap { Array($0) }
            #expect(missing == range.filter { !held.contains($0) }, "seed \(seed)")
            #expect(
                holdings.missing(range, of: LogID(high: 1, low: 3)).count == (range.isEmpty ? 0 : 1)
            )
        }
    }
}
