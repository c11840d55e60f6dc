/// Counters of a lane since it was opened; all only grow, except where "now" is said.
package struct LaneStatistics: Equatable, Sendable {
    /// Records appended.
    package var recordsAppended: UInt64 = 0
    /// Batches written.
    package var batchesWritten: UInt64 = 0
    /// Bytes written, headers included.
    package var bytesWritten: UInt64 = 0
    /// Segments begun.
    package var segmentsCreated: UInt64 = 0
    /// Successful syncs.
    package var syncs: UInt64 = 0
    /// Time spent in successful syncs, ns.
    package var syncNanoseconds: UInt64 = 0
    /// The longest successful sync, ns.
    package var syncNanosecondsMax: UInt64 = 0
    /// Failed syncs; each began a new segment.
    package var syncFailures: UInt64 = 0
    /// Failed writes; the batch stays pending.
    package var writeFailures: UInt64 = 0
    /// Records larger than the limit.
    package var recordsTooLarge: UInt64 = 0
    /// Records dropped because the disk was full (`drop_new`).
    package var recordsDropped: UInt64 = 0
    /// Reservations refused because the disk was full (`block`).
    package var reservationsRefused: UInt64 = 0
    /// Segments deleted to make room (`drop_oldest_shipped`).
    package var segmentsDropped: UInt64 = 0
    /// Bytes reserved now.
    package var reservedBytes: UInt64 = 0
    /// Bytes written and not yet synced, now.
    package var unacknowledgedBytes: UInt64 = 0
}
