import Aggregator
import EventLog
import Postgres
import Records
import Synchronization
import Threads

/// A message as it lies in a scripted broker.
struct ScriptedMessage: Sendable {
    var key: [UInt8]
    var value: [UInt8]?
    var headers: [(MessageHeader, String)] = []
    var timestamp: Int64 = 1_431_857_100_000

    /// A record as the pump ships it.
    static func record(_ log: LogID, _ offset: UInt64, _ bytes: [UInt8]) -> Self {
        ScriptedMessage(
            key: Array(log.description.utf8),
            value: bytes,
            headers: [(.log, log.description), (.offset, String(offset))]
        )
    }

    /// A marker as the pump ships it.
    static func skip(_ log: LogID, _ range: Range<UInt64>, _ reason: SkipReason) -> Self {
        var message = record(log, range.lowerBound, [])
        message.value = nil
        message.headers += [
            (.marker, "skip"), (.until, String(range.upperBound)), (.reason, reason.rawValue),
        ]
        return message
    }

    /// A marker as the pump ships it.
    static func end(_ log: LogID, _ offset: UInt64) -> Self {
        var message = record(log, offset, [])
        message.value = nil
        message.headers.append((.marker, "end"))
        return message
    }
}

/// One topic of one broker, with one consumer group, in memory; what happens is scripted.
final class ScriptedBroker: Sendable {
    struct Log {
        var low: Int64 = 0
        var messages: [ScriptedMessage] = []
        var high: Int64 { low + Int64(messages.count) }
    }

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

    struct State {
        var logs: [Log]
        var members: [Int: Member] = [:]
        var nextMember = 0
        /// Who ought to have each partition.
        var target: [Int32: Int] = [:]
        var isEager = false
        var fatal: TransportError?
        var moveFailures = 0
        /// Whether a fetch beyond the end is answered with nothing, as some brokers do.
        var isSilentBeyondEnd = false
        /// Partitions whose member has to be told that they are not there.
        var gone: [Int32] = []
        var committed: [Int32: Int64] = [:]
        /// Which moves were made, for tests.
        var moves: [(partition: Int32, offset: Int64)] = []
        var assigns: [(partition: Int32, offset: Int64)] = []
    }

    let state: Mutex<State>
    let bell = Doorbell()

    init(partitions: Int, isEager: Bool = false) {
        state = Mutex(
            State(logs: [Log](repeating: Log(), count: partitions), isEager: isEager)
        )
    }

    /// Where an aggregator gets its consumers from.
    var source: AggregatorSource {
        .consumer(topic: "sluice.records") { ScriptedConsumer(self) }
    }

    func change<T>(_ body: (inout State) -> T) -> T {
        let result = state.withLock { state in body(&state) }
        bell.ring()
        return result
    }

    func append(_ message: ScriptedMessage, to partition: Int) {
        change { $0.logs[partition].messages.append(message) }
    }

    /// Gives the partitions out by a rule.
    func rebalance(_ owner: @escaping (Int32, [Int]) -> Int?) {
        change { $0.rebalance(owner) }
    }

    /// Deletes and re-creates the topic.
    func recreate() {
        change { state in
            for index in state.logs.indices { state.logs[index] = Log() }
        }
    }

    /// The group takes everything from a member, which does not know yet.
    func expel(_ member: Int) {
        change { state in
            state.members[member]?.isExpelled = true
            state.members[member]?.owned = []
        }
    }
}

extension ScriptedBroker.State {
    mutating func rebalance(_ owner: (Int32, [Int]) -> Int?) {
        let ids = members.keys.sorted()
        target = [:]
        guard !ids.isEmpty else { return }
        for partition in logs.indices { target[Int32(partition)] = owner(Int32(partition), ids) }
    }

    /// What a member has to be told next.
    mutating func nextEvent(of id: Int) -> ConsumerEvent? {
        guard var member = members[id], !member.isAnswering else { return nil }
        defer { members[id] = member }
        if let fatal {
            self.fatal = nil
            return .failed(fatal)
        }
        if member.isExpelled {
            member.isExpelled = false
            member.isAnswering = true
            return .lost(Array(member.positions.keys))
        }
        if let index = gone.firstIndex(where: { member.positions[$0] != nil }) {
            return .gone(gone.remove(at: index))
        }
        let wanted = Set(target.filter { $0.value == id }.keys)
        let surplus =
            isEager && wanted != member.owned ? member.owned : member.owned.subtracting(wanted)
        if !surplus.isEmpty {
            member.isAnswering = true
            return .revoked(Array(surplus))
        }
        let taken = members.filter { $0.key != id }.reduce(into: Set<Int32>()) {
            $0.formUnion($1.value.owned)
        }
        let gained = wanted.subtracting(member.owned).subtracting(taken)
        guard !gained.isEmpty, !isEager || gained == wanted else { return nil }
        member.owned.formUnion(gained)
        member.isAnswering = true
        return .assigned(Array(gained))
    }

