import EventLog
import Records
import Rollups

/// Takes what was read of a log, and those of its offsets that are to be folded; refused is what
/// the log is not trusted with.
typealias ReplayFold = (
    _ item: RetainedBatch.Item, _ log: LogID, _ wanted: OffsetRanges, _ trust: inout LogTrust
) throws(ReplayError) -> Void

/// Where a replay reads records. Every call blocks.
protocol ReplaySource: Sendable {
    /// What the records are read from, for people.
    var name: String { get }

    /// Whether records may be folded later than they are read, and in any order; otherwise folding
    /// one says whether its log is trusted with the next.
    var isReadAhead: Bool { get }

    /// Reads what is wanted, each record once.
    ///
    /// - Parameters:
    ///   - wanted: The offsets.
    ///   - folded: All offsets that the active generation has: others may be wanted later.
    ///   - fold: Gets records, and nothing else.
    /// - Returns: What has no records, or is not there.
    func read(
        _ wanted: [LogID: OffsetRanges],
        folded: [LogID: OffsetRanges],
        _ fold: ReplayFold
    ) throws(ReplayError) -> ReplayPassed

    /// A bound of the completion of records that this source lost, when it knows one: µs since the
    /// epoch.
    ///
    /// - Parameters:
    ///   - log: Their log.
    ///   - offsets: Their offsets.
    func latestCompletion(of log: LogID, _ offsets: OffsetRanges) -> Int64?
}

/// The event logs of a data directory, read together in the order in which they were appended, so
/// that the rows of one time are folded together.
struct LogReplaySource: ReplaySource {
    let directory: LogDirectory

    var name: String { "the event logs of this data directory" }

    var isReadAhead: Bool { true }

    /// Logs read at once; each may hold 1 MiB. Chosen: more than the lanes of a machine.
    private static let readersMax = 32

    func latestCompletion(of log: LogID, _ offsets: OffsetRanges) -> Int64? { nil }

    /// One log on its way.
    private struct Open {
        let log: LogID
        let wanted: OffsetRanges
        let last: UInt64
        var reader: LogReader
        var position: UInt64
        /// The next records, and when they were appended.
        var batch: LogBatch?

        var appendTime: Int64 { batch?.appendTime ?? .max }
    }

    func read(
        _ wanted: [LogID: OffsetRanges],
        folded: [LogID: OffsetRanges],
        _ fold: ReplayFold
    ) throws(ReplayError) -> ReplayPassed {
        var passed = ReplayPassed()
        var queue = try Self.ordered(wanted, in: directory, &passed)
        var open: [Open] = []
        while true {
            while open.count < Self.readersMax, let next = queue.popLast() {
                guard var begun = try begin(next, wanted[next] ?? OffsetRanges()) else { continue }
                if try advance(&begun, &passed) { open.append(begun) }
            }
            guard let first = open.indices.min(by: { open[$0].appendTime < open[$1].appendTime })
            else { return passed }
            if let batch = open[first].batch {
                let range = batch.baseOffset.rawValue..<batch.nextOffset.rawValue
                let here = OffsetRanges(range).intersection(open[first].wanted)
                var trust = LogTrust.unlimited
                if !here.isEmpty { try fold(.records(batch), open[first].log, here, &trust) }
            }
            if try !advance(&open[first], &passed) { open.remove(at: first) }
        }
    }

    /// The logs that are there, the oldest last.
    private static func ordered(
        _ wanted: [LogID: OffsetRanges],
        in directory: LogDirectory,
        _ passed: inout ReplayPassed
    ) throws(ReplayError) -> [LogID] {
        var found: [(log: LogID, createdAt: Int64)] = []
        for (log, ranges) in wanted {
            do throws(EventLogError) {
                if let summary = try directory.log(log) {
                    found.append((log, summary.createdAt))
                } else {
                    passed.missing[log] = ranges
                }
            } catch { throw .log(error) }
        }
        return found.sorted { ($0.createdAt, $0.log) > ($1.createdAt, $1.log) }.map(\.log)
    }

    private func begin(_ log: LogID, _ wanted: OffsetRanges) throws(ReplayError) -> Open? {
        guard let first = wanted.ranges.first?.lowerBound,
            let last = wanted.ranges.last?.upperBound
        else { return nil }
        do throws(EventLogError) {
            return Open(
                log: log,
                wanted: wanted,
                last: last,
                reader: try directory.reader(log, from: Offset(first)),
                position: first
            )
        } catch { throw .log(error) }
    }

    /// Reads on to the next records; false at the end.
    private func advance(
        _ open: inout Open,
        _ passed: inout ReplayPassed
    ) throws(ReplayError) -> Bool {
        open.batch = nil
        while open.position < open.last {
            let item: LogItem?
            do throws(EventLogError) { item = try open.reader.next() } catch { throw .log(error) }
            switch item {
            case .records(let batch):
                open.position = max(open.position, batch.nextOffset.rawValue)
                open.batch = batch
                return true
            case .skip(let offsets, _):
                let range = offsets.numbers
                open.position = max(open.position, range.upperBound)
                let here = OffsetRanges(range).intersection(open.wanted)
                passed.skipped[open.log, default: OffsetRanges()].formUnion(here)
            case .end, nil: return false
            }
        }
        return false
    }
}
