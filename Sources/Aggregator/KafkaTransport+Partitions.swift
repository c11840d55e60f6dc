import Logging
import Records
import Telemetry

/// Which partitions there are, and where each of them goes on.
extension KafkaTransport {
    // MARK: Events

    /// Takes over what happened to the consumer.
    func handle(_ event: ConsumerEvent) {
        switch event {
        case .assigned(let numbers):
            metrics.rebalanced(.assigned)
            logger.info("partitions assigned", metadata: ["partitions": "\(numbers.sorted())"])
            for number in numbers { partitions[number] = AssignedPartition(number) }
            askPartitionsAt = 0
            if numbers.isEmpty {
                answer { consumer throws(TransportError) in try consumer.assign([:]) }
            }
        case .revoked(let numbers): giveUp(numbers, .revoked)
        case .lost(let numbers): giveUp(numbers, .lost)
        case .gone(let number):
            // When it is there again, it may be another one: what it ends with is looked at first.
            // So may those be that the client has not missed, because the topic was away for an
            // instant only.
            guard let partition = partitions[number], !partition.isGone else { return }
            partition.isGone = true
            for partition in partitions.values { partition.reposition() }
        case .failed(let error): complain(error)
        }
    }

    /// Lets go of partitions. What has been collected of them is still written: whoever has them
    /// now folds it too, and one of the two finds that it is folded.
    private func giveUp(_ numbers: [Int32], _ reason: AggregatorMetrics.Rebalance) {
        metrics.rebalanced(reason)
        logger.info(
            "partitions \(reason.rawValue)",
            metadata: ["partitions": "\(numbers.sorted())"]
        )
        for number in numbers {
            guard let partition = partitions.removeValue(forKey: number) else { continue }
            notePosition(of: partition)
            committed[number] = nil
        }
        touched.removeAll { numbers.contains($0.number) }
        answer { consumer throws(TransportError) in try consumer.unassign(numbers) }
    }

    private func answer(
        _ body: (any TransportConsumer) throws(TransportError) -> Void
    ) {
        do throws(TransportError) { try body(consumer) } catch { complain(error) }
    }

    /// Reports an error of the consumer, now and then; ends if it cannot go on.
    func complain(_ error: TransportError) {
        metrics.consumerErrors.add()
        if error.isFatal {
            logger.error("the consumer has failed for good", metadata: ["error": "\(error)"])
            failure.set(error)
            stop.stop()
        } else if now >= complainAt {
            complainAt = now &+ 10_000_000_000
            logger.warning("the consumer has trouble", metadata: ["error": "\(error)"])
        }
    }

    // MARK: Asking the database

    var examination: Examination {
        let now = self.now
        var examination = Examination(logs: Array(unasked))
        if !unbound.isEmpty, now >= askUnboundAt {
            askUnboundAt = now &+ 1_000_000_000
            examination.logs += unbound
            unbound.removeAll()
        }
        guard now >= askPartitionsAt else { return examination }
        let waiting = partitions.values.filter { $0.isWaiting }.map(\.number)
        guard !waiting.isEmpty else { return examination }
        if clusterID == nil { clusterID = consumer.clusterID() }
        guard let clusterID else {
            askPartitionsAt = now &+ 100_000_000
            return examination
        }
        examination.partitions = waiting
        examination.clusterID = clusterID
        examination.topic = topic.name
        return examination
    }