    /// A message of a member's partitions, and it moves on.
    mutating func nextMessage(of id: Int) -> (ConsumedMessage, ScriptedMessage)? {
        guard var member = members[id], !member.isPaused, !member.isAnswering else { return nil }
        defer { members[id] = member }
        for (partition, position) in member.positions.shuffled() {
            let log = logs[Int(partition)]
            var offset = position
            // As librdkafka with auto.offset.reset=earliest.
            if offset > log.high, isSilentBeyondEnd { continue }
            if offset < log.low || offset > log.high { offset = log.low }
            member.positions[partition] = offset
            guard offset < log.high else { continue }
            let message = log.messages[Int(offset - log.low)]
            member.positions[partition] = offset + 1
            var headers = MessageHeaders()
            for (name, value) in message.headers { headers.put(name, Array(value.utf8).span) }
            return (
                ConsumedMessage(
                    partition: partition,
                    offset: offset,
                    timestamp: message.timestamp,
                    hasValue: message.value != nil,
                    headers: headers
                ), message
            )
        }
        return nil
    }
}

/// A member of the scripted group.
final class ScriptedConsumer: TransportConsumer {
    private let broker: ScriptedBroker
    let id: Int

    init(_ broker: ScriptedBroker) {
        self.broker = broker
        id = broker.change { state in
            let id = state.nextMember
            state.nextMember += 1
            state.members[id] = ScriptedBroker.Member()
            state.rebalance { partition, members in members[Int(partition) % members.count] }
            return id
        }
    }

    var waker: @Sendable () -> Void {
        let bell = broker.bell
        return { bell.ring() }
    }

    func poll(
        timeout: Duration,
        countMax: Int,
        take: (ConsumedMessage, Span<UInt8>, Span<UInt8>) -> Void,
        handle: (ConsumerEvent) -> Void
    ) {
        let seen = broker.bell.count
        var count = 0
        while count < countMax {
            if let event = broker.state.withLock({ $0.nextEvent(of: id) }) {
                handle(event)
                return
            }
            guard let (message, content) = broker.state.withLock({ $0.nextMessage(of: id) }) else {
                break
            }
            let value = content.value ?? []
            take(message, content.key.span, value.span)
            count += 1
        }
        guard count == 0 else { return }
        let (seconds, attoseconds) = timeout.components
        let nanoseconds = seconds * 1_000_000_000 + attoseconds / 1_000_000_000
        // Waiting members look again now and then: others may have let go of something.
        if nanoseconds > 0 {
            broker.bell.wait(since: seen, timeoutNanoseconds: min(nanoseconds, 20_000_000))
        }
    }

    func assign(_ partitions: [Int32: Int64]) {
        broker.change { state in
            for (partition, offset) in partitions {
                state.members[id]?.positions[partition] = offset
                state.assigns.append((partition, offset))
            }
            state.members[id]?.isAnswering = false
        }
    }

    func unassign(_ partitions: [Int32]) {
        broker.change { state in
            for partition in partitions {
                state.members[id]?.positions[partition] = nil
                state.members[id]?.owned.remove(partition)
            }
            state.members[id]?.isAnswering = false
        }
    }

    func move(_ partitions: [Int32: Int64]) throws(TransportError) {
        let isRefused = broker.change { state in
            if state.moveFailures > 0 {
                state.moveFailures -= 1
                return true
            }
            guard let member = state.members[id], !member.isAnswering else { return true }
            for (partition, offset) in partitions where member.positions[partition] != nil {
                state.members[id]?.positions[partition] = offset
                state.moves.append((partition, offset))
            }
            return partitions.keys.contains { member.positions[$0] == nil }
        }
        if isRefused {
            throw TransportError(name: "_STATE", call: "rd_kafka_assign", message: "not now")
        }
    }

    func pause() { broker.change { $0.members[id]?.isPaused = true } }

    func resume() { broker.change { $0.members[id]?.isPaused = false } }

    func watermarks(_ partition: Int32) -> (low: Int64, high: Int64)? {
        broker.state.withLock { state in
            guard state.logs.indices.contains(Int(partition)) else { return nil }
            return (state.logs[Int(partition)].low, state.logs[Int(partition)].high)
        }
    }

    func askWatermarks(_ partition: Int32) -> (low: Int64, high: Int64)? {
        watermarks(partition)
    }

