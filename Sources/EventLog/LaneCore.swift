internal import FileIO
internal import Records
internal import Synchronization

/// The part of a lane that its writer and its sync thread share.
///
/// Lock order: `commitTurn`, `state`, `spare`.
final class LaneCore: Sendable {
    /// The log's directory.
    let directory: String
    /// How the lane is written.
    let configuration: LogConfiguration
    /// What every segment's header says; base offset, salt and times are filled in.
    let template: SegmentHeader
    let fileSystem: any FileSystem
    let time: any TimeSource
    /// Salts.
    let random: @Sendable () -> UInt64
    let mark: DurableMark
    let bell: Bell

    let state: Mutex<LaneState>
    /// Held by whoever commits.
    let commitTurn = Mutex(())
    /// The file of the next segment.
    let spare: SpareSegment
    let durable = Atomic<UInt64>(0)
    let written = Atomic<UInt64>(0)
    /// The bytes that are left in the active segment, for `reserve`.
    let activeLeft = Atomic(0)
    let unacknowledged = Atomic(0)
    let hasFailed = Atomic(false)

    /// Makes the first segment of a new log in its directory.
    init(
        directory: String,
        configuration: LogConfiguration,
        template: SegmentHeader,
        fileSystem: any FileSystem,
        time: any TimeSource,
        random: @escaping @Sendable () -> UInt64,
        mark: DurableMark,
        bell: Bell,
        makeRoom: @escaping @Sendable () -> Bool
    ) throws(EventLogError) {
        self.directory = directory
        self.configuration = configuration
        self.template = template
        self.fileSystem = fileSystem
        self.time = time
        self.random = random
        self.mark = mark
        self.bell = bell
        spare = SpareSegment(
            path: directory + "/next.tmp",
            fileSystem: fileSystem,
            segmentBytes: configuration.segmentBytes,
            makeRoom: configuration.onFull == .dropOldestShipped ? makeRoom : nil
        )
        state = Mutex(LaneState(segments: []))
        try state.withLock { (state: inout LaneState) throws(EventLogError) in
            try roll(&state, base: .zero, frameBytes: FrameHeader.headerBytes)
        }
    }

    /// The first offset that is not durable yet.
    var durableOffset: Offset { Offset(durable.load(ordering: .acquiring)) }

    // MARK: Writing (the lane's thread)

    /// Writes a batch to the active segment, or to a new one when it does not fit.
    ///
    /// - Parameter batch: Emptied on success; as it was when this throws.
    func write(_ batch: inout BatchBuilder) throws(EventLogError) {
        let now = time.wallMicroseconds()
        let end = batch.baseOffset.advanced(by: UInt64(batch.count))
        let mark = try state.withLock {
            (state: inout LaneState) throws(EventLogError) -> MarkValue in
            if let failure = state.failure { throw failure }
            do throws(EventLogError) {
                try writeLocked(&state, &batch, now: now)
            } catch {
                state.statistics.writeFailures += 1
                throw error
            }
            state.writtenOffset = end
            let active = state.segments[state.segments.count - 1]
            return MarkValue(
                durableOffset: end,
                segmentBase: active.base,
                position: active.position
            )
        }
        written.store(end.rawValue, ordering: .sequentiallyConsistent)
        if configuration.sync == .os {
            publish(mark)
        }
    }

