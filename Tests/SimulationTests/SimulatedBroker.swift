import Aggregator
import EventLog
import Records
import Sinks

/// A message as it lies in the broker.
struct Message {
    let log: LogID
    let offset: UInt64
    var value: [UInt8]?
    var headers = MessageHeaders()
    let timestamp: Int64
}

/// One topic of one broker, with one consumer group, in memory and on one thread.
final class SimulatedBroker {
    struct Member {
        /// Partitions that it may fetch from, and from where.
        var positions: [Int32: Int64] = [:]
        /// Partitions that it holds in the group.
        var owned: Set<Int32> = []
        /// Whether it has to answer an event first.
        var isAnswering = false
        /// Whether the group took its partitions away behind its back.
        var isExpelled = false
        var isPaused = false
    }

    var partitions: [[Message]]
    var members: [Int: Member] = [:]
    /// Who ought to have each partition.
    private var target: [Int32: Int] = [:]
    private var nextMember = 0
    private var random: SplitMix
    private let isEager: Bool
    /// How many moves will be refused.
    var moveFailures = 0
    /// A planted bug: every so many messages one is acknowledged and lost.
    var losesEvery: Int?
    private var sent = 0
    /// How many deliveries there have been, in all topics of this name.
    var deliveries: UInt64 = 0

    init(partitions: Int, isEager: Bool, seed: UInt64) {
        self.partitions = Array(repeating: [], count: partitions)
        self.isEager = isEager
        random = SplitMix(seed: seed)
    }

    func append(_ message: Message) {
        sent += 1
        if let losesEvery, sent % losesEvery == 0 { return }
        partitions[Int(message.log.low % UInt64(partitions.count))].append(message)
    }

    /// Deletes and makes the topic anew; everybody loses what he had.
    func recreate() {
        for index in partitions.indices { partitions[index] = [] }
        for id in members.keys.sorted() { expel(id) }
    }

    /// The group takes everything from a member, which does not know yet.
    func expel(_ id: Int) {
        members[id]?.isExpelled = true
        members[id]?.owned = []
    }

    /// Gives the partitions out anew.
    func rebalance(shift: Int) {
        let ids = members.keys.sorted()
        target = [:]
        guard !ids.isEmpty else { return }
        for partition in partitions.indices {
            target[Int32(partition)] = ids[(partition + shift) % ids.count]
        }
    }

    func join() -> Int {
        nextMember += 1
        members[nextMember] = Member()
        rebalance(shift: 0)
        return nextMember
    }

    func leave(_ id: Int) {
        members[id] = nil
        rebalance(shift: 0)
    }

    /// What a member has to be told next.
    func nextEvent(of id: Int) -> ConsumerEvent? {
        guard var member = members[id], !member.isAnswering else { return nil }
        defer { members[id] = member }
        if member.isExpelled {
            member.isExpelled = false
            member.isAnswering = true
            return .lost(member.positions.keys.sorted())
        }
        let wanted = Set(target.filter { $0.value == id }.keys)
        let surplus =
            isEager && wanted != member.owned ? member.owned : member.owned.subtracting(wanted)
        if !surplus.isEmpty {
            member.isAnswering = true
            return .revoked(surplus.sorted())
        }
        var taken: Set<Int32> = []
        for (other, state) in members where other != id { taken.formUnion(state.owned) }
        let gained = wanted.subtracting(member.owned).subtracting(taken)
        guard !gained.isEmpty, !isEager || gained == wanted else { return nil }
        member.owned.formUnion(gained)
        member.isAnswering = true
        return .assigned(gained.sorted())
    }

    /// A message of one of a member's partitions, and it moves on.
    func nextMessage(of id: Int) -> (Int32, Int64, Message)? {
        guard var member = members[id], !member.isPaused, !member.isAnswering else { return nil }
        defer { members[id] = member }
        for partition in member.positions.keys.sorted().shuffled(using: &random) {
            let messages = partitions[Int(partition)]
            var offset = member.positions[partition] ?? 0
            // As librdkafka with auto.offset.reset=earliest.
            if offset < 0 || offset > messages.count { offset = 0 }
            member.positions[partition] = offset
            guard offset < messages.count else { continue }
            member.positions[partition] = offset + 1
            return (partition, offset, messages[Int(offset)])
        }
        return nil
    }
}

/// A member of the simulated group.
final class SimulatedConsumer: TransportConsumer {
    private let broker: SimulatedBroker
    let id: Int

    init(_ broker: SimulatedBroker) {
        self.broker = broker
        id = broker.join()
    }

    var waker: @Sendable () -> Void { {} }

    func poll(
        timeout: Duration,
        countMax: Int,
        take: (ConsumedMessage, Span<UInt8>, Span<UInt8>) -> Void,
        handle: (ConsumerEvent) -> Void
    ) {
        for _ in 0..<countMax {
            if let event = broker.nextEvent(of: id) {
                handle(event)
                return
            }
            guard let (partition, offset, message) = broker.nextMessage(of: id) else { return }
            let described = ConsumedMessage(
                partition: partition,
                offset: offset,
                timestamp: message.timestamp,
                hasValue: message.value != nil,
                headers: message.headers
            )
            let key = Array(message.log.description.utf8)
            let value = message.value ?? []
            take(described, key.span, value.span)
        }
    }

    func assign(_ partitions: [Int32: Int64]) {
        for (partition, offset) in partitions { broker.members[id]?.positions[partition] = offset }
        broker.members[id]?.isAnswering = false
    }

    func unassign(_ partitions: [Int32]) {
        for partition in partitions {
            broker.members[id]?.positions[partition] = nil
            broker.members[id]?.owned.remove(partition)
        }
        broker.members[id]?.isAnswering = false
    }

    func move(_ partitions: [Int32: Int64]) throws(TransportError) {
        let member = broker.members[id]
        let isRefused = broker.moveFailures > 0 || member?.isAnswering != false
        broker.moveFailures = max(0, broker.moveFailures - 1)
        if !isRefused {
            for (partition, offset) in partitions where member?.positions[partition] != nil {
                broker.members[id]?.positions[partition] = offset
            }
        }
        guard !isRefused, partitions.keys.allSatisfy({ member?.positions[$0] != nil }) else {
            throw TransportError(name: "_STATE", call: "rd_kafka_assign", message: "not now")
        }
    }

    func pause() { broker.members[id]?.isPaused = true }

    func resume() { broker.members[id]?.isPaused = false }

    func watermarks(_ partition: Int32) -> (low: Int64, high: Int64)? {
        guard broker.partitions.indices.contains(Int(partition)) else { return nil }
        return (0, Int64(broker.partitions[Int(partition)].count))
    }

    func askWatermarks(_ partition: Int32) -> (low: Int64, high: Int64)? { watermarks(partition) }

    func clusterID() -> String? { "simulated" }

    func commit(_ positions: [Int32: Int64]) {}

    func close() { broker.leave(id) }
}
