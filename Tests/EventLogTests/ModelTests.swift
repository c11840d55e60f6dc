import EventLog
import FileIO
import FileIOTesting
import Records
import Testing

/// The log as it should be: a hundred lines that say what the other thousands must do.
private struct Model {
    /// One log.
    struct Log {
        /// The text of each offset; offset 0 is the log's start.
        var texts = ["log_start"]
        /// How many are known to the kernel.
        var written: UInt64 = 1
        /// How many are durable.
        var durable: UInt64 = 0
        /// The end offset, once the log has ended.
        var end: UInt64?
        /// Offsets that recovery has reported as lost.
        var lost: [Range<UInt64>] = []
        /// Everything below has been deleted.
        var deleted: UInt64 = 0
        /// The consumer's checkpoint.
        var checkpoint: UInt64 = 0
    }

    var logs: [LogID: Log] = [:]

    /// What a reader from offset 0 must return, up to the durable mark.
    func expected(_ id: LogID) -> [Seen] {
        guard let log = logs[id] else { return [] }
        var result: [Seen] = []
        let limit = log.end ?? log.durable
        var offset: UInt64 = 0
        if log.deleted > 0 {
            result.append(.skip(0..<log.deleted, .expired))
            offset = log.deleted
        }
        while offset < limit {
            if let range = log.lost.first(where: { $0.contains(offset) }) {
                result.append(.skip(offset..<min(range.upperBound, limit), .damaged))
                offset = range.upperBound
            } else {
                result.append(.record(offset, log.texts[Int(offset)]))
                offset += 1
            }
        }
        if let end = log.end { result.append(.end(end)) }
        return result
    }
}

/// A random walk over everything that can be done to logs.
private struct Walk {
    var random: Seeded
    var model = Model()
    var fileSystem: MemoryFileSystem
    let time = ManualTimeSource()
    var directory: LogDirectory
    var lane: LaneWriter?
    let sync: SyncMode
    var trace: [String] = []

    init(seed: UInt64, sync: SyncMode) throws {
        random = Seeded(seed)
        self.sync = sync
        fileSystem = MemoryFileSystem()
        directory = try makeDirectory(fileSystem, time: time)
    }

    mutating func step() throws {
        time.advance(microseconds: 1_000)
        let dice = Int.random(in: 0..<100, using: &random)
        guard let lane else { return try open() }
        switch dice {
        case 0..<40: try append(lane)
        case 40..<60: try write(lane)
        case 60..<80: try commit(lane)
        case 80..<84: try checkpoint()
        case 84..<87: try delete()
        case 87..<92: try read()
        case 92..<94: try close(lane)
        case 94..<97: try crash(lane, kill: true)
        default: try crash(lane, kill: false)
        }
    }

    mutating func open() throws {
        let segmentBytes = 4096 + Int.random(in: 100..<3000, using: &random)
        let lane = try directory.openLane(
            0,
            smallConfiguration(sync: sync, segmentBytes: segmentBytes)
        )
        self.lane = lane
        var log = Model.Log()
        log.durable = sync == .os ? 1 : 0
        model.logs[lane.logID] = log
        trace.append("open")
    }

    mutating func append(_ lane: LaneWriter) throws {
        for _ in 0..<Int.random(in: 1...4, using: &random) {
            let length = Int.random(in: 0..<200, using: &random)
            let text = "\(lane.nextOffset) " + String(repeating: "x", count: length)
            let offset = try lane.append(text: text)
            #expect(offset.rawValue == UInt64(model.logs[lane.logID]?.texts.count ?? 0))
            model.logs[lane.logID]?.texts.append(text)
            // A full batch is written without being asked.
            let written = lane.writtenOffset.rawValue
            #expect(written >= model.logs[lane.logID]?.written ?? 0 && written <= offset.rawValue)
            model.logs[lane.logID]?.written = written
            if sync == .os { model.logs[lane.logID]?.durable = written }
        }
        trace.append("append")
    }

    mutating func write(_ lane: LaneWriter) throws {
        try lane.write()
        note(written: lane)
        trace.append("write")
    }

    mutating func note(written lane: LaneWriter) {
        let count = UInt64(model.logs[lane.logID]?.texts.count ?? 0)
        #expect(lane.writtenOffset == Offset(count))
        model.logs[lane.logID]?.written = count
        if sync == .os { model.logs[lane.logID]?.durable = count }
    }

    mutating func commit(_ lane: LaneWriter) throws {
        let faults = Int.random(in: 0..<12, using: &random)
        if faults < 3 { fileSystem.failSyncs(faults) }
        trace.append("commit, \(faults < 3 ? faults : 0) faults")
        do {
            try lane.commit()
        } catch {
            // The disk fails again while everything is written elsewhere; later it works.
            fileSystem.failSyncs(0)
            try lane.commit()
        }
        fileSystem.failSyncs(0)
        let written = model.logs[lane.logID]?.written ?? 0
        #expect(lane.durableOffset == Offset(written))
        model.logs[lane.logID]?.durable = written
    }

