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
    private var rows: [RowSet]
    /// The offsets that were folded.
    private(set) var folded: [LogID: OffsetRanges] = [:]
    /// How many offsets that are.
    private(set) var offsetCount: UInt64 = 0

    /// Holds nothing yet.
    init(_ definitions: [RollupDefinition]) {
        self.definitions = definitions
        rows = definitions.map { RowSet($0) }
    }

    /// Rows of all rollups.
    var rowCount: Int { rows.reduce(0) { $0 + $1.count } }

    /// What the rows of all rollups take in memory.
    var byteCount: Int { rows.reduce(0) { $0 + $1.byteCount } }

    /// The logs with their offsets, ascending: the order in which their rows are locked.
    var wanted: [(log: LogID, offsets: OffsetRanges)] {
        folded.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    }

    /// Adds what was folded together, in order: this is done while the next batch is folded.
    ///
    /// - Parameters:
    ///   - batch: The rows, whose rollups are those of this.
    ///   - ids: The database's id of each value of each dimension, by its place in the batch.
    mutating func append(_ batch: ReplayBatch, _ ids: [[Int32]]) throws(MeasureError) {
        let output = batch.output.rollups
        for (index, definition) in definitions.enumerated() {
            let places = definition.dimensions.map { dimension in
                dimension.isInteger ? -1 : output.dimensions.firstIndex(of: dimension) ?? -1
            }
            var run = RowSet(definition)
            output.forEachRow(of: index) { row in run.append(row, places, ids) }
            run = try run.merged(definition)
            if rows[index].isEmpty {
                rows[index] = run
            } else {
                rows[index].append(contentsOf: run)
            }
        }
        for (log, offsets) in batch.folded {
            folded[log, default: OffsetRanges()].formUnion(offsets)
        }
        offsetCount += batch.offsetCount
    }

    /// Merges the rows of equal keys.
    mutating func merge() throws(MeasureError) {
        for (index, definition) in definitions.enumerated() {
            rows[index] = try rows[index].merged(definition)
        }
    }

    /// Gives the rows of a rollup away.
    mutating func takeRows(of rollup: Int) -> RowSet {
        var taken = RowSet(definitions[rollup])
        swap(&taken, &rows[rollup])
        return taken
    }

    /// Forgets everything.
    mutating func removeAll() {
        self = ReplayHold(definitions)
    }
}
