import EventLog
import Records
import Rollups

/// Rows that a replay has folded and not yet written, with the offsets that they stand for: they
/// are written together, so that what a bucket gets is merged in memory and not in the database.
struct ReplayHold {
    /// The rollups.
    private let definitions: [RollupDefinition]
    /// The rows of each rollup: ascending runs, one for each batch, so that bringing them into
    /// order is merging; equal keys may be there more than once.
    private var runs: [[RowSet]]
    /// The offsets that were folded.
    private(set) var folded: [LogID: OffsetRanges] = [:]
    /// How many offsets that are.
    private(set) var offsetCount: UInt64 = 0

    /// Holds nothing yet.
    init(_ definitions: [RollupDefinition]) {
        self.definitions = definitions
        runs = definitions.map { _ in [] }
    }

    /// Rows of all rollups.
    var rowCount: Int { runs.joined().reduce(0) { $0 + $1.count } }

    /// What the rows of all rollups take in memory.
    var byteCount: Int { runs.joined().reduce(0) { $0 + $1.byteCount } }

    /// The logs with their offsets, ascending: the order in which their rows are locked.
    var wanted: [(log: LogID, offsets: OffsetRanges)] {
        folded.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    }

    /// Adds what was folded together.
    mutating func append(_ run: consuming ReplayRun) {
        for (index, rows) in run.rows.enumerated() where !rows.isEmpty {
            runs[index].append(rows)
        }
        for (log, offsets) in run.folded {
            folded[log, default: OffsetRanges()].formUnion(offsets)
        }
        offsetCount += run.offsetCount
    }

    /// Merges the rows of equal keys.
    mutating func merge() throws(CompactionFailure) {
        for (index, definition) in definitions.enumerated() {
            let rows = takeRows(of: index)
            runs[index] = [try RowMerge.merged(rows, definition, for: definition.name)]
        }
    }

    /// Gives the rows of a rollup away, as ascending runs.
    mutating func takeRows(of rollup: Int) -> [RowSet] {
        var taken: [RowSet] = []
        swap(&taken, &runs[rollup])
        return taken
    }

    /// Forgets everything.
    mutating func removeAll() {
        self = ReplayHold(definitions)
    }
}
