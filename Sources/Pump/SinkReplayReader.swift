import EventLog
import FileIO
import Records
import Sinks

/// Reads what a replay delivers of one log, batch by batch.
///
/// A record is of the range if it completed in it; one that does not say when goes by the time at
/// which it was appended. Every call may block on files.
///
/// Owner: one thread.
struct SinkReplayReader {
    /// A part of the log.
    struct Chunk: Sendable {
        /// Everything below was looked at.
        var end: UInt64
        /// What is to be delivered; nil when nothing is.
        var batch: SinkBatch?
        /// What is not delivered, and why.
        var counts = SinkReplayCounts()
    }

    /// Offsets looked at for one chunk when few of them are of the range; chosen: so that the
    /// position is stored now and then.
    private static let offsetsMax: UInt64 = 500_000

    private let log: SinkReplayPlan.Log
    private let from: Int64
    private let to: Int64
    private let holdings: SinkHoldings?
    private let isTransport: Bool
    private let recordsMax: Int
    private let bytesMax: Int
    private var reader: LogReader
    private var position: UInt64
    private var appendTime: Int64

    /// A reader that begins where the plan says.
    ///
    /// - Parameters:
    ///   - log: Of which log, from where, and how far.
    ///   - range: Which records are wanted, by completion in µs since the epoch.
    ///   - holdings: What the destination has already.
    ///   - pumped: The sink with the limits of its batches.
    ///   - directory: The logs.
    init(
        _ log: SinkReplayPlan.Log,
        range: Range<Int64>,
        holdings: SinkHoldings?,
        for pumped: PumpedSink,
        in directory: LogDirectory
    ) throws(EventLogError) {
        self.log = log
        from = range.lowerBound
        to = range.upperBound
        self.holdings = holdings
        isTransport = pumped.sink.traits.isTransport
        recordsMax = pumped.batchRecordsMax
        bytesMax = pumped.batchBytesMax
        reader = try directory.reader(log.id, from: Offset(log.next))
        position = log.next
        appendTime = directory.time.wallMicroseconds()
    }

    /// The next part; nil at the end.
    mutating func next() throws(EventLogError) -> Chunk? {
        guard position < log.end else { return nil }
        var chunk = Chunk(end: position)
        var items: [SinkItem] = []
        var wanted: [Range<Offset>] = []
        var records = 0
        var bytes = 0
        let first = position
        while position < log.end, records < recordsMax, bytes < bytesMax,
            position - first < Self.offsetsMax
        {
            guard let item = try reader.next() else {
                // Nothing more can come: the log was longer when the replay began.
                chunk.counts.unreadable += log.end - position
                position = log.end
                break
            }
            switch item {
            case .records(let batch):
                let all = batch.baseOffset.rawValue..<min(batch.nextOffset.rawValue, log.end)
                position = max(position, all.upperBound)
                appendTime = batch.appendTime
                let parts = sift(batch, all, &chunk.counts)
                guard !parts.isEmpty else { continue }
                items.append(.records(batch))
                for part in parts {
                    wanted.append(Offset(part.lowerBound)..<Offset(part.upperBound))
                    records += part.count
                }
                bytes += batch.byteCount
            case .skip(let range, let reason):
                let until = min(range.upperBound.rawValue, log.end)
                let count = until - min(until, max(position, range.lowerBound.rawValue))
                position = max(position, until)
                if reader.isMissing || reason == .expired || reason == .damaged {
                    chunk.counts.unreadable += count
                }
                // What is gone here may have been delivered before.
                guard isTransport, !reader.isMissing, reason != .expired else { continue }
                items.append(.skip(range, reason, appendTime: appendTime))
                chunk.counts.skipped += count
            case .end(let offset):
                position = log.end
                if isTransport { items.append(.end(offset, appendTime: appendTime)) }
            }
        }
        // The end has no offset of its own: it comes behind the last one.
        if position >= log.end, isTransport, case .end(let offset) = try reader.next() {
            items.append(.end(offset, appendTime: appendTime))
        }
        chunk.end = position
        if !items.isEmpty { chunk.batch = SinkBatch(log: log.id, items: items, wanted: wanted) }
        return chunk
    }

    /// Which records of a batch are to be delivered; the others of the range are counted.
    private func sift(
        _ batch: LogBatch,
        _ all: Range<UInt64>,
        _ counts: inout SinkReplayCounts
    ) -> [Range<UInt64>] {
        guard batch.eventTimeMax >= from, batch.eventTimeMin < to else { return [] }
        var ours: [Range<UInt64>] = []
        if batch.eventTimeMin >= from, batch.eventTimeMax < to {
            ours = [all]
        } else {
            batch.forEach { offset, bytes in
                let offset = offset.rawValue
                guard offset < all.upperBound, isWanted(bytes, batch) else { return }
                if let last = ours.indices.last, ours[last].upperBound == offset {
                    ours[last] = ours[last].lowerBound..<(offset + 1)
                } else {
                    ours.append(offset..<(offset + 1))
                }
            }
        }
        var result: [Range<UInt64>] = []
        for range in ours {
            let mine = range.clamped(to: 0..<log.limit)
            counts.pending += UInt64(range.count - mine.count)
            let missing = holdings?.missing(mine, of: log.id) ?? (mine.isEmpty ? [] : [mine])
            counts.present += UInt64(mine.count - missing.reduce(0) { $0 + $1.count })
            result += missing
        }
        return result
    }

    /// Whether a record is of the range.
    private func isWanted(_ bytes: RawSpan, _ batch: LogBatch) -> Bool {
        var time = batch.appendTime
        if let view = try? RecordView.decode(bytes), view.completedAt > 0 {
            time = view.completedAt
        }
        return time >= from && time < to
    }
}
