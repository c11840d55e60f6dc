import EventLog
import FileIO
import FileIOTesting
import Pump
import Records
import Sinks
import Testing
import Threads

/// Writers, a pump, and a destination that takes, forgets, refuses and delays as it likes; the pump
/// is killed at random points. The model is: every offset that was ever durable arrives.
private final class Simulation {
    var random: Seeded
    let bench: Bench
    var arrivals = Arrivals()
    /// What the destination will never take.
    var poison: Set<UInt64> = []
    var lanes: [LaneWriter] = []
    /// The durable end of each log.
    var ends: [LogID: UInt64] = [:]
    let isTransport: Bool
    var sent = 0

    init(seed: UInt64, isTransport: Bool) throws {
        var random = Seeded(seed)
        self.isTransport = isTransport
        bench = try Bench(
            isTransport: isTransport,
            ordersLogs: Bool.random(using: &random),
            seed: random.next()
        ) { configuration, pumped in
            pumped.batchRecordsMax = Int.random(in: 1...40, using: &random)
            pumped.batchBytesMax = Int.random(in: 200...4_000, using: &random)
            pumped.inFlightMax = Int.random(in: 1...6, using: &random)
            configuration.readersMax = Int.random(in: 1...4, using: &random)
            configuration.checkpointInterval = .milliseconds(
                Int.random(in: 0...500, using: &random)
            )
        }
        for _ in 0..<6 { poison.insert(UInt64.random(in: 1...200, using: &random)) }
        self.random = random
    }

    func step() throws {
        bench.time.advance(microseconds: Int64.random(in: 0...60_000, using: &random))
        switch Int.random(in: 0..<100, using: &random) {
        case 0..<3: lanes.append(try bench.directory.openLane(lanes.count, smallConfiguration()))
        case 3..<25:
            guard let lane = lanes.randomElement(using: &random) else { return }
            try lane.append(count: Int.random(in: 1...12, using: &random))
            ends[lane.logID] = lane.nextOffset.rawValue
        case 25..<27:
            guard !lanes.isEmpty else { return }
            let lane = lanes.remove(at: Int.random(in: 0..<lanes.count, using: &random))
            try lane.close()
            ends[lane.logID] = lane.nextOffset.rawValue
        case 27..<60: bench.step()
        case 60..<98: answer()
        case 98: try crash()
        default: try powerCut()
        }
        try check()
    }

    /// Lets the destination answer one delivery, in any order.
    private func answer() {
        guard !bench.pending.isEmpty else { return }
        let index = Int.random(in: 0..<bench.pending.count, using: &random)
        let (id, batch) = bench.pending.remove(at: index)
        bench.driver.handle(.delivered(id, take(batch)))
    }

    /// What the destination does with a batch.
    private func take(_ batch: SinkBatch) -> DeliveryResult {
        switch Int.random(in: 0..<10, using: &random) {
        case 0: return .retryAll(SinkError(code: "down", message: "nothing arrived"))
        case 1:
            // It arrived, but the answer was lost.
            _ = deliver(batch, failing: 0)
            return .retryAll(SinkError(code: "down", message: "no answer"))
        case 2: return deliver(batch, failing: 0.3)
        default: return deliver(batch, failing: 0)
        }
    }

    private func deliver(_ batch: SinkBatch, failing probability: Double) -> DeliveryResult {
        var result = DeliveryResult()
        for item in batch.items {
            guard case .records(let records) = item else {
                if Double.random(in: 0..<1, using: &random) < probability {
                    result.add(item.firstOffset, .retry)
                } else {
                    arrivals.take(batch.log, marker: item)
                }
                continue
            }
            batch.forEachRecord(in: records) { offset, _ in
                sent += 1
                if poison.contains(offset.rawValue) {
                    result.add(offset, .rejected(.rejected))
                } else if Double.random(in: 0..<1, using: &random) < probability {
                    result.add(offset, .retry)
                } else {
                    arrivals.take(batch.log, offset)
                }
            }
        }
        return result
    }

    private func crash() throws {
        // What is under way arrives or does not.
        for (_, batch) in bench.pending where Bool.random(using: &random) { _ = take(batch) }
        if Bool.random(using: &random) {
            // Only the pump is killed.
            try bench.restart(seed: random.next())
            return
        }
        for lane in lanes { lane.abandon() }
        lanes = []
        try bench.restart(bench.fileSystem.killClone(), seed: random.next())
        try adopt(try bench.directory.recover())
    }