    func clusterID() -> String? { "scripted" }

    func commit(_ positions: [Int32: Int64]) {
        broker.change { $0.committed.merge(positions) { $1 } }
    }

    func close() {
        broker.change { state in
            state.members[id] = nil
            state.rebalance { partition, members in members[Int(partition) % members.count] }
        }
    }
}

/// Ships logs into a scripted broker as the pump does, as often as it likes.
struct ScriptedPump {
    let world: World
    let broker: ScriptedBroker
    /// How far each log has been shipped.
    private var shipped: [LogID: Offset] = [:]

    init(_ world: World, _ broker: ScriptedBroker) {
        self.world = world
        self.broker = broker
    }

    /// Forgets how far it was, as a re-ship does.
    mutating func rewind() { shipped.removeAll() }

    /// Ships items of all logs in turn, each log to the partition of its id.
    ///
    /// - Parameter itemsMax: Most items (batches, skips, ends) of each log.
    mutating func ship(
        itemsMax: Int = .max,
        repeating: (inout SplitMix) -> Bool = { _ in false },
        _ random: inout SplitMix
    ) throws {
        let count = broker.state.withLock { $0.logs.count }
        for log in try world.directory.logs().map(\.id).sorted() {
            let partition = Int(log.low % UInt64(count))
            let from = shipped[log] ?? .zero
            var reader = try world.directory.reader(log, from: from)
            var next = from
            for _ in 0..<itemsMax {
                guard let item = try reader.next() else { break }
                for _ in 0..<(repeating(&random) ? 2 : 1) { send(item, log, partition) }
                if case .end = item {} else { next = reader.nextOffset }
            }
            shipped[log] = next
        }
    }

    /// How many deliveries there have been, to whatever broker.
    private static let deliveries = Atomic<UInt64>(0)

    private func send(_ item: LogItem, _ log: LogID, _ partition: Int) {
        let delivery = String(Self.deliveries.add(1, ordering: .relaxed).newValue)
        func append(_ message: ScriptedMessage) {
            var message = message
            message.headers.append((.delivery, delivery))
            broker.append(message, to: partition)
        }
        switch item {
        case .records(let batch):
            batch.forEach { offset, bytes in
                var message = ScriptedMessage.record(log, offset.rawValue, bytes.octets.copied())
                message.timestamp = batch.appendTime / 1_000
                append(message)
            }
        case .skip(let range, let reason):
            let numbers = range.lowerBound.rawValue..<range.upperBound.rawValue
            append(.skip(log, numbers, reason))
        case .end(let offset): append(.end(log, offset.rawValue))
        }
    }
}

extension ScriptedBroker {
    /// The offset after the last message of each partition that has any.
    var ends: [Int32: Int64] {
        state.withLock { state in
            var ends: [Int32: Int64] = [:]
            for (index, log) in state.logs.enumerated() where log.high > 0 {
                ends[Int32(index)] = log.high
            }
            return ends
        }
    }

    /// Where consumers began to read a partition.
    func assigns(of partition: Int32) -> [Int64] {
        state.withLock { $0.assigns.filter { $0.partition == partition }.map(\.offset) }
    }

    /// Waits for something to become true; false after a minute.
    func waits(_ condition: @Sendable (State) -> Bool) async -> Bool {
        await ThreadOwned(name: "wait", ()).run { _ in
            for _ in 0..<3_000 {
                let seen = self.bell.count
                if self.state.withLock({ condition($0) }) { return true }
                self.bell.wait(since: seen, timeoutNanoseconds: 20_000_000)
            }
            return false
        }
    }
}

extension World {
    /// The stored positions of all partitions.
    func storedPositions() throws -> [Int32: Int64] {
        let rows = try connect().query(
            "SELECT partition, next_offset FROM sluice.transport_offset"
        )
        var positions: [Int32: Int64] = [:]
        for row in 0..<rows.rowCount {
            positions[Int32(rows.int(row, 0) ?? -1)] = rows.int(row, 1)
        }
        return positions
    }

    /// Waits until a query answers true; false after a minute.
    func waits(_ query: String) async -> Bool {
        let uri = uri
        return await ThreadOwned(name: "wait", ()).run { _ in
            let bell = Doorbell()
            guard let connection = try? PostgresConnection(uri, applicationName: "tests") else {
                return false
            }
            for _ in 0..<3_000 {
                let found = try? connection.query(query)
                if let found, found.rowCount > 0, found.bool(0, 0) == true { return true }
                bell.wait(since: bell.count, timeoutNanoseconds: 20_000_000)
            }
            return false
        }
    }
}
