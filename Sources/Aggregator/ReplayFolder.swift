import EventLog
import Postgres
import Records
import Rollups
import Synchronization
import Threads

/// Folds what a source reads, on a thread of its own and, where the order does not matter, some
/// more.
struct ReplayFolder: Sendable {
    let source: any ReplaySource
    let catalog: RollupCatalog
    let wanted: [LogID: OffsetRanges]
    let folded: [LogID: OffsetRanges]
    let limits: ReplayLimits
    /// Completion after this went to the dead letters.
    let latest: Int64
    /// The database, which knows the ids of values.
    let postgres: String

    /// Reads and folds everything that is wanted.
    func run(into feed: ReplayFeed) {
        do throws(ReplayError) {
            let passed = source.isReadAhead ? try readAhead(feed) : try readAndFold(feed)
            feed.end(.success(passed))
        } catch {
            feed.end(.failure(error))
        }
    }

    /// Folds each item when it is read.
    private func readAndFold(_ feed: ReplayFeed) throws(ReplayError) -> ReplayPassed {
        var fold = try ReplayFolding(self)
        let passed = try source.read(wanted, folded: folded) {
            item,
            log,
            offsets,
            trust throws(ReplayError) in
            fold.add(item, of: log, offsets, &trust)
            if fold.isFull { try fold.finish(into: feed) }
        }
        try fold.finish(into: feed)
        return passed
    }

    /// Reads, and lets others fold.
    private func readAhead(_ feed: ReplayFeed) throws(ReplayError) -> ReplayPassed {
        let queue = ReplayQueue()
        let threads = (0..<limits.foldersMax).map { _ in
            NamedThread(name: "replay-fold") {
                do throws(ReplayError) {
                    var fold = try ReplayFolding(self)
                    while let items = queue.next() {
                        for item in items {
                            var trust = LogTrust.unlimited
                            fold.add(item.item, of: item.log, item.offsets, &trust)
                        }
                        if fold.isFull { try fold.finish(into: feed) }
                    }
                    try fold.finish(into: feed)
                } catch { queue.cancel(error) }
            }
        }
        defer { for thread in threads { thread.join() } }
        let recordsMax = max(1, min(ReplayQueue.recordsMax, limits.recordsMax / 4))
        var items: [ReplayItem] = []
        var count: UInt64 = 0
        do throws(ReplayError) {
            let passed = try source.read(wanted, folded: folded) {
                item,
                log,
                offsets,
                _ throws(ReplayError) in
                items.append(ReplayItem(item: item, log: log, offsets: offsets))
                count += offsets.offsetCount
                guard count >= recordsMax || items.count >= ReplayQueue.itemsMax else { return }
                try queue.put(items)
                items = []
                count = 0
            }
            if !items.isEmpty { try queue.put(items) }
            queue.end()
            for thread in threads { thread.join() }
            try queue.check()
            return passed
        } catch {
            queue.cancel(error)
            throw error
        }
    }
}

/// Something read from a log, and those of its offsets that are to be folded.
private struct ReplayItem: Sendable {
    let item: RetainedBatch.Item
    let log: LogID
    let offsets: OffsetRanges
}

/// Hands what was read to the threads that fold.
private final class ReplayQueue: Sendable {
    /// Records handed on together. Chosen: some milliseconds' work.
    static let recordsMax: UInt64 = 8_192
    /// Items handed on together; each may have 1 MiB. Chosen.
    static let itemsMax = 16
    /// How often that may wait. Chosen.
    private static let waitingMax = 4

    private struct State {
        var waiting: [[ReplayItem]] = []
        var isEnded = false
        var failure: ReplayError?
    }

    private let state = Mutex(State())
    private let doorbell = Doorbell()

    /// Hands items on; waits while too many wait.
    ///
    /// - Throws: Why nobody folds any more.
    func put(_ items: [ReplayItem]) throws(ReplayError) {
        while true {
            let rung = doorbell.count
            let (isTaken, failure) = state.withLock { state in
                guard state.failure == nil, state.waiting.count < Self.waitingMax else {
                    return (false, state.failure)
                }
                state.waiting.append(items)
                return (true, nil)
            }
            if let failure { throw failure }
            if isTaken { return doorbell.ring() }
            doorbell.wait(since: rung)
        }
    }