    func adopt(_ state: FoldedState, _ examination: Examination) {
        let newCount = examination.logs.count { logs[$0] == nil }
        if logs.count + newCount > configuration.logsRememberedMax {
            logs.removeAll()
            latestLog = nil
        }
        for id in examination.logs {
            unasked.remove(id)
            if let log = logs[id] {
                log.seen.formUnion(state.folded[id] ?? OffsetRanges())
                if log.trust.isOpen { log.trust = LogTrust(stored: state.orgs[id]) }
                continue
            }
            logs[id] = KafkaLog(
                id: id,
                seen: state.folded[id] ?? OffsetRanges(),
                trust: LogTrust(stored: state.orgs[id]),
                endTaken: state.ends[id]
            )
        }
        var starts: [Int32: Int64] = [:]
        var moves: [Int32: Int64] = [:]
        let now = self.now
        if !examination.partitions.isEmpty { forgetSearches() }
        for number in examination.partitions {
            guard let partition = partitions[number], partition.isWaiting else { continue }
            let stored = storedPosition(number, state)
            let start = stored?.landmarks.first?.place ?? StoredPosition.beginning
            guard partition.state == .assigning else {
                moves[number] = start
                continue
            }
            starts[number] = start
            partition.begin(at: stored, now: now)
            if stored == nil { noteBeginning(of: partition) }
        }
        if !starts.isEmpty {
            answer { consumer throws(TransportError) in try consumer.assign(starts) }
        }
        guard move(moves) else {
            askPartitionsAt = now &+ 100_000_000
            return
        }
        for partition in partitions.values where moves[partition.number] != nil {
            let stored = storedPosition(partition.number, state)
            partition.begin(at: stored, now: now)
            if stored == nil { noteBeginning(of: partition) }
        }
    }

    /// Forgets which missing offsets were looked for: a rewind that was under way may have come to
    /// nothing, because its position was not committed or its partition went to somebody else.
    private func forgetSearches() {
        for log in logs.values {
            log.gapAsked = nil
            log.gapSought = nil
        }
    }

    /// Where the database says that a partition goes on; nil for its beginning.
    private func storedPosition(_ number: Int32, _ state: FoldedState) -> StoredPosition? {
        state.positions[number].flatMap { $0.nextOffset > 0 ? $0 : nil }
    }

    /// Lets partitions go on elsewhere; false if that has to be tried again.
    ///
    /// A group that waits for an answer gets that first.
    private func move(_ positions: [Int32: Int64]) -> Bool {
        guard !positions.isEmpty else { return true }
        guard !partitions.values.contains(where: { $0.state == .assigning }) else { return false }
        do throws(TransportError) {
            try consumer.move(positions)
            return true
        } catch {
            complain(error)
            return false
        }
    }

    // MARK: Positions

    /// Whether a message is to be taken; finds out whether the topic is still the one that the
    /// stored position speaks of.
    func admits(_ message: ConsumedMessage, to partition: AssignedPartition) -> Bool {
        switch partition.state {
        case .following:
            guard let next = partition.next, message.offset != next else { return true }
            guard message.offset > next else {
                // The consumer found nothing at its position, and went back by itself.
                startRewind(of: partition, ["position": "\(next)", "found": "\(message.offset)"])
                return false
            }
            guard partition.gapSought != next else { return true }
            // Asked for again, in case it is the client that left something out.
            partition.gapSought = next
            partition.state = .returning
            return false
        case .assigning, .repositioning, .rewinding, .returning: return false
        case .verifying(let landmark):
            if landmark.isFound(in: message) {
                partition.noteVerified(landmark, now: now)
            } else {
                startRewind(
                    of: partition,
                    ["expected": "\(landmark.place)", "found": "\(message.offset)"]
                )
            }
            return false
        }
    }

    /// Takes nothing more of a partition before it is read from its beginning.
    func startRewind(of partition: AssignedPartition, _ why: Logger.Metadata) {
        metrics.rewinds.add()
        logger.warning(
            "a partition is not as it was left, reading it from its beginning",
            metadata: why.merging(["partition": "\(partition.number)"]) { $1 }
        )
        partition.state = .rewinding
    }