    mutating func close(_ lane: LaneWriter) throws {
        try lane.close()
        trace.append("close")
        self.lane = nil
        let count = UInt64(model.logs[lane.logID]?.texts.count ?? 0)
        model.logs[lane.logID]?.written = count
        model.logs[lane.logID]?.durable = count
        model.logs[lane.logID]?.end = count
    }

    mutating func checkpoint() throws {
        guard let id = model.logs.keys.sorted().randomElement(using: &random),
            let log = model.logs[id]
        else { return }
        let offset = UInt64.random(
            in: log.checkpoint...max(log.checkpoint, log.durable),
            using: &random
        )
        try directory.checkpoints(consumer: "consumer").store(id, Offset(offset))
        #expect(try directory.checkpoints(consumer: "consumer").load(id) == Offset(offset))
        model.logs[id]?.checkpoint = offset
        trace.append("checkpoint \(offset)")
    }

    mutating func delete() throws {
        let tombstones = try directory.deleteSegments(
            consumedBy: ["consumer"],
            retain: RetentionPolicy(deletesConsumed: true)
        )
        for tombstone in tombstones {
            let log = try #require(model.logs[tombstone.log])
            // A power cut in mode os may have taken the first segment.
            #expect(tombstone.offsets.lowerBound >= Offset(log.deleted))
            #expect(sync == .os || tombstone.offsets.lowerBound == Offset(log.deleted))
            #expect(tombstone.offsets.upperBound <= Offset(log.checkpoint))
            #expect(tombstone.offsets.upperBound <= Offset(log.durable))
            model.logs[tombstone.log]?.deleted = tombstone.offsets.upperBound.rawValue
        }
        for (id, log) in model.logs where log.end == log.deleted {
            let isGone = try directory.log(id) == nil
            if isGone { model.logs[id] = nil }
        }
        trace.append("delete \(tombstones.count)")
    }

    mutating func read() throws {
        for id in model.logs.keys.sorted() {
            let difference = firstDifference(try readAll(directory, id), model.expected(id))
            #expect(difference == nil)
            if difference != nil { throw EventLogError.unknownLog(id) }
        }
        trace.append("read")
    }

    mutating func crash(_ lane: LaneWriter, kill: Bool) throws {
        let probability = Double.random(in: 0...1, using: &random)
        trace.append(kill ? "kill" : "power cut \(probability)")
        let clone =
            kill
            ? fileSystem.killClone()
            : fileSystem.crashClone(probability: probability, using: &random)
        lane.abandon()
        self.lane = nil
        fileSystem = clone
        directory = try makeDirectory(clone, time: time)
        // The mark may be older than it was; the checkpoint never is.
        let reports = try directory.recover()
        for report in reports { try adopt(report, kill: kill) }
        // In mode os a power cut may take a whole log with it.
        for (id, log) in model.logs where try directory.log(id) == nil {
            #expect(!kill && log.end == nil && (sync == .os || log.durable == 0))
            model.logs[id] = nil
        }
        #expect(try directory.recover().isEmpty)
        if sync == .os && !kill { try adoptUnsynced() }
        try read()
    }

    /// Mode os promises nothing across a power cut but that what is read is what was written.
    mutating func adoptUnsynced() throws {
        for id in model.logs.keys.sorted() {
            var lost: [Range<UInt64>] = []
            for item in try readAll(directory, id) {
                switch item {
                case .record(let offset, let text):
                    #expect(model.logs[id]?.texts[Int(offset)] == text)
                case .skip(let range, .damaged): lost.append(range)
                case .skip: break
                case .end(let end): model.logs[id]?.end = end
                }
            }
            model.logs[id]?.lost = lost
        }
    }

    /// Checks what recovery found against what must be there.
    mutating func adopt(_ report: RecoveryReport, kill: Bool) throws {
        var log = try #require(model.logs[report.log])
        let end = report.endOffset.rawValue
        let sure = kill ? log.written : sync == .os ? log.checkpoint : log.durable
        #expect(end >= sure && end <= UInt64(log.texts.count))
        log.lost = report.losses.map {
            $0.offsets.lowerBound.rawValue..<$0.offsets.upperBound.rawValue
        }
        if sync != .os || kill {
            #expect(log.lost.allSatisfy { $0.lowerBound >= sure })
            #expect(report.losses.allSatisfy { $0.kind == .lostBeforeSync })
        }
        let lost = log.lost.reduce(0) { $0 + $1.count }
        #expect(report.recordCount == end - log.deleted - UInt64(lost))
        log.end = end
        log.written = end
        log.durable = end
        model.logs[report.log] = log
    }
}

@Suite("Model")
struct ModelTests {
    @Test(
        "random appends, syncs, failures, crashes, deletions and reads agree with the model",
        arguments: SyncMode.allCases
    )
    func walk(sync: SyncMode) throws {
        var generator = SystemRandom()
        for _ in 0..<4 {
            let seed = generator.next()
            var walk = try Walk(seed: seed, sync: sync)
            for _ in 0..<300 {
                do {
                    try walk.step()
                } catch {
                    let trace = walk.trace.suffix(30).joined(separator: ", ")
                    Issue.record("\(error), seed \(seed), mode \(sync), after \(trace)")
                    return
                }
            }
        }
    }
}
