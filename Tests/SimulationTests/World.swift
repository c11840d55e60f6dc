import Aggregator
import EventLog
import FileIO
import FileIOTesting
import Pump
import Records
import Sinks

/// An aggregator, and how to disturb it.
final class Folder {
    let fold: SteppedFold
    let faults: FoldFaults
    let stop: StopSignal

    init(_ fold: SteppedFold, _ faults: FoldFaults, _ stop: StopSignal) {
        self.fold = fold
        self.faults = faults
        self.stop = stop
    }
}

/// Gateways' logs, their pumps, a broker, aggregators and a database, of which one seed decides
/// everything that happens to them.
final class World {
    var random: SplitMix
    let canary: Canary?
    let clock = Clock()
    let broker: SimulatedBroker
    let database: Database
    var oracle = Oracle()
    var nodes: [Node] = []
    var folders: [Folder] = []
    var backups: [Backup] = []
    /// Whether logs are deleted once they are consumed; then the topic is never made anew.
    let retains: Bool
    /// Told of every step.
    var trace: ((String) -> Void)?
    /// What has happened how often.
    var happened: [String: Int] = [:]

    init(seed: UInt64, canary: Canary? = nil) throws {
        var random = SplitMix(seed: seed)
        self.canary = canary
        retains = canary == .greedyRetention || random.chance(40)
        broker = SimulatedBroker(
            partitions: 1 + random.below(4),
            isEager: random.chance(50),
            seed: random.next()
        )
        if canary == .lostMessages { broker.losesEvery = 40 }
        self.random = random
        database = try Database(canary)
        for _ in 0..<(1 + self.random.below(2)) {
            try addNode(Backup(files: MemoryFileSystem(), promised: [:]))
        }
        for _ in 0..<(1 + self.random.below(3)) { addFolder() }
    }

    func addNode(_ backup: Backup) throws {
        nodes.append(try Node(backup, clock: clock, canary: canary, &random))
    }

    func addFolder() {
        let stop = StopSignal()
        let faults = FoldFaults(database.uri, stop)
        var configuration = AggregatorConfiguration(postgres: database.uri)
        configuration.flushInterval = .microseconds(100)
        configuration.flushRecordsMax = random.pick([5, 40, 1_000]) ?? 5
        configuration.messagesPerPollMax = random.pick([3, 50, 2_000]) ?? 3
        configuration.logsRememberedMax = random.pick([3, 100]) ?? 3
        configuration.retryDelayMax = .zero
        configuration.rewindInterval = .milliseconds(50)
        configuration.silenceMax = .milliseconds(50)
        configuration.probeInterval = .milliseconds(500)
        let fold = SteppedFold(
            configuration,
            topic: "sluice.records",
            consumer: SimulatedConsumer(broker),
            time: clock,
            logger: silent,
            stop: stop
        ) { step, backend in faults.observe(step, backend) }
        folders.append(Folder(fold, faults, stop))
    }

    // MARK: One step

    /// What happens, and how often in a thousand steps.
    private static let weights: [(Action, Int)] = [
        (.append, 220), (.openLane, 20), (.closeLane, 15), (.stepPump, 190), (.answer, 180),
        (.collect, 130), (.write, 110), (.killNode, 12), (.cutPower, 12), (.restartPump, 8),
        (.rebalance, 15), (.expel, 8), (.killFolder, 6), (.disturbFold, 25), (.disturbDisk, 14),
        (.fillDisk, 4), (.failSync, 8), (.shiftClock, 4), (.backUpNode, 4), (.restoreNode, 4),
        (.runCopy, 2), (.backUpDatabase, 2), (.restoreDatabase, 3), (.disconnect, 3),
        (.recreateTopic, 2), (.addPartition, 1), (.refuseMoves, 3), (.retain, 6), (.compact, 3),
    ]
    private static let choices = weights.flatMap { action, weight in
        Array(repeating: action, count: weight)
    }

    func step() throws {
        clock.advance(milliseconds: random.below(60))
        guard let action = random.pick(Self.choices) else { return }
        happened[action.rawValue, default: 0] += 1
        try perform(action)
        if let trace {
            trace("\(action) \(try database.positions()) \(broker.partitions.map(\.count))")
        }
        try check(after: action)
    }

    /// A node's lane, if there is one.
    func pickLane() -> (Node, Int)? {
        guard let node = random.pick(nodes), !node.lanes.isEmpty else { return nil }
        return (node, random.below(node.lanes.count))
    }

    /// Appends some records, and hands them to the kernel and the disk, or not.
    func append(to node: Node, _ lane: LaneWriter) throws {
        for _ in 0..<(1 + random.below(12)) {
            let isBad = random.chance(3)
            let request = Request(
                completedAt: clock.wallMicroseconds() - Int64(random.below(7_200_000_000)),
                api: random.pick(["orders", "payments", "stock"]) ?? "",
                bytes: Int64(1 + random.below(1_000_000)),
                latency: Int64(1 + random.below(1_000_000))
            )
            // What the lane refuses now has no offset.
            guard
                let offset = try? lane.append(
                    eventTime: request.completedAt,
                    { encoder in request.encode(into: &encoder, isBad: isBad) }
                )
            else { continue }
            let entry: Entry = isBad ? .bad : .request(request)
            try oracle.assign(lane.logID, offset.rawValue, entry)
        }
        if random.chance(80) { try? lane.write() }
        if random.chance(70) { try? lane.commit() }
    }

