internal import EventLog
internal import FileIO
internal import Logging
internal import NIOCore
internal import Records
internal import Telemetry

/// Everything that belongs to one event loop: its lane of the log, its connections, its pools.
///
/// Owner: the event loop; nothing here is touched from elsewhere. Records appended during a tick
/// are written once, at the end of the tick, and only then are the responses completed that they
/// belong to. Crash story:
///
/// 1. The record is appended in memory, and the response's last bytes are kept back. A crash here
///    loses both, and the client knows that it has no answer.
/// 2. The batch is handed to the kernel. A kill after this keeps the record, whether or not the
///    response was completed.
/// 3. The last bytes are handed to the kernel. So no completed response lacks a record.
final class GatewayLoop {
    /// What all loops share.
    let shared: GatewayShared
    /// The event loop.
    let eventLoop: any EventLoop
    /// Makes request and trace ids.
    var identifiers: IdentifierGenerator
    /// Pools of upstream connections, by API and upstream in the order of the configuration.
    private(set) var upstreams: [UpstreamGroup] = []

    private let lane: LaneWriter
    private let isStrict: Bool
    private var clients: [ClientConnection] = []
    private var upstreamConnections: [UpstreamConnection] = []
    private var date = HTTPDate()

    /// Responses whose records are appended and not yet written.
    private var unwritten: [Withheld] = []
    /// Responses that wait for the end of the tick only, because they leave no record.
    private var unrecorded: [ClientConnection] = []
    /// The storage of `unwritten` while it is worked through.
    private var spare: [Withheld] = []
    /// Mode strict: responses whose records are written and not yet durable, in offset order.
    private var unsynced: [Withheld] = []
    private var isFlushScheduled = false
    private var isClosed = false
    private var whenEmpty: (() -> Void)?

    /// A response that waits for its record.
    private struct Withheld {
        let client: ClientConnection
        let offset: Offset
    }

    /// A loop with its lane; to be called on the loop.
    init(
        shared: GatewayShared,
        eventLoop: any EventLoop,
        lane: LaneWriter,
        isStrict: Bool
    ) {
        eventLoop.preconditionInEventLoop()
        self.shared = shared
        self.eventLoop = eventLoop
        self.lane = lane
        self.isStrict = isStrict
        now = shared.time.monotonicNanoseconds()
        var seed = SystemRandom()
        identifiers = IdentifierGenerator(seededBy: &seed)
        // Pools belong to addresses: APIs with the same upstream share its connections.
        var pools: [UpstreamAddress: UpstreamPool] = [:]
        for api in shared.apis.apis {
            let members = api.upstreams.map { address in
                if let pool = pools[address] { return pool }
                let pool = UpstreamPool(address: address, loop: self)
                pools[address] = pool
                return pool
            }
            upstreams.append(UpstreamGroup(members))
        }
        if isStrict {
            let bound = NIOLoopBound(self, eventLoop: eventLoop)
            lane.onDurable = { offset in
                bound.eventLoop.execute { bound.value.becameDurable(offset) }
            }
        }
    }

    /// The monotonic clock, nanoseconds, as of the event that is being handled.
    private(set) var now: UInt64 = 0

    /// Reads the clock; called at the beginning of every event, so that handling one costs one
    /// reading.
    func readClock() { now = shared.time.monotonicNanoseconds() }

    /// The current `Date` value.
    var dateText: [UInt8] {
        date.update(wallMicroseconds: shared.time.wallMicroseconds())
        return date.text
    }

    // MARK: Log

    /// Promises log space for one record.
    func reserve(_ bytes: Int) -> Bool { lane.reserve(bytes) }

    /// Gives a promise back.
    func release(_ bytes: Int) { lane.release(bytes) }

    /// What became of a record.
    enum Appended {
        /// It is in the batch of this tick; `logWritten` or `logFailed` will be called.
        case pending
        /// It was dropped as configured; the response may be completed.
        case dropped
        /// It could not be appended; the response may not be completed.
        case failed
    }

    /// Appends a record and sees to it that the batch is written at the end of the tick.
    func append(
        _ client: ClientConnection,
        eventTime: Int64,
        _ encode: (inout RecordEncoder) -> Void
    ) -> Appended {
        do throws(EventLogError) {
            let offset = try lane.append(eventTime: eventTime, encode)
            unwritten.append(Withheld(client: client, offset: offset))
            scheduleFlush()
            return .pending
        } catch {
            if error == .dropped {
                shared.metrics.droppedByPolicy.add()
                return .dropped
            }
            shared.metrics.droppedAppendFailed.add()
            shared.logger.error(
                "a record could not be appended",
                metadata: ["error": "\(error)"]
            )
            return .failed
        }
    }

    /// Calls `logWritten` at the end of the tick, for a response that leaves no record.
    func completeAfterTick(_ client: ClientConnection) {
        unrecorded.append(client)
        scheduleFlush()
    }

