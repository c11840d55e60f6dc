internal import FileIO
internal import Records
internal import Synchronization

/// Group commit, and what happens when a sync fails.
extension LaneCore {
    /// What one commit covers.
    private struct Group {
        var segments: [LaneSegment]
        var batchCount: Int
        var directoryChanges: Int
        var needsDirectorySync: Bool
        var mark: MarkValue
    }

    /// Whether there is something that has been written and not synced.
    var hasUncommitted: Bool {
        written.load(ordering: .sequentiallyConsistent) != durable.load(ordering: .acquiring)
            || hasFailed.load(ordering: .relaxed)
    }

    /// Syncs all that has been written so far, moves the durable mark and rings the bell.
    ///
    /// Any thread, one at a time. When the sync fails it is not repeated: everything that is not
    /// acknowledged is written again to new segments; when that fails too, the lane stays unable to
    /// write, and the next commit tries again.
    func commit() throws(EventLogError) {
        try commitTurn.withLock { _ throws(EventLogError) in
            if hasFailed.load(ordering: .relaxed) {
                try rebuild()
                return
            }
            guard let group = nextGroup() else { return }
            let began = time.monotonicNanoseconds()
            do throws(FileIOError) {
                if group.needsDirectorySync {
                    try fileSystem.syncDirectory(directory)
                }
                for segment in group.segments where segment.position > segment.syncedPosition {
                    try segment.file.sync()
                }
            } catch {
                state.withLock { state in
                    state.statistics.syncFailures += 1
                    state.failure = .io(error)
                }
                hasFailed.store(true, ordering: .relaxed)
                try rebuild()
                return
            }
            complete(group, nanoseconds: time.monotonicNanoseconds() &- began)
        }
    }

    /// What has been written and not synced; nil when there is nothing.
    private func nextGroup() -> Group? {
        state.withLock { state in
            let last = state.segments[state.segments.count - 1]
            let needsDirectorySync = state.directoryChanges != state.directorySynced
            guard state.writtenOffset > durableOffset || needsDirectorySync else { return nil }
            return Group(
                segments: state.segments,
                batchCount: state.retained.count,
                directoryChanges: state.directoryChanges,
                needsDirectorySync: needsDirectorySync,
                mark: MarkValue(
                    durableOffset: state.writtenOffset,
                    segmentBase: last.base,
                    position: last.position
                )
            )
        }
    }

    /// Publishes what a group has made durable.
    private func complete(_ group: Group, nanoseconds: UInt64) {
        let sealed = state.withLock { state in
            state.release(group.batchCount)
            unacknowledged.store(state.retainedBytes, ordering: .relaxed)
            state.directorySynced = group.directoryChanges
            state.statistics.syncs += 1
            state.statistics.syncNanoseconds += nanoseconds
            state.statistics.syncNanosecondsMax = max(
                state.statistics.syncNanosecondsMax,
                nanoseconds
            )
            // The group's segments are the first of those there now; nobody else removes any.
            var sealed: [LaneSegment] = []
            for (index, segment) in group.segments.enumerated() {
                if segment.isSealed {
                    sealed.append(segment)
                } else {
                    state.segments[index].syncedPosition = segment.position
                }
            }
            state.segments.removeFirst(sealed.count)
            return sealed
        }
        publish(group.mark)
        for segment in sealed {
            Self.finish(segment)
        }
    }

    /// Writes everything that is not acknowledged to new segments and syncs these.
    ///
    /// The state lock is held throughout, so the writer waits; this happens when a disk fails.
    /// Crash story, per segment: (1) a file that no reader looks at gets a header with a new salt
    /// and the batches; (2) it is synced; (3) a rename makes it the segment of the first
    /// unacknowledged offset, where its predecessor now ends, or replaces the segment that began
    /// there. Killed at any moment, the records are in one or the other. Readers have not gone
    /// beyond the first unacknowledged offset.
    private func rebuild() throws(EventLogError) {
        let value = try state.withLock {
            (state: inout LaneState) throws(EventLogError) -> MarkValue in
            do throws(EventLogError) {
                for index in state.segments.indices {
                    try rebuildSegment(&state, index)
                }
                try io { () throws(FileIOError) in try fileSystem.syncDirectory(directory) }
            } catch {
                state.failure = error
                throw error
            }
            return settle(&state)
        }
        hasFailed.store(false, ordering: .relaxed)
        unacknowledged.store(0, ordering: .relaxed)
        publish(value)
    }

