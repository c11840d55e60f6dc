package import EventLog
package import FileIO
package import Logging
import Records
package import Sinks
import Threads

/// Why a replay into a sink ended early; started again, it goes on.
package enum SinkReplayError: Error, CustomStringConvertible {
    /// The event logs could not be read.
    case log(EventLogError)
    /// The replay's own files could not be read or written.
    case file(FileIOError)
    /// The sink does not open, or took nothing for too long.
    case sink(SinkError)
    /// Another replay into the sink is running.
    case isRunning

    package var description: String {
        switch self {
        case .log(let error): "\(error)"
        case .file(let error): "\(error)"
        case .sink(let error): "the sink does not take records: \(error)"
        case .isRunning: "another replay into this sink is running; wait for it"
        }
    }
}

/// What a replay into a sink did.
package struct SinkReplayReport: Equatable, Sendable {
    /// Whether a replay of the same range that was interrupted was continued; its counts are in.
    package var isResumed = false
    /// How many logs there were.
    package var logs = 0
    /// What became of the records of the range.
    package var counts = SinkReplayCounts()
}

/// Delivers the records of a time range once more to one sink, from the logs of a data directory.
///
/// The pump's checkpoints are read, never written: what the pump has not delivered yet is left to
/// it, so nothing is delivered by both. Delivery is at least once, as the pump's; a destination
/// that can say what it has gets only what it lacks (`docs/decisions/0053-replay-into-sinks.md`).
package final class SinkReplay {
    private let pumped: PumpedSink
    private let from: Int64
    private let to: Int64?
    private let directory: LogDirectory
    private let logger: Logger
    private let delivery: SinkReplayDelivery
    private var plan: SinkReplayPlan
    private var storedAt: UInt64 = 0

    /// How often the position is stored, in ns; chosen: so much is delivered again after a kill.
    private static let storeInterval: UInt64 = 1_000_000_000
    /// Batches done behind one that is not; chosen: so much is delivered again at most.
    private static let windowMax = 64

    /// A replay that has not looked at anything.
    ///
    /// - Parameters:
    ///   - pumped: The sink; nobody else uses this object.
    ///   - from: Records that completed at or after this, µs since the epoch.
    ///   - to: Records that completed before this; nil for all after `from`.
    ///   - directory: The logs.
    ///   - logger: Where it reports.
    ///   - patience: How long the sink may take nothing.
    package init(
        _ pumped: PumpedSink,
        from: Int64,
        to: Int64?,
        directory: LogDirectory,
        logger: Logger,
        patience: Duration = .seconds(60)
    ) {
        self.pumped = pumped
        self.from = from
        self.to = to
        self.directory = directory
        self.logger = logger
        delivery = SinkReplayDelivery(
            pumped: pumped,
            time: directory.time,
            patience: patience.nanoseconds
        )
        plan = SinkReplayPlan(from: from, to: to)
    }

    private var folder: String { "\(directory.path)/replay" }
    private var path: String { "\(folder)/\(pumped.name)" }

    /// Delivers; when it throws, what was done is remembered.
    ///
    /// - Parameter progress: Called now and then with the offsets looked at and those there are.
    package func run(
        progress: (UInt64, UInt64) -> Void = { _, _ in }
    ) async throws(SinkReplayError) -> SinkReplayReport {
        let lock = try io { () throws(FileIOError) in
            try directory.fileSystem.createDirectory(folder)
            let file = try directory.fileSystem.open(path + ".lock", .openOrCreate)
            return try file.tryLock() ? file : nil
        }
        guard let lock else { throw .isRunning }
        defer { lock.close() }
        var report = SinkReplayReport()
        report.isResumed = try prepare()
        let failure = await deliver(progress)
        await pumped.sink.close()
        if let failure {
            // The first failure is what is told; a position that is not stored is delivered again.
            try? store()
            throw failure
        }
        try io { () throws(FileIOError) in
            try directory.fileSystem.removeFile(path)
            try directory.fileSystem.syncDirectory(folder)
        }
        report.logs = plan.logs.count
        report.counts = plan.counts
        return report
    }

    // MARK: The plan

    /// Takes up the plan of a replay that was interrupted, or makes one; whether there was one.
    private func prepare() throws(SinkReplayError) -> Bool {
        let found = try io { () throws(FileIOError) in
            try directory.fileSystem.exists(path) ? directory.fileSystem.readFile(path) : nil
        }
        if let found, let before = SinkReplayPlan(found) {
            if before.from == from, before.to == to {
                plan = before
                return true
            }
            logger.notice(
                "a replay of another range was not finished and is given up",
                metadata: ["from": "\(before.from)", "to": "\(before.to.map(String.init) ?? "-")"]
            )
        }
        do throws(EventLogError) { try makePlan() } catch { throw .log(error) }
        try store()
        return false
    }

    private func makePlan() throws(EventLogError) {
        // Before anything else is looked at: what the pump has delivered by now is delivered.
        let checkpoints = try directory.checkpoints(consumer: pumped.consumer)
        for log in try directory.logs() {
            let end = log.endOffset?.rawValue ?? log.durableOffset.rawValue
            let start = min(log.startOffset.rawValue, end)
            let limit = min(checkpoints.load(log.id).rawValue, end)
            plan.logs.append(
                .init(id: log.id, start: start, next: start, limit: limit, end: end)
            )
        }
        for tombstone in try directory.tombstones() {
            guard tombstone.eventTimeMax.map({ $0 >= from }) ?? true,
                tombstone.eventTimeMin.map({ $0 < to ?? .max }) ?? true
            else { continue }
            let range = tombstone.offsets
            plan.counts.deleted += range.upperBound.rawValue - range.lowerBound.rawValue
        }
    }

    private func store() throws(SinkReplayError) {
        let bytes = plan.bytes
        try io { () throws(FileIOError) in
            try directory.fileSystem.replaceFile(path, with: bytes)
        }
        storedAt = directory.time.monotonicNanoseconds()
    }

    private func io<T>(_ body: () throws(FileIOError) -> T) throws(SinkReplayError) -> T {
        do throws(FileIOError) { return try body() } catch { throw .file(error) }
    }

    // MARK: Delivering

    /// Opens the sink and delivers all logs; why it ended early, if it did.
    private func deliver(_ progress: (UInt64, UInt64) -> Void) async -> SinkReplayError? {
        let holdings: SinkHoldings?
        do throws(SinkError) {
            try await delivery.open()
            holdings = try await pumped.sink.holdings()
        } catch { return .sink(error) }
        progress(plan.done, plan.total)
        for index in plan.logs.indices where plan.logs[index].next < plan.logs[index].end {
            if let failure = await deliver(index, holdings, progress) { return failure }
        }
        return nil
    }

    /// What was read of a log and is not settled.
    private struct Entry {
        let end: UInt64
        var counts: SinkReplayCounts
        var isDone: Bool
    }

    /// Delivers one log: several batches at a time, the position moving over what is done.
    private func deliver(
        _ index: Int,
        _ holdings: SinkHoldings?,
        _ progress: (UInt64, UInt64) -> Void
    ) async -> SinkReplayError? {
        let log = plan.logs[index]
        let reader: ThreadOwned<SinkReplayReader>
        do throws(EventLogError) {
            reader = ThreadOwned(
                name: "replay-reader",
                try SinkReplayReader(
                    log,
                    range: from..<(to ?? .max),
                    holdings: holdings,
                    for: pumped,
                    in: directory
                )
            )
        } catch { return .log(error) }
        let widest = pumped.sink.traits.ordersLogs ? 1 : max(1, pumped.inFlightMax)
        let delivery = self.delivery
        var failure: SinkReplayError?
        await withTaskGroup(of: SinkReplayDelivery.Answer.self) { group in
            var window: [Entry] = []
            var settled = 0
            var running = 0
            var isAtEnd = false
            while true {
                while failure == nil, !isAtEnd, running < widest, window.count < Self.windowMax {
                    let chunk: SinkReplayReader.Chunk?
                    do throws(EventLogError) {
                        chunk = try await reader.run { reader throws(EventLogError) in
                            try reader.next()
                        }
                    } catch {
                        failure = .log(error)
                        break
                    }
                    guard let chunk else {
                        isAtEnd = true
                        break
                    }
                    let number = settled + window.count
                    window.append(
                        Entry(end: chunk.end, counts: chunk.counts, isDone: chunk.batch == nil)
                    )
                    guard let batch = chunk.batch else { break }
                    running += 1
                    group.addTask { await delivery.deliver(batch, number) }
                }
                if running > 0, let answer = await group.next() {
                    running -= 1
                    window[answer.number - settled].counts += answer.counts
                    window[answer.number - settled].isDone = answer.failure == nil
                    if let error = answer.failure { failure = failure ?? .sink(error) }
                } else if isAtEnd || failure != nil {
                    settled += settle(&window, index)
                    break
                }
                settled += settle(&window, index)
                progress(plan.done, plan.total)
                if directory.time.monotonicNanoseconds() &- storedAt >= Self.storeInterval {
                    do throws(SinkReplayError) { try store() } catch { failure = failure ?? error }
                }
            }
        }
        return failure
    }

    /// Moves the position over what is done from the beginning; how many entries these were.
    private func settle(_ window: inout [Entry], _ index: Int) -> Int {
        let count = window.firstIndex { !$0.isDone } ?? window.count
        for entry in window.prefix(count) {
            plan.logs[index].next = entry.end
            plan.counts += entry.counts
        }
        window.removeFirst(count)
        return count
    }
}