    /// Moves partitions that are to be read from their beginnings, or from their positions again;
    /// not from within `poll`, where messages that were fetched before are still handed over.
    func movePartitions() {
        var moves: [Int32: Int64] = [:]
        for partition in partitions.values {
            switch partition.state {
            case .rewinding: moves[partition.number] = StoredPosition.beginning
            case .returning:
                let place = partition.unverified?.place ?? partition.next
                moves[partition.number] = place ?? StoredPosition.beginning
            case .assigning, .repositioning, .verifying, .following: break
            }
        }
        guard !moves.isEmpty, move(moves) else { return }
        let now = self.now
        for partition in partitions.values where moves[partition.number] != nil {
            if partition.state == .returning, let landmark = partition.unverified {
                partition.verify(landmark, now: now)
                continue
            }
            partition.epoch &+= 1  // only compared
            partition.quietSince = now
            if partition.state == .rewinding {
                partition.unverified = nil
                partition.next = nil
                partition.base = nil
                partition.last = nil
                partition.anchor = nil
                partition.replaces = true
                noteBeginning(of: partition)
            }
            partition.state = .following
        }
    }

    // MARK: Probing

    /// Looks now and then whether partitions are still those that the database speaks of.
    ///
    /// A topic may be made again and grow beyond the position before the client notices, and a
    /// broker that was emptied may answer a fetch beyond its end with nothing for ever instead of
    /// an error. So a message that was taken a while ago is expected where it was: each partition
    /// is asked for it again, and one that is silent although it is there is looked up.
    func probePartitions() {
        let now = self.now
        let silence = UInt64(clamping: configuration.silenceMax.nanoseconds)
        let interval = UInt64(clamping: configuration.probeInterval.nanoseconds)
        var probes: [Int32: Int64] = [:]
        for partition in partitions.values {
            switch partition.state {
            case .verifying(let landmark) where now >= partition.quietSince &+ silence:
                partition.quietSince = now
                guard let (low, high) = consumer.askWatermarks(partition.number) else { return }
                // Some brokers tell the beginning of the last batch instead of its end.
                guard high > low, high <= landmark.place else { continue }
                startRewind(
                    of: partition,
                    ["expected": "\(landmark.place)", "end": "\(high)"]
                )
            case .following where now >= partition.anchoredAt &+ interval:
                guard let anchor = partition.anchor else { continue }
                probes[partition.number] = anchor.place
            case .assigning, .repositioning, .rewinding, .returning, .verifying, .following: break
            }
        }
        guard move(probes) else {
            // It may still be carried out, or never.
            for number in probes.keys { partitions[number]?.reposition() }
            return
        }
        for number in probes.keys {
            guard let partition = partitions[number], let anchor = partition.anchor else {
                continue
            }
            partition.verify(anchor, now: now)
        }
        movePartitions()
    }

    /// Remembers that a partition is being read from its beginning.
    private func noteBeginning(of partition: AssignedPartition) {
        let interval = UInt64(clamping: configuration.rewindInterval.nanoseconds)
        partition.rewindableAt = now &+ interval
    }

    /// Counts a message as taken: the position stands behind it.
    func advance(_ partition: AssignedPartition, over message: ConsumedMessage) {
        if let next = partition.next, message.offset > next {
            metrics.messagesMissing.add(UInt64(message.offset - next))
        }
        if partition.base == nil {
            partition.base = partition.next ?? message.offset
            touched.append(partition)
        }
        partition.next = message.offset &+ 1  // offsets of a broker are far below the limit
        let taken = Landmark(message)
        partition.last = taken
        if partition.anchor == nil {
            partition.anchor = taken
            partition.anchoredAt = polledAt
        }
    }

    /// Puts the position of a partition into the batch.
    func notePosition(of partition: AssignedPartition) {
        guard let base = partition.base, let next = partition.next else { return }
        partition.base = nil
        current.positions.append(
            TransportOffset(
                clusterID: clusterID ?? "",
                topic: topic.name,
                partition: partition.number,
                baseOffset: base,
                nextOffset: next,
                replaces: partition.replaces,
                last: partition.last,
                anchor: partition.anchor
            )
        )
        partition.replaces = false
    }
}