    /// Writes one segment's unacknowledged batches to a new one.
    private func rebuildSegment(_ state: inout LaneState, _ index: Int) throws(EventLogError) {
        let old = state.segments[index]
        let chosen = state.retained.indices.filter { state.retained[$0].segment == old.base }
        guard let first = chosen.first else { return }
        let salt = random()
        for batch in chosen {
            FrameHeader.storeSalt(salt, into: &state.retained[batch].bytes)
        }
        let base = state.retained[first].base
        let path = directory + "/rebuild.tmp"
        let frames = chosen.map { state.retained[$0].bytes }
        let needed = SegmentHeader.blockBytes + frames.reduce(0) { $0 + $1.count }
        let (file, capacity) = try io { () throws(FileIOError) in
            let file = try fileSystem.open(path, .openOrCreate)
            try file.truncate(to: 0)
            do throws(FileIOError) {
                let wanted = max(needed, old.capacity)
                try file.allocate(from: 0, count: UInt64(wanted))
                return (file, wanted)
            } catch {
                guard error.isOutOfSpace else { throw error }
                try file.allocate(from: 0, count: UInt64(needed))
                return (file, needed)
            }
        }
        var segment = try begin(
            file,
            at: path,
            base: base,
            capacity: capacity,
            isReplacing: base == old.base,
            frames: frames,
            salt: salt
        )
        segment.syncedPosition = segment.position
        segment.isSealed = old.isSealed
        old.file.close()
        state.segments[index] = segment
        for batch in chosen {
            state.retained[batch].segment = base
        }
        state.directoryChanges += 1
        state.statistics.segmentsCreated += 1
    }

    /// Takes note that everything written is durable now; the state lock is held.
    private func settle(_ state: inout LaneState) -> MarkValue {
        var active = state.segments.removeLast()
        for segment in state.segments {
            Self.finish(segment)
        }
        // A segment without unacknowledged batches was not rebuilt: its descriptor has failed.
        state.mustRoll =
            state.mustRoll || active.syncedPosition < active.position
            || state.retained.isEmpty
        active.syncedPosition = active.position
        state.segments = [active]
        state.release(state.retained.count)
        state.failure = nil
        state.directorySynced = state.directoryChanges
        activeLeft.store(active.left, ordering: .relaxed)
        return MarkValue(
            durableOffset: state.writtenOffset,
            segmentBase: active.base,
            position: active.position
        )
    }
}

/// The end of a log.
extension LaneCore {
    /// Makes the spare file when the active segment is half full, ahead of need.
    ///
    /// - Returns: False when there is no space for it now; reservations will find out.
    func prepareSpareIfNeeded() -> Bool {
        guard activeLeft.load(ordering: .relaxed) < configuration.segmentBytes / 2 else {
            return true
        }
        do throws(EventLogError) {
            try spare.prepare(SegmentHeader.blockBytes + FrameHeader.headerBytes)
            return true
        } catch {
            return false
        }
    }

    /// Commits everything, writes the end frame and publishes it. The sync thread has stopped.
    func end() throws(EventLogError) {
        try commit()
        if hasFailed.load(ordering: .relaxed) { try commit() }
        let value = try state.withLock {
            (state: inout LaneState) throws(EventLogError) -> MarkValue in
            if let failure = state.failure { throw failure }
            if state.mustRoll {
                try roll(
                    &state,
                    base: state.writtenOffset,
                    frameBytes: FrameHeader.headerBytes
                )
            }
            let active = state.segments[state.segments.count - 1]
            let frame = BatchBuilder.endFrame(
                logID: template.logID,
                endOffset: state.writtenOffset,
                appendTime: time.wallMicroseconds(),
                salt: active.salt
            )
            let end = active.position + UInt64(frame.count)
            try io { () throws(FileIOError) in
                try active.file.write(frame, at: active.position)
                try active.file.sync()
                for segment in state.segments.dropLast() {
                    try segment.file.sync()
                }
                try fileSystem.syncDirectory(directory)
            }
            for var segment in state.segments {
                if segment.base == active.base { segment.position = end }
                Self.finish(segment)
            }
            return MarkValue(
                durableOffset: state.writtenOffset,
                segmentBase: active.base,
                position: end,
                isEnded: true
            )
        }
        // Into both slots, so that one damaged slot does not bring the log back to life.
        mark.store(value)
        publish(value)
    }
}