/// Hands batches over until they are taken.
struct SinkReplayDelivery: Sendable {
    /// What came of a batch.
    struct Answer: Sendable {
        /// Which batch.
        let number: Int
        var counts = SinkReplayCounts()
        /// Why the sink did not take all of it.
        var failure: SinkError?
    }

    let pumped: PumpedSink
    let time: any TimeSource
    /// How long the sink may take nothing, in nanoseconds.
    let patience: UInt64

    /// Opens the sink; tries again for a while, unless that is of no use.
    func open() async throws(SinkError) {
        var backoff = Backoff(first: pumped.retryDelayMin, longest: pumped.retryDelayMax)
        let deadline = time.monotonicNanoseconds() &+ patience
        while true {
            do throws(SinkError) {
                return try await pumped.sink.open()
            } catch {
                let isFinal = error.code == "locked" || error.code == "damaged"
                if isFinal { throw error }
                guard await waits(&backoff, until: deadline) else { throw error }
            }
        }
    }

    /// Delivers a batch; what the sink takes later is tried again.
    func deliver(_ batch: SinkBatch, _ number: Int) async -> Answer {
        var answer = Answer(number: number)
        var rest = batch
        var backoff = Backoff(first: pumped.retryDelayMin, longest: pumped.retryDelayMax)
        var deadline = time.monotonicNanoseconds() &+ patience
        while true {
            let result = await pumped.sink.deliver(rest)
            let isTransport = pumped.sink.traits.isTransport
            let outcome = rest.outcome(result, marksRejected: isTransport)
            answer.counts.delivered += UInt64(outcome.accepted)
            for count in outcome.rejected.values { answer.counts.rejected += UInt64(count) }
            guard let remainder = outcome.remainder else { return answer }
            rest = remainder
            if outcome.hasProgressed {
                backoff.reset()
                deadline = time.monotonicNanoseconds() &+ patience
            }
            guard outcome.hasFailed else { continue }
            guard await waits(&backoff, until: deadline) else {
                answer.failure = SinkError(
                    code: "patience",
                    message: result.reason ?? "it said no reason"
                )
                return answer
            }
        }
    }

    /// Waits before the next attempt; false when the time is over or the task is cancelled.
    private func waits(_ backoff: inout Backoff, until deadline: UInt64) async -> Bool {
        var random = SystemRandom()
        let delay = backoff.next(&random)
        guard time.monotonicNanoseconds() &+ delay < deadline else { return false }
        do {
            try await Task.sleep(nanoseconds: delay)
            return true
        } catch { return false }
    }
}
