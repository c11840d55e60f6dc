import Aggregator
import EventLog
import FileIOTesting
import Pump
import Records
import Rollups

/// The invariants.
extension World {
    /// What can be checked after every step.
    func check(after action: Action) throws {
        for node in nodes {
            node.notePromises()
            try checkPump(of: node, sabotages: canary == .earlyCheckpoint && action == .stepPump)
        }
        switch action {
        case .write, .compact, .restoreDatabase: try checkDatabase()
        default: break
        }
    }

    /// 7 and 8: checkpoints stay behind the broker, and what is under way is bounded.
    private func checkPump(of node: Node, sabotages: Bool) throws {
        let directory = try node.inspect()
        let store = try directory.checkpoints(consumer: node.pumped.consumer)
        if sabotages, let (log, durable) = node.promised.max(by: { $0.key < $1.key }) {
            try store.store(log, Offset(durable))
        }
        for log in node.promised.keys.sorted() {
            let checkpoint = store.load(log).rawValue
            let arrived = oracle.firstMissing(log)
            guard checkpoint > arrived else { continue }
            guard checkpoint == arrived + 1, oracle.ended.contains(log) else {
                throw Violation(
                    invariant: 7,
                    text: "checkpoint \(checkpoint) of \(log), of which \(arrived) is missing"
                )
            }
        }
        guard node.pending.count <= Node.flightsMax else {
            throw Violation(invariant: 8, text: "\(node.pending.count) deliveries are under way")
        }
    }

    /// 1 and 6: what was promised can be read after a crash.
    func checkFiles(of node: Node) throws {
        let directory = try node.inspect()
        for (log, end) in node.promised.sorted(by: { $0.key < $1.key }) where end > 0 {
            var next: UInt64 = 0
            if try directory.log(log) != nil {
                var reader = try directory.reader(log, from: .zero)
                reading: while let item = try reader.next() {
                    switch item {
                    case .records(let batch): next = batch.nextOffset.rawValue
                    case .skip(let range, let reason):
                        let isEarly = range.lowerBound.rawValue < end
                        if reason == .damaged, isEarly {
                            throw Violation(invariant: 1, text: "\(log) lost \(range) of \(end)")
                        }
                        next = range.upperBound.rawValue
                    case .end: break reading
                    }
                }
            } else {
                let gone = try directory.tombstones().filter { $0.log == log }
                next = gone.map(\.offsets.upperBound.rawValue).max() ?? 0
            }
            guard next >= end else {
                throw Violation(invariant: 1, text: "\(log) ends at \(next), promised were \(end)")
            }
        }
    }

    /// 3, 4, 5 and 9: rollups, ledger and dead letters say what `source` says, at any time.
    @discardableResult
    func checkDatabase() throws -> [LogID: OffsetRanges] {
        let folded = try database.folded()
        let ledger = try database.ledger()
        let letters = try database.letters()
        var totals = Totals()
        var counts: [LogID: (bad: Int64, skipped: Int64)] = [:]
        for (log, offsets) in folded {
            var bad: Int64 = 0
            var skipped: Int64 = 0
            for range in offsets.ranges {
                for offset in range {
                    guard oracle.isKnown(log, offset) else {
                        throw Violation(invariant: 4, text: "\(log) \(offset) never arrived")
                    }
                    switch oracle.told(log, offset) {
                    case nil: skipped += 1
                    case .marker: break
                    case .bad: bad += 1
                    case .request(let request): totals.add(request)
                    }
                }
            }
            counts[log] = (bad, skipped)
        }
        let found = try database.totals()
        guard found == totals else {
            throw Violation(
                invariant: found.requests == totals.requests ? 5 : 3,
                text: "the rollups say \(found), folded are \(totals)"
            )
        }
        for (log, offsets) in folded {
            let (bad, skipped) = counts[log] ?? (0, 0)
            let said = ledger[log] ?? (0, 0, 0)
            let count = Int64(offsets.offsetCount)
            guard said.folded + said.parked + said.skipped == count, said.skipped == skipped else {
                throw Violation(
                    invariant: 4,
                    text:
                        "the ledger of \(log) says \(said), folded are \(count), \(skipped) skipped"
                )
            }
            guard said.parked == bad, letters[log] ?? 0 == bad else {
                throw Violation(
                    invariant: 9,
                    text: "\(bad) records of \(log) are bad, \(said.parked) were parked, "
                        + "\(letters[log] ?? 0) are there"
                )
            }
        }
        return folded
    }

    // MARK: The end