    private func scheduleFlush() {
        guard !isFlushScheduled else { return }
        isFlushScheduled = true
        eventLoop.assumeIsolated().execute { self.flush() }
    }

    /// Writes the batch of this tick and releases the responses that waited for it.
    private func flush() {
        isFlushScheduled = false
        readClock()
        let started = now
        var hasFailed = false
        do throws(EventLogError) {
            try lane.write()
        } catch {
            hasFailed = true
            shared.metrics.logWriteFailures.add()
            shared.logger.error(
                "a batch of records could not be written",
                metadata: ["error": "\(error)"]
            )
        }
        readClock()
        shared.metrics.logWrite.record(microseconds: Int64((now - started) / 1_000))
        swap(&unwritten, &spare)
        if hasFailed {
            for withheld in spare { withheld.client.logFailed() }
        } else if isStrict {
            unsynced.append(contentsOf: spare)
            becameDurable(lane.durableOffset)
        } else {
            for withheld in spare { withheld.client.logWritten() }
        }
        spare.removeAll(keepingCapacity: true)
        if !unrecorded.isEmpty {
            let released = unrecorded
            unrecorded.removeAll()
            for client in released { client.logWritten() }
        }
    }

    /// Mode strict: releases the responses whose records a sync has covered.
    private func becameDurable(_ next: Offset) {
        guard let first = unsynced.first, first.offset < next else { return }
        readClock()
        let count = unsynced.firstIndex { $0.offset >= next } ?? unsynced.count
        let released = Array(unsynced[..<count])
        unsynced.removeFirst(count)
        for withheld in released { withheld.client.logWritten() }
    }

    /// Says in the log that it is complete up to now.
    func heartbeat() {
        guard !isClosed else { return }
        do throws(EventLogError) {
            try lane.heartbeat()
        } catch {
            shared.logger.error(
                "a heartbeat could not be written",
                metadata: ["error": "\(error)"]
            )
        }
    }

    // MARK: Connections

    /// Takes a client connection in.
    func add(_ client: ClientConnection) {
        client.index = clients.count
        clients.append(client)
    }

    /// Forgets a client connection.
    func remove(_ client: ClientConnection) {
        let last = clients.removeLast()
        if last !== client {
            clients[client.index] = last
            last.index = client.index
        }
        shared.dismissConnection()
        if clients.isEmpty, shared.isDraining { finishDraining() }
    }

    /// Takes an upstream connection in.
    func add(_ upstream: UpstreamConnection) {
        upstream.index = upstreamConnections.count
        upstreamConnections.append(upstream)
        shared.metrics.upstreamConnections.add(1)
    }

    /// Forgets an upstream connection.
    func remove(_ upstream: UpstreamConnection) {
        let last = upstreamConnections.removeLast()
        if last !== upstream {
            upstreamConnections[upstream.index] = last
            last.index = upstream.index
        }
        shared.metrics.upstreamConnections.add(-1)
    }

    /// Looks for connections whose time is up.
    func checkDeadlines() {
        readClock()
        let now = now
        // A connection that is closed takes itself out of the list by moving the last one into its
        // place; going backwards, that one has been looked at already.
        for index in clients.indices.reversed() where index < clients.count {
            let client = clients[index]
            if client.deadline <= now { client.timedOut() }
        }
        for index in upstreamConnections.indices.reversed() where index < upstreamConnections.count
        {
            let upstream = upstreamConnections[index]
            if upstream.deadline <= now { upstream.close() }
        }
    }

    // MARK: Shutdown

    /// Closes idle connections and calls back when the others have finished their requests.
    func drain(_ whenEmpty: @escaping () -> Void) {
        readClock()
        guard !clients.isEmpty else {
            whenEmpty()
            return
        }
        self.whenEmpty = whenEmpty
        for client in Array(clients) { client.beginDraining() }
    }

    /// Ends the requests that are still in flight.
    func abandon() {
        readClock()
        for client in Array(clients) { client.abandon() }
    }

    /// Cuts off the responses whose records the log still has not taken.
    func cutOff() {
        readClock()
        for client in Array(clients) { client.logFailed() }
    }

    private func finishDraining() {
        guard let whenEmpty else { return }
        self.whenEmpty = nil
        // Records of aborted requests may still wait for the end of the tick.
        eventLoop.assumeIsolated().execute { whenEmpty() }
    }

    /// Writes and syncs what is left, ends the log, and closes upstream connections.
    ///
    /// - Throws: `log`.
    func close() throws(GatewayError) {
        guard !isClosed else { return }
        isClosed = true
        for upstream in Array(upstreamConnections) { upstream.close() }
        do throws(EventLogError) {
            try lane.write()
            try lane.close()
        } catch {
            throw .log("could not close log \(lane.logID): \(error)")
        }
        // Breaks the cycle from the lane to this object.
        lane.onDurable = nil
    }
}
