internal import FileIO
internal import Records

/// A segment that a lane writes or has yet to sync.
struct LaneSegment: Sendable {
    /// The open file.
    let file: any File
    /// Its path.
    let path: String
    /// The offset of its first record.
    let base: Offset
    /// The salt of its frames.
    let salt: UInt64
    /// How many bytes are allocated to it.
    var capacity: Int
    /// Where the next frame goes.
    var position: UInt64
    /// How far it has been synced.
    var syncedPosition: UInt64 = 0
    /// Whether the lane has gone on to another one.
    var isSealed = false

    /// How many bytes are left.
    var left: Int { max(0, capacity - Int(position)) }

    /// Whether it has no frames.
    var isEmpty: Bool { position <= UInt64(SegmentHeader.blockBytes) }
}

/// A batch that has been written but not synced, kept so that a failed sync loses nothing.
struct RetainedBatch: Sendable {
    /// The frame as written.
    var bytes: [UInt8]
    /// The offset of its first record.
    let base: Offset
    /// The base offset of the segment that it was written to.
    var segment: Offset
}

/// What a lane's writer and its sync thread share, under one lock.
///
/// The lock is held for a `pwrite`, and for the whole of a rebuild after a failed sync; never for a
/// sync.
struct LaneState: Sendable {
    /// Segments with something to sync, oldest first; the last one is active.
    var segments: [LaneSegment]
    /// The first offset that has not been written.
    var writtenOffset = Offset.zero
    /// Batches that are not synced yet, oldest first; empty in mode `os`.
    var retained: [RetainedBatch] = []
    /// Their size.
    var retainedBytes = 0
    /// Arrays of synced batches, to be filled again; at most `buffersMax`.
    var buffers: [[UInt8]] = []
    /// Whether a write to the active segment has failed, so that the next one goes elsewhere.
    var mustRoll = false
    /// Why the lane cannot write: a sync failed, and so did writing everything again elsewhere.
    var failure: EventLogError?
    /// Counts directory changes; compared with `directorySynced`.
    var directoryChanges = 1
    /// The value of `directoryChanges` that the last directory sync covered.
    var directorySynced = 0
    /// Called when the durable offset has moved.
    var onDurable: (@Sendable (Offset) -> Void)?
    /// Counters.
    var statistics = LaneStatistics()

    /// How many arrays are kept for reuse; chosen: two groups of commits in flight, with slack.
    static let buffersMax = 8

    /// Drops batches that are synced, and keeps some of their arrays.
    mutating func release(_ count: Int) {
        for batch in retained.prefix(count) {
            retainedBytes -= batch.bytes.count
            if buffers.count < Self.buffersMax {
                buffers.append(batch.bytes)
            }
        }
        retained.removeFirst(count)
    }
}