    /// Mends everything, lets everything arrive, and compares everything.
    func finish() throws {
        for node in nodes {
            node.disk.setPlan(.init())
            node.memory.capacity = .max
            node.memory.failSyncs(0)
            for lane in node.lanes {
                guard (try? lane.close()) != nil else { continue }
                node.promised[lane.logID] = lane.nextOffset.rawValue
            }
            node.lanes = []
            // Logs whose lane could not be closed are sealed.
            try node.restart(on: node.memory.killClone(), &random)
            try checkFiles(of: node)
            // A pump that was killed, or restored from a backup, may not have shipped everything
            // again that was lost with a topic.
            let isTopicNew = happened[Action.recreateTopic.rawValue] != nil && !retains
            if isTopicNew { try node.restartPump(reshipping: true, &random) }
        }
        broker.moveFailures = 0
        broker.rebalance(shift: 0)
        var missing: String? = "nothing was tried"
        var idle = 0
        var before: UInt64 = 0
        // Two seconds each. A topic that was made anew behind a consumer's back is noticed when its
        // partitions are looked at, every half minute.
        while missing != nil, idle < 40 {
            for _ in 0..<10 { try calmRound() }
            let folded = try checkDatabase()
            missing = try firstUnfolded(folded)
            let count = folded.values.reduce(0) { $0 + $1.offsetCount }
            idle = count == before ? idle + 1 : 0
            before = count
        }
        if let missing {
            throw Violation(
                invariant: 4,
                text: "\(missing) was never folded; positions \(try database.positions()) of "
                    + "\(broker.partitions.map(\.count)), members \(broker.members), "
                    + folders.map(\.fold.summary).joined(separator: " | ")
            )
        }
        for node in nodes { try checkPump(of: node, sabotages: false) }
        try checkTables()
        for folder in folders {
            for (step, count) in folder.faults.hit {
                happened["fold: \(step)", default: 0] += count
            }
        }
    }

    /// Everybody does his work, and nothing happens to anybody.
    private func calmRound() throws {
        clock.advance(milliseconds: 200)
        for node in nodes {
            node.stepPump()
            while !node.pending.isEmpty { try answer(node, index: 0, isKind: true) }
        }
        for index in folders.indices.reversed() {
            folders[index].faults.arm(.lost, after: 0)
            for _ in 0..<3 {
                folders[index].fold.collect(patience: 1_000_000)
                try write(index)
            }
        }
    }

    /// The first offset that lies in a log or in the broker and is not folded.
    private func firstUnfolded(_ folded: [LogID: OffsetRanges]) throws -> String? {
        for node in nodes {
            let directory = try node.inspect()
            for summary in try directory.logs() {
                let end = summary.endOffset ?? summary.durableOffset
                let hole = folded[summary.id]?.firstHole ?? 0
                guard hole < end.rawValue else { continue }
                let store = try directory.checkpoints(consumer: node.pumped.consumer)
                return "\(summary.id) \(hole) of \(end), with the broker: "
                    + "\(oracle.isKnown(summary.id, hole)), checkpoint \(store.load(summary.id))"
            }
        }
        for message in broker.partitions.joined() where message.headers.marker == nil {
            if folded[message.log]?.contains(message.offset) != true {
                return "\(message.log) \(message.offset), of the broker"
            }
        }
        return nil
    }

    /// 5: every row of every rollup, by bucket and API.
    private func checkTables() throws {
        if let refused = folders[0].fold.compact() {
            throw Violation(invariant: 5, text: "compaction: \(refused)")
        }
        var requests: [Request] = []
        for (log, offsets) in try checkDatabase() {
            for range in offsets.ranges {
                for offset in range {
                    if case .request(let request) = oracle.told(log, offset) {
                        requests.append(request)
                    }
                }
            }
        }
        for definition in RollupDefinition.builtIn {
            let byAPI = definition.dimensions.contains { $0.name == "api" }
            for tier in definition.tiers {
                var expected: [String: Totals] = [:]
                for request in requests {
                    let bucket = tier.bucket(of: request.completedAt)
                    let key = "\(bucket) \(byAPI ? request.api : "")"
                    expected[key, default: Totals()].add(request)
                }
                let found = try database.table(definition, tier)
                guard found == expected else {
                    let key = expected.keys.first { expected[$0] != found[$0] } ?? "another row"
                    throw Violation(
                        invariant: 5,
                        text: "\(definition.name) \(tier.rawValue) at \(key): "
                            + "\(found[key].map { "\($0)" } ?? "none")"
                    )
                }
            }
        }
    }
}