    /// Writes a batch; the state lock is held.
    private func writeLocked(
        _ state: inout LaneState,
        _ batch: inout BatchBuilder,
        now: Int64
    ) throws(EventLogError) {
        let active = state.segments[state.segments.count - 1]
        let isFull = Int(active.position) + batch.byteCount > active.capacity
        if state.mustRoll || (isFull && !active.isEmpty) {
            try roll(&state, base: batch.baseOffset, frameBytes: batch.byteCount)
        }
        let last = state.segments.count - 1
        let segment = state.segments[last]
        let size = batch.byteCount
        batch.seal(appendTime: now, durableOffset: durableOffset, salt: segment.salt)
        do throws(FileIOError) {
            try segment.file.write(batch.frame, at: segment.position)
        } catch {
            state.mustRoll = true
            throw .io(error)
        }
        state.segments[last].position += UInt64(size)
        activeLeft.store(state.segments[last].left, ordering: .relaxed)
        state.statistics.batchesWritten += 1
        state.statistics.bytesWritten += UInt64(size)
        if configuration.sync == .os {
            batch.removeAll()
        } else {
            let base = batch.baseOffset
            let bytes = batch.takeFrame(replacement: state.buffers.popLast() ?? [])
            state.retained.append(RetainedBatch(bytes: bytes, base: base, segment: segment.base))
            state.retainedBytes += size
            unacknowledged.store(state.retainedBytes, ordering: .relaxed)
        }
    }

    /// Seals the active segment and begins the next one; the state lock is held.
    ///
    /// Crash story: (1) the spare file, which no reader looks at, gets its header; (2) the rename
    /// makes it a segment. Killed before (2), the old segment is simply the last one. The directory
    /// is synced before the durable mark moves into the new segment.
    func roll(
        _ state: inout LaneState,
        base: Offset,
        frameBytes: Int
    ) throws(EventLogError) {
        try spare.prepare(SegmentHeader.blockBytes + frameBytes)
        let isReplacing = state.segments.last?.base == base
        let segment = try spare.take { (ready) throws(EventLogError) -> LaneSegment in
            try begin(
                ready.file,
                at: spare.path,
                base: base,
                capacity: ready.capacity,
                isReplacing: isReplacing,
                frames: []
            )
        }
        if let last = state.segments.indices.last {
            if state.segments[last].base == base {
                state.segments.removeLast().file.close()
            } else if configuration.sync == .os {
                Self.finish(state.segments.removeLast())
            } else {
                state.segments[last].isSealed = true
            }
        }
        state.segments.append(segment)
        state.mustRoll = false
        state.directoryChanges += 1
        state.statistics.segmentsCreated += 1
        activeLeft.store(segment.left, ordering: .relaxed)
        bell.ringTopology()
    }

    /// Writes a segment's header and frames into an unpublished file and gives it its name.
    func begin(
        _ file: any File,
        at path: String,
        base: Offset,
        capacity: Int,
        isReplacing: Bool,
        frames: [[UInt8]],
        salt: UInt64? = nil
    ) throws(EventLogError) -> LaneSegment {
        var header = template
        header.baseOffset = base
        header.salt = salt ?? random()
        header.createdAt = time.wallMicroseconds()
        header.durableOffset = durableOffset
        let target = LogPaths.segment(base, in: directory)
        var position = UInt64(SegmentHeader.blockBytes)
        try io { () throws(FileIOError) in
            try file.write(header.encoded(), at: 0)
            for frame in frames {
                try file.write(frame, at: position)
                position += UInt64(frame.count)
            }
            if !frames.isEmpty {
                try file.sync()
            }
            try fileSystem.rename(path, to: target, replacing: isReplacing)
        }
        return LaneSegment(
            file: file,
            path: target,
            base: base,
            salt: header.salt,
            capacity: capacity,
            position: position
        )
    }

    /// Gives back the space reserved beyond a sealed segment's end, and closes it.
    static func finish(_ segment: LaneSegment) {
        // Only space is at stake, so an error changes nothing.
        try? segment.file.truncate(to: segment.position)
        segment.file.close()
    }

    // MARK: Publishing

    /// Moves the durable mark and tells everyone; the records are durable already.
    func publish(_ value: MarkValue) {
        mark.store(value)
        durable.store(value.durableOffset.rawValue, ordering: .releasing)
        bell.ring()
        let onDurable = state.withLock { $0.onDurable }
        onDurable?(value.durableOffset)
    }
}