    /// Lets the broker answer one delivery, in any order.
    func answer(_ node: Node, index: Int, isKind: Bool = false) throws {
        let (id, batch) = node.pending.remove(at: index)
        let result: DeliveryResult
        switch isKind ? 9 : random.below(10) {
        case 0: result = .retryAll(SinkError(code: "down", message: "nothing arrived"))
        case 1:
            // It arrived, but the answer was lost.
            _ = try deliver(batch, failing: 0)
            result = .retryAll(SinkError(code: "down", message: "no answer"))
        case 2: result = try deliver(batch, failing: 30)
        default: result = try deliver(batch, failing: 0)
        }
        node.driver.handle(.delivered(id, result))
    }

    /// Puts a batch into the broker.
    func deliver(_ batch: SinkBatch, failing percent: Int) throws -> DeliveryResult {
        var result = DeliveryResult()
        broker.deliveries += 1
        defer { trace?("  \(batch.log): \(batch.described); refused: \(result.exceptions)") }
        for item in batch.items {
            guard case .records(let records) = item else {
                if random.chance(percent) {
                    result.add(item.firstOffset, .retry)
                } else {
                    try takeMarker(item, batch)
                }
                continue
            }
            var taken: [(Offset, [UInt8])] = []
            batch.forEachRecord(in: records) { offset, bytes in
                if random.chance(percent) {
                    result.add(offset, .retry)
                } else {
                    taken.append((offset, bytes.octets.copied()))
                }
            }
            for (offset, bytes) in taken {
                try oracle.arrive(batch.log, offset.rawValue, bytes)
                var headers = MessageHeaders()
                headers.log = batch.log
                headers.offset = offset.rawValue
                headers.delivery = broker.deliveries
                broker.append(
                    Message(
                        log: batch.log,
                        offset: offset.rawValue,
                        value: bytes,
                        headers: headers,
                        timestamp: records.appendTime / 1_000
                    )
                )
            }
        }
        return result
    }

    private func takeMarker(_ item: SinkItem, _ batch: SinkBatch) throws {
        var headers = MessageHeaders()
        headers.log = batch.log
        headers.offset = item.firstOffset.rawValue
        headers.delivery = broker.deliveries
        switch item {
        case .records: return
        case .skip(let range, let reason, _):
            headers.marker = .skip
            headers.until = range.upperBound.rawValue
            headers.reason = reason
            let offsets = range.lowerBound.rawValue..<range.upperBound.rawValue
            try oracle.skip(batch.log, offsets, reason)
        case .end:
            headers.marker = .end
            oracle.end(batch.log)
        }
        broker.append(
            Message(
                log: batch.log,
                offset: item.firstOffset.rawValue,
                value: nil,
                headers: headers,
                timestamp: batch.appendTime / 1_000
            )
        )
    }

    /// Writes an aggregator's oldest batch; one that was killed meanwhile is replaced.
    func write(_ index: Int) throws {
        let folder = folders[index]
        folder.faults.begin()
        guard !folder.fold.write() else { return }
        if folder.faults.isStuck {
            throw Violation(invariant: 9, text: "a batch is refused again and again")
        }
        try replace(index)
    }

    /// An aggregator is killed, and another one started.
    func replace(_ index: Int) throws {
        let folder = folders.remove(at: index)
        for (step, count) in folder.faults.hit { happened["fold: \(step)", default: 0] += count }
        folder.fold.close()
        addFolder()
    }
}

extension SinkBatch {
    /// Its items, for traces.
    var described: String {
        items.map { item in
            switch item {
            case .records(let records):
                "\(records.baseOffset)..<\(records.nextOffset) of "
                    + (wanted.map { "\($0)" } ?? "all")
            case .skip(let range, let reason, _): "\(range) \(reason.rawValue)"
            case .end: "end at \(item.firstOffset)"
            }
        }
        .joined(separator: ", ")
    }
}

extension Request {
    /// Encodes the fields from kind on.
    func encode(into encoder: inout RecordEncoder, isBad: Bool) {
        encoder.put(.kind, UInt64(RecordKind.request.rawValue))
        encoder.put(.completedAt, signed: completedAt)
        encoder.put(.outcome, UInt64(Outcome.ok.rawValue))
        encoder.put(.org, "acme")
        encoder.put(.api, api)
        encoder.put(.status, UInt64(200))
        encoder.put(.durationUS, UInt64(latency))
        encoder.put(.responseBytes, UInt64(bytes))
        if isBad { encoder.bytes.append(contentsOf: [0x3A, 0xFF]) }
    }
}
