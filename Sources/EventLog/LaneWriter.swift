internal import FileIO
package import Records
internal import Synchronization

/// Appends records to one log. Owned by one thread or event loop.
package final class LaneWriter {
    /// The log.
    package let logID: LogID
    /// The lane's index.
    package let lane: Int
    /// The offset that the next record gets.
    package private(set) var nextOffset = Offset.zero

    private let core: LaneCore
    private let lock: any File
    private let thread: SyncThread?
    private var batch: BatchBuilder
    private var reserved = 0
    private var isClosed = false
    /// Whether `drop_new` is in force.
    private var isDropping = false
    /// When a refused reservation may try again to make a segment, monotonic ns.
    private var nextAttempt: UInt64 = 0
    private var recordsAppended: UInt64 = 0
    private var recordsTooLarge: UInt64 = 0
    private var recordsDropped: UInt64 = 0
    private var reservationsRefused: UInt64 = 0

    /// What a record costs beyond the bytes that its encoder asked for: a frame header, its length
    /// and the prefix, 107 bytes at most, rounded up.
    private static let overheadBytes = 128
    /// Room kept for heartbeats and the log's end; chosen.
    private static let slackBytes = 512
    /// How long a full disk is not asked again; chosen: 100 ms.
    private static let attemptNanoseconds: UInt64 = 100_000_000

    /// Begins to write a log.
    ///
    /// - Parameters:
    ///   - core: The log with its first segment.
    ///   - lock: The open, locked mark file.
    init(core: LaneCore, lock: any File) {
        self.core = core
        self.lock = lock
        logID = core.template.logID
        lane = core.template.lane ?? 0
        batch = BatchBuilder(logID: core.template.logID)
        let needsThread = core.configuration.sync != .os && core.configuration.startsSyncThread
        thread = needsThread ? SyncThread(core) : nil
    }

    deinit {
        if !isClosed {
            thread?.stop()
            lock.close()
        }
    }

    // MARK: Space

    /// Promises log space, before anything is done that has to be recorded.
    ///
    /// - Parameter bytes: The largest size that the record can get.
    /// - Returns: False when there is no space, or when the disk is too far behind (answer 503).
    package func reserve(_ bytes: Int) -> Bool {
        guard !isClosed else { return false }
        let cost = bytes + Self.overheadBytes
        if hasRoom(for: cost) {
            isDropping = false
        } else if core.configuration.onFull == .dropNew && !isBehind {
            isDropping = true
        } else {
            reservationsRefused += 1
            return false
        }
        reserved += cost
        return true
    }

    /// Gives a promise back, after the append or instead of it.
    ///
    /// - Parameter bytes: What `reserve` was called with.
    package func release(_ bytes: Int) {
        reserved -= bytes + Self.overheadBytes
        precondition(reserved >= 0, "released more log space than was reserved")
    }

    /// Whether the disk is so far behind that appends pause.
    private var isBehind: Bool {
        core.unacknowledged.load(ordering: .relaxed) > core.configuration.unacknowledgedBytesMax
            || core.hasFailed.load(ordering: .relaxed)
    }

    /// Whether all that is promised, and so much more, fits.
    ///
    /// A batch that does not fit into the active segment goes to the next one whole, so the promise
    /// holds when everything fits into what is left of the active one, or into the spare one.
    private func hasRoom(for cost: Int) -> Bool {
        guard !isBehind else { return false }
        let wanted = reserved + batch.byteCount + cost + Self.slackBytes
        if wanted <= core.activeLeft.load(ordering: .relaxed) { return true }
        let capacity = wanted + SegmentHeader.blockBytes
        guard capacity <= core.configuration.segmentBytes else { return false }
        if capacity <= core.spare.capacity { return true }
        let now = core.time.monotonicNanoseconds()
        guard now >= nextAttempt else { return false }
        do throws(EventLogError) {
            try core.spare.prepare(capacity)
            nextAttempt = 0
            return true
        } catch {
            nextAttempt = now + Self.attemptNanoseconds
            return false
        }
    }

    // MARK: Appending

    /// Appends a record to the pending batch; `write` hands it to the kernel.
    ///
    /// - Parameters:
    ///   - eventTime: When the call completed, µs since the epoch.
    ///   - encode: Encodes the fields from kind onwards; schema version, log id and offset are
    ///     there already.
    /// - Returns: The record's offset.
    /// - Throws: `recordTooLarge`, `dropped`, `stalled`, `closed`, or the error of the write that a
    ///   full batch needs first; nothing was appended then.
    @discardableResult
    package func append(
        eventTime: Int64,
        _ encode: (inout RecordEncoder) -> Void
    ) throws(EventLogError) -> Offset {
        guard !isClosed else { throw .closed }
        if isDropping {
            recordsDropped += 1
            throw .dropped
        }
        if batch.byteCount >= core.configuration.batchBytesMax {
            try write()
        }
        let offset = nextOffset
        do throws(EventLogError) {
            try batch.append(
                offset: offset,
                eventTime: eventTime,
                bytesMax: core.configuration.recordBytesMax,
                encode
            )
        } catch {
            recordsTooLarge += 1
            throw error
        }
        nextOffset = offset.advanced(by: 1)
        recordsAppended += 1
        return offset
    }

    /// Whether there is something that `write` would write.
    package var hasPending: Bool { !batch.isEmpty }

    /// Writes the pending batch: one `pwrite`; does nothing when there is none.
    ///
    /// - Throws: When the file cannot be written; the batch stays pending, and a later call tries
    ///   again in a new segment.
    package func write() throws(EventLogError) {
        guard !batch.isEmpty else { return }
        guard !isClosed else { throw .closed }
        try core.write(&batch)
        thread?.wake()
    }

    /// Appends and writes a record that says "complete up to now".
    package func heartbeat() throws(EventLogError) {
        let now = core.time.wallMicroseconds()
        let next = nextOffset
        try append(eventTime: now) { encoder in
            encoder.put(.kind, UInt64(RecordKind.heartbeat.rawValue))
            encoder.put(.completedAt, signed: now)
            encoder.put(.node, core.configuration.node)
            encoder.put(.region, core.configuration.region)
            encoder.put(.nextOffset, next.rawValue)
        }
        try write()
    }

    /// Appends the record at offset 0.
    func logStart() throws(EventLogError) {
        let now = core.time.wallMicroseconds()
        try append(eventTime: now) { encoder in
            encoder.put(.kind, UInt64(RecordKind.logStart.rawValue))
            encoder.put(.completedAt, signed: now)
            encoder.put(.node, core.configuration.node)
            encoder.put(.region, core.configuration.region)
            if let predecessor = core.template.predecessor {
                encoder.put(.predecessorLogID, predecessor)
            }
            encoder.put(.lane, UInt64(lane))
            for org in core.configuration.orgs {
                encoder.putTag(key: RecordView.orgsTag, value: org)
            }
        }
    }

    // MARK: Progress

    /// The first offset that the kernel does not have yet.
    package var writtenOffset: Offset { Offset(core.written.load(ordering: .acquiring)) }

    /// The first offset that is not yet durable, by the rule of the lane's mode.
    package var durableOffset: Offset { core.durableOffset }

    /// Called with the first offset that is not yet durable, each time it has moved: on the sync
    /// thread (modes `strict` and `interval`) or inside `write` (`os`). Set it before appending.
    package var onDurable: (@Sendable (Offset) -> Void)? {
        get { core.state.withLock { $0.onDurable } }
        set { core.state.withLock { $0.onDurable = newValue } }
    }

    /// Counters since the lane was opened.
    package var statistics: LaneStatistics {
        var result = core.state.withLock { state in
            var result = state.statistics
            result.unacknowledgedBytes = UInt64(state.retainedBytes)
            return result
        }
        result.segmentsDropped = core.spare.segmentsDropped.load(ordering: .relaxed)
        result.recordsAppended = recordsAppended
        result.recordsTooLarge = recordsTooLarge
        result.recordsDropped = recordsDropped
        result.reservationsRefused = reservationsRefused
        result.reservedBytes = UInt64(reserved)
        return result
    }

    /// Syncs what has been written, on this thread: what the sync thread does by itself.
    package func commit() throws(EventLogError) {
        try core.commit()
    }

    // MARK: Closing

    /// Writes and syncs what is pending, ends the log and unlocks it. Blocks for the sync.
    ///
    /// - Throws: When the end could not be written; the lane is closed all the same, and the next
    ///   recovery seals the log.
    package func close() throws(EventLogError) {
        guard !isClosed else { return }
        defer {
            core.spare.remove()
            lock.close()
            core.bell.ringTopology()
        }
        let written = Result { () throws(EventLogError) in try write() }
        isClosed = true
        thread?.stop()
        try written.get()
        try core.end()
    }

    /// Stops without ending the log, as a killed process does; for tests of recovery.
    package func abandon() {
        guard !isClosed else { return }
        isClosed = true
        thread?.stop()
        lock.close()
    }
}
