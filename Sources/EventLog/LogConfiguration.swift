/// When appended records count as durable.
package enum SyncMode: String, Sendable, CaseIterable {
    /// After the `fdatasync` that covers them; one begins as soon as there is something to sync.
    case strict
    /// After the `fdatasync` that covers them; one begins every `syncInterval`.
    case interval
    /// As soon as the kernel has them; nothing is ever synced.
    case os
}

/// What to do when no disk space is left for another segment.
package enum OnFull: String, Sendable, CaseIterable {
    /// `reserve` returns false, so that the request can be refused.
    case block
    /// The oldest segments that every configured consumer has passed are deleted; then as `block`.
    case dropOldestShipped = "drop_oldest_shipped"
    /// `reserve` returns true, and records are dropped and counted.
    case dropNew = "drop_new"
}

/// How long sealed segments that every configured consumer has passed are kept.
package struct RetentionPolicy: Equatable, Sendable {
    /// Segments are kept until they are older than this; nil keeps them for ever.
    package var age: Duration?
    /// The oldest segments are deleted while the logs together are larger; nil is no limit.
    package var bytes: UInt64?
    /// Segments are deleted as soon as they have been consumed.
    package var deletesConsumed: Bool

    /// Makes a policy; the default one keeps everything.
    package init(age: Duration? = nil, bytes: UInt64? = nil, deletesConsumed: Bool = false) {
        self.age = age
        self.bytes = bytes
        self.deletesConsumed = deletesConsumed
    }
}

/// How a lane is written.
package struct LogConfiguration: Sendable {
    /// When records count as durable.
    package var sync: SyncMode = .interval
    /// The longest time between two syncs in mode `interval`.
    package var syncInterval: Duration = .milliseconds(10)
    /// The size at which a segment is sealed and the next one begun, in bytes.
    package var segmentBytes: Int = 256 << 20
    /// The largest record, prefix included, in bytes; chosen: 1 MiB.
    package var recordBytesMax: Int = 1 << 20
    /// The pending batch is written once it is larger, without waiting for `write`; chosen: 4 MiB,
    /// four of the largest records.
    package var batchBytesMax: Int = 4 << 20
    /// Appends pause while more bytes than this are written but not yet synced; chosen: 64 MiB.
    package var unacknowledgedBytesMax: Int = 64 << 20
    /// What is kept, when `onFull` has to make room.
    package var retention = RetentionPolicy()
    /// What to do when the disk is full.
    package var onFull: OnFull = .block
    /// The consumers whose checkpoints hold back deletion.
    package var consumers: [String] = []
    /// The gateway's name, stored in every segment.
    package var node = ""
    /// The gateway's region, stored in every segment.
    package var region = ""
    /// The organisations that the log's requests may belong to, declared by its first record: a
    /// transport that others can write to takes no other's for it. None: the first request's.
    package var orgs: [String] = []
    /// Whether the lane starts its sync thread; tests that call `commit` themselves do without.
    package var startsSyncThread = true

    /// The defaults.
    package init() {}
}
