package import EventLog
package import Records

/// What one fold transaction covers, kept as bytes until it is committed, so that offsets which
/// somebody else has folded meanwhile can be dropped and the rest folded again.
package struct RetainedBatch: Sendable {
    /// Something read from a log.
    package enum Item: Sendable {
        /// Records with consecutive offsets.
        case records(LogBatch)
        /// Offsets without records, and the append time that they are accounted under.
        case skip(Range<UInt64>, SkipReason, appendTime: Int64)
        /// The log's end, and when it was noticed.
        case end(UInt64, seenAt: Int64)
    }

    /// An item, and the offsets that are folded from it: another item may have them, too.
    package struct Share: Sendable {
        /// What was read.
        package let item: Item
        /// The offsets for which this item stands.
        package let offsets: OffsetRanges
    }

    /// What was read from one log.
    package struct Slice: Sendable {
        /// In the order in which they came; may cover more offsets than are wanted.
        package var shares: [Share] = []
        /// The offsets to be folded.
        package var wanted = OffsetRanges()

        /// Whether the log's end is in it.
        package var hasEnd: Bool {
            shares.contains { if case .end = $0.item { true } else { false } }
        }
    }

    /// What was read, by log.
    package private(set) var slices: [LogID: Slice] = [:]
    /// Offsets wanted, of all logs.
    package private(set) var offsetCount: UInt64 = 0
    /// Bytes retained.
    package private(set) var byteCount = 0

    /// An empty batch.
    package init() {}

    /// Whether there is nothing to write.
    package var isEmpty: Bool { slices.isEmpty }

    /// The logs, ascending: the order in which their rows are locked.
    package var logs: [LogID] { slices.keys.sorted() }

    /// The logs with offsets to be folded, ascending, with these offsets.
    package var wanted: [(log: LogID, offsets: OffsetRanges)] {
        logs.compactMap { log in
            guard let slice = slices[log], !slice.wanted.isEmpty else { return nil }
            return (log, slice.wanted)
        }
    }

    /// The logs whose end is in the batch.
    package var ended: [LogID] {
        slices.compactMap { log, slice in slice.hasEnd ? log : nil }
    }

    /// Adds what was read from a log.
    ///
    /// - Parameters:
    ///   - item: What was read.
    ///   - log: The log.
    ///   - wanted: Those of the item's offsets that are to be folded.
    package mutating func append(_ item: Item, of log: LogID, wanted: [Range<UInt64>]) {
        var offsets = OffsetRanges()
        for range in wanted {
            offsets.insert(range)
            slices[log, default: Slice()].wanted.insert(range)
            offsetCount += UInt64(range.count)
        }
        slices[log, default: Slice()].shares.append(Share(item: item, offsets: offsets))
        if case .records(let batch) = item { byteCount += batch.byteCount }
    }

    /// Forgets a log; its offsets stay unfolded as far as this batch is concerned.
    package mutating func remove(_ log: LogID) {
        guard slices.removeValue(forKey: log) != nil else { return }
        recount()
    }

    /// Drops the offsets that are folded already, and the logs of which nothing is left. An end
    /// stays: whoever folded the offsets need not have seen it.
    ///
    /// - Parameter folded: The folded sets as reloaded from the database.
    /// - Returns: How many offsets were dropped.
    @discardableResult
    package mutating func dropDuplicates(_ folded: [LogID: OffsetRanges]) -> UInt64 {
        let before = offsetCount
        for (log, done) in folded {
            guard var slice = slices[log], slice.wanted.overlaps(done) else { continue }
            slice.wanted = slice.wanted.subtracting(done)
            slices[log] = slice.wanted.isEmpty && !slice.hasEnd ? nil : slice
        }
        recount()
        return before - offsetCount
    }

    /// Counts offsets and bytes anew; rare, so it need not be clever.
    private mutating func recount() {
        offsetCount = 0
        byteCount = 0
        for slice in slices.values {
            offsetCount += slice.wanted.offsetCount
            for case .records(let batch) in slice.shares.map(\.item) {
                byteCount += batch.byteCount
            }
        }
    }
}
