package import Records

/// What a log looks like from outside.
package struct LogSummary: Sendable {
    /// The log.
    package let id: LogID
    /// Its segments, oldest first.
    package let segments: [SegmentSummary]
    /// The first offset that is not yet durable; readers stop here.
    package let durableOffset: Offset
    /// The end offset of a closed or sealed log; nil while it is being written.
    package let endOffset: Offset?
    /// The lane's index; nil for logs that no lane wrote (imports).
    package let lane: Int?
    /// The gateway that wrote it.
    package let node: String
    /// The gateway's region.
    package let region: String
    /// When its oldest segment that is left was begun, µs since the epoch.
    package let createdAt: Int64
    /// The log that the lane's earlier incarnation wrote.
    package let predecessor: LogID?

    /// Whether nothing will be appended any more.
    package var isEnded: Bool { endOffset != nil }
    /// The first offset that is still there.
    package var startOffset: Offset { segments.first?.baseOffset ?? durableOffset }
    /// The segments' sizes together.
    package var byteCount: UInt64 { segments.reduce(0) { $0 + $1.byteCount } }
}

/// One segment file.
package struct SegmentSummary: Equatable, Sendable {
    /// The first offset in it.
    package let baseOffset: Offset
    /// Its length.
    package let byteCount: UInt64
    /// Its path.
    package let path: String
}

/// What was deleted from a log: its offsets and event times stay known.
package struct Tombstone: Equatable, Sendable {
    /// The log.
    package let log: LogID
    /// The offsets that are gone.
    package let offsets: Range<Offset>
    /// The earliest event time among them, µs since the epoch; nil when there were no records.
    package let eventTimeMin: Int64?
    /// The latest event time among them.
    package let eventTimeMax: Int64?
    /// When they were deleted, µs since the epoch.
    package let deletedAt: Int64
}

/// What recovery found in a log whose process died.
package struct RecoveryReport: Equatable, Sendable {
    /// A range of offsets that are not there.
    package struct Loss: Equatable, Sendable {
        /// Why they are not there.
        package enum Kind: String, Sendable {
            /// They had been synced, or a consumer had seen them: bytes changed afterwards.
            case damaged
            /// They were written but not synced when the machine stopped.
            case lostBeforeSync = "lost_before_sync"
        }
        /// Why they are not there.
        package let kind: Kind
        /// Which ones.
        package let offsets: Range<Offset>

        /// Describes a loss.
        package init(kind: Kind, offsets: Range<Offset>) {
            self.kind = kind
            self.offsets = offsets
        }
    }

    /// The log.
    package let log: LogID
    /// The end offset that it was sealed with.
    package let endOffset: Offset
    /// How many records are there.
    package let recordCount: UInt64
    /// The offsets that are not there.
    package let losses: [Loss]
    /// Bytes after the last valid frame: writes that were cut short.
    package let tornBytes: UInt64
    /// Whether bytes at the end are damaged and nothing says how many records they held, so that
    /// the losses are "at least" those listed.
    package let isAtLeast: Bool
    /// Files that were moved aside because the sealing segment needed their name.
    package let movedAside: [String]
}