    /// The next items, the oldest first; nil when nothing more comes.
    func next() -> [ReplayItem]? {
        while true {
            let rung = doorbell.count
            let (items, isOver) = state.withLock { state -> ([ReplayItem]?, Bool) in
                if state.failure != nil { return (nil, true) }
                if state.waiting.isEmpty { return (nil, state.isEnded) }
                return (state.waiting.removeFirst(), false)
            }
            if let items {
                doorbell.ring()
                return items
            }
            if isOver { return nil }
            doorbell.wait(since: rung)
        }
    }

    /// Says that nothing more comes.
    func end() {
        state.withLock { $0.isEnded = true }
        doorbell.ring()
    }

    /// Lets both sides end, for the first of several reasons.
    func cancel(_ reason: ReplayError) {
        state.withLock { $0.failure = $0.failure ?? reason }
        doorbell.ring()
    }

    /// Throws why it was cancelled.
    func check() throws(ReplayError) {
        if let failure = state.withLock({ $0.failure }) { throw failure }
    }
}

/// Folds on one thread, and brings the rows into order.
private struct ReplayFolding {
    private let folder: ReplayFolder
    /// Asks for the ids of values.
    private let connection: PostgresConnection
    private var dimensions = DimensionCache(countMax: 250_000)
    private var batch: ReplayBatch

    /// Connects to the database.
    init(_ folder: ReplayFolder) throws(ReplayError) {
        self.folder = folder
        batch = ReplayBatch(output: folder.catalog.makeOutput())
        do throws(PostgresError) {
            connection = try Replay.session(folder.postgres, "sluice-replay-values")
        } catch { throw .database(error) }
    }

    /// Whether so much is folded that it must be handed on.
    var isFull: Bool { batch.isFull(folder.limits) }

    /// Folds those records that the log is trusted with.
    mutating func add(
        _ item: RetainedBatch.Item,
        of log: LogID,
        _ offsets: OffsetRanges,
        _ trust: inout LogTrust
    ) {
        batch.output.fold(item, of: log, wanted: offsets, latest: folder.latest, &trust)
        var folded = offsets
        if !trust.refused.isEmpty {
            var refused = OffsetRanges()
            for offset in trust.refused { refused.insert(offset..<(offset + 1)) }
            folded = folded.subtracting(refused)
        }
        batch.folded[log, default: OffsetRanges()].formUnion(folded)
        batch.offsetCount += folded.offsetCount
    }

    /// Hands on what is folded.
    mutating func finish(into feed: ReplayFeed) throws(ReplayError) {
        guard batch.offsetCount > 0 else { return }
        let run = ReplayRun(
            rows: try rows(),
            folded: batch.folded,
            offsetCount: batch.offsetCount
        )
        batch.output.removeAll()
        batch.folded = [:]
        batch.offsetCount = 0
        guard feed.offer(run) else { throw .refused("cancelled") }
    }

    /// The rows of each rollup, ascending, with the ids that the database has for their values.
    private mutating func rows() throws(ReplayError) -> [RowSet] {
        let output = batch.output.rollups
        let ids: [[Int32]]
        do throws(PostgresError) {
            ids = try dimensions.resolve(output, on: connection) {}
        } catch { throw .database(error) }
        var result: [RowSet] = []
        for (index, definition) in output.definitions.enumerated() {
            let places = definition.dimensions.map { dimension in
                dimension.isInteger ? -1 : output.dimensions.firstIndex(of: dimension) ?? -1
            }
            var rows = RowSet(definition)
            let rowCount = output.rowCount(of: index)
            rows.reserve(rowCount, rowCount * 24)
            output.forEachRow(of: index, ascendingBy: ids) { row in
                rows.append(row, places, ids)
            }
            // Different values that are stored alike have one id.
            if !rows.isAscending {
                do throws(MeasureError) { rows = try rows.merged(definition) } catch {
                    throw .refused("a row that was just folded is damaged: \(error)")
                }
            }
            result.append(rows)
        }
        return result
    }
}
