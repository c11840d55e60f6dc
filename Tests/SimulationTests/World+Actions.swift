import Aggregator
import EventLog
import FileIO
import FileIOTesting
import Pump
import Records

/// Something that happens in a step.
enum Action: String, CaseIterable {
    case append, openLane, closeLane, stepPump, answer, collect, write
    case killNode, cutPower, restartPump, rebalance, expel, killFolder, disturbFold, disturbDisk
    case fillDisk, failSync, shiftClock, backUpNode, restoreNode, runCopy
    case backUpDatabase, restoreDatabase, disconnect, recreateTopic, addPartition, refuseMoves
    case retain, compact
}

extension World {
    /// Lets something happen.
    func perform(_ action: Action) throws {
        guard let node = random.pick(nodes) else { return }
        let folder = random.below(folders.count)
        switch action {
        case .append, .openLane, .closeLane: try write(action, node)
        case .stepPump: node.stepPump()
        case .answer:
            guard !node.pending.isEmpty else { return node.stepPump() }
            try answer(node, index: random.below(node.pending.count))
        case .collect: folders[folder].fold.collect(patience: 400_000)
        case .write:
            if folders[folder].fold.jobCount == 0 {
                folders[folder].fold.collect(patience: 400_000)
            }
            try write(folder)
        case .killFolder: try replace(folder)
        case .disturbFold:
            guard let kind = random.pick(FoldFaults.Kind.allCases) else { return }
            folders[folder].faults.arm(kind, after: 1 + random.below(24))
        case .rebalance: broker.rebalance(shift: random.below(5))
        case .expel:
            guard let id = random.pick(broker.members.keys.sorted()) else { return }
            broker.expel(id)
        case .recreateTopic: try recreateTopic()
        case .addPartition:
            // Logs change theirs.
            if broker.partitions.count < 6 { broker.partitions.append([]) }
            broker.rebalance(shift: 0)
        case .refuseMoves: broker.moveFailures = 3
        case .shiftClock: clock.shift(milliseconds: random.below(20_000) - 15_000)
        case .backUpDatabase: try database.back()
        case .restoreDatabase: _ = try database.restore()
        case .disconnect: try database.disconnectAll()
        case .compact: _ = folders[folder].fold.compact()
        default: try disturb(action, node)
        }
    }

    /// What the gateway does.
    private func write(_ action: Action, _ node: Node) throws {
        guard action != .openLane, !node.lanes.isEmpty else {
            guard node.lanes.count < 3,
                let lane = try? node.directory.openLane(node.lanes.count, Node.laneConfiguration)
            else { return }
            node.lanes.append(lane)
            return try oracle.assign(lane.logID, 0, .marker)
        }
        let index = random.below(node.lanes.count)
        let lane = node.lanes[index]
        if action == .append { return try append(to: node, lane) }
        // A close that fails ends the lane as a kill does.
        let isEnded = (try? lane.close()) != nil
        if isEnded { node.promised[lane.logID] = lane.nextOffset.rawValue }
        node.notePromises()
        node.lanes.remove(at: index)
    }

    /// What befalls a node.
    private func disturb(_ action: Action, _ node: Node) throws {
        switch action {
        case .killNode:
            try settle(node)
            try restart(node, on: node.memory.killClone())
        case .cutPower:
            let probability = Double(random.below(101)) / 100
            try settle(node)
            let files = node.memory.crashClone(probability: probability, using: &random)
            try restart(node, on: files)
        case .restartPump:
            try settle(node)
            // Whoever starts a pump that cannot open its checkpoints tries again.
            node.disk.setPlan(.init())
            try node.restartPump(&random)
        case .disturbDisk:
            node.disk.setPlan(
                FaultingFileSystem.Plan(
                    first: 1 + random.below(12),
                    isForever: false,
                    code: FileIOError.inputOutput,
                    calls: random.chance(60) ? ["pwrite", "fdatasync", "fsync"] : []
                )
            )
        case .fillDisk: node.memory.capacity = UInt64(random.below(60_000))
        case .failSync: node.memory.failSyncs(1 + random.below(2))
        case .backUpNode:
            guard let backup = copy(node) else { return }
            backups.append(backup)
            if backups.count > 3 { backups.removeFirst() }
        case .restoreNode:
            guard let backup = random.pick(backups) else { return }
            node.promised = backup.promised
            try restart(node, on: backup.files.killClone())
        case .runCopy:
            guard nodes.count < 4, let backup = copy(node) else { return }
            try addNode(backup)
        case .retain: try retain(node)
        default: return
        }
    }

    /// What is under way arrives or does not.
    private func settle(_ node: Node) throws {
        node.notePromises()
        for (_, batch) in node.pending where random.chance(50) {
            _ = try deliver(batch, failing: random.pick([0, 0, 30]) ?? 0)
        }
    }

    private func restart(_ node: Node, on files: MemoryFileSystem) throws {
        files.capacity = .max
        try node.restart(on: files, &random)
        try checkFiles(of: node)
    }

    /// The files of a node, when all that is written is synced: what is not could become a record
    /// in one copy and be lost in the other.
    private func copy(_ node: Node) -> Backup? {
        for lane in node.lanes {
            guard (try? lane.write()) != nil, (try? lane.commit()) != nil,
                lane.durableOffset == lane.nextOffset
            else { return nil }
        }
        node.notePromises()
        let files = node.memory.killClone()
        files.capacity = .max
        return Backup(files: files, promised: node.promised)
    }

    /// The topic is lost; the operator lets everything be shipped again.
    private func recreateTopic() throws {
        guard !retains else { return }
        broker.recreate()
        for node in nodes {
            node.disk.setPlan(.init())
            try node.restartPump(reshipping: true, &random)
        }
    }

    /// Deletes segments that have been shipped.
    private func retain(_ node: Node) throws {
        guard retains else { return }
        let consumers = canary == .greedyRetention ? [] : [node.pumped.consumer]
        let deleted = try? node.directory.deleteSegments(
            consumedBy: consumers,
            retain: RetentionPolicy(deletesConsumed: true)
        )
        for tombstone in deleted ?? [] {
            let range =
                tombstone.offsets.lowerBound.rawValue..<tombstone.offsets.upperBound.rawValue
            for offset in range where !oracle.isKnown(tombstone.log, offset) {
                throw Violation(
                    invariant: 6,
                    text: "\(tombstone.log) \(offset) was deleted before it was shipped"
                )
            }
        }
    }
}