    private func powerCut() throws {
        let probability = Double.random(in: 0...1, using: &random)
        let clone = bench.fileSystem.crashClone(probability: probability, using: &random)
        for lane in lanes { lane.abandon() }
        lanes = []
        try bench.restart(clone, seed: random.next())
        try adopt(try bench.directory.recover())
        for id in ends.keys {
            let checkpoint = try bench.checkpoint(id)
            try requireLetters(id, below: min(checkpoint, ends[id] ?? 0))
        }
    }

    /// What the destination refused, and a checkpoint has passed, is a dead letter.
    private func requireLetters(_ id: LogID, below end: UInt64) throws {
        let letters = Set(try bench.letters().filter { $0.log == id }.map(\.offset.rawValue))
        for offset in poison where offset < end && !letters.contains(offset) {
            guard !isLost(offset, id) else { continue }
            Issue.record("\(offset) of \(id) was refused and is no dead letter")
            throw SinkError(code: "letters", message: "wrong")
        }
    }

    /// In the end every refused record is a dead letter, each once.
    func checkLetters(_ seed: UInt64) throws {
        for (id, end) in ends { try requireLetters(id, below: end) }
        let names = try bench.letters().map { "\($0.log)/\($0.offset)" }
        #expect(Set(names).count == names.count, "seed \(seed)")
    }

    private func adopt(_ reports: [RecoveryReport]) throws {
        for report in reports { ends[report.log] = report.endOffset.rawValue }
        for id in ends.keys where try bench.directory.log(id) == nil { ends[id] = nil }
    }

    /// A checkpoint never passes what the destination has.
    private func check() throws {
        for id in ends.keys {
            let checkpoint = try bench.checkpoint(id)
            for offset in 0..<checkpoint where !isDone(offset, id, checkpoint) {
                Issue.record("checkpoint \(checkpoint) of \(id), but not \(offset)")
                throw SinkError(code: "checkpoint", message: "wrong")
            }
        }
    }

    private func isDone(_ offset: UInt64, _ log: LogID, _ checkpoint: UInt64) -> Bool {
        if arrivals.accounts(for: offset, of: log) { return true }
        if arrivals.ends[log] == offset { return true }
        // Other sinks are not told what is missing.
        return !isTransport
    }

    func finish() throws {
        for lane in lanes { try lane.close() }
        for lane in lanes { ends[lane.logID] = lane.nextOffset.rawValue }
        lanes = []
        for _ in 0..<20_000 {
            bench.time.advance(microseconds: 100_000)
            bench.step()
            while let (id, batch) = bench.pending.popLast() {
                bench.driver.handle(.delivered(id, deliver(batch, failing: 0)))
            }
            if try isFinished() { return }
        }
        Issue.record("not everything was delivered in half an hour")
    }

    private func isFinished() throws -> Bool {
        for (id, end) in ends {
            if try bench.checkpoint(id) < (isTransport ? end + 1 : end) { return false }
        }
        return true
    }
}

@Suite("Simulation")
struct SimulationTests {
    @Test(
        "whatever is killed, lost, refused or delayed, every offset is accounted for",
        arguments: [true, false]
    )
    func everything(isTransport: Bool) async throws {
        // On a thread of its own: the others' tasks need theirs.
        try await ThreadOwned(name: "simulation", ()).run { _ throws in
            try simulate(isTransport: isTransport)
        }
    }

    private func simulate(isTransport: Bool) throws {
        var generator = SystemRandom()
        for _ in 0..<12 {
            let seed = generator.next()
            do {
                let simulation = try Simulation(seed: seed, isTransport: isTransport)
                for _ in 0..<600 { try simulation.step() }
                try simulation.finish()
                try simulation.checkLetters(seed)
                for (id, end) in simulation.ends {
                    if isTransport {
                        #expect(simulation.arrivals.firstGap(id, below: end) == nil, "seed \(seed)")
                        #expect(simulation.arrivals.ends[id] == end, "seed \(seed)")
                    } else {
                        let arrived = simulation.arrivals.records[id] ?? [:]
                        for offset in 0..<end where !simulation.poison.contains(offset) {
                            guard arrived[offset] == nil else { continue }
                            // Only what the log itself has lost may be missing.
                            #expect(simulation.isLost(offset, id), "seed \(seed), \(id) \(offset)")
                        }
                    }
                }
            } catch {
                Issue.record("\(error), seed \(seed)")
                return
            }
        }
    }
}

extension Simulation {
    /// Whether the log has no record at an offset.
    fileprivate func isLost(_ offset: UInt64, _ log: LogID) -> Bool {
        guard var reader = try? bench.directory.reader(log, from: Offset(offset)),
            let item = try? reader.next()
        else { return false }
        if case .records = item { return false }
        return true
    }
}
