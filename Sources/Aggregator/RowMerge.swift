import Postgres
import Rollups

/// Puts the next rows of a place into an empty set; leaves it when there are none.
typealias RowRefill = (_ place: Int, _ block: inout RowSet) throws(PostgresError) -> Void

/// Merges ascending rows from several places into one ascending sequence, those of equal keys into
/// one row.
///
/// A place gives its rows a block at a time: from memory all at once, from a stored run as many as
/// are read together. All rows up to some key are brought into order together, which takes half the
/// time of choosing a place for each row.
struct RowMerge {
    /// The table that rows are for, for messages.
    private let table: String
    /// The rows at hand of each place.
    private var blocks: [RowSet]
    /// The next of them.
    private var next: [Int]
    /// The places that may have more.
    private var open: [Int]
    /// Those that are brought into order together.
    private var rows: RowSet

    /// Rows that are brought into order together. Chosen: they stay in a processor's cache.
    private static let rowsMax = 8_192

    /// Begins with the first block of each place.
    init(_ blocks: [RowSet], _ definition: RollupDefinition, for table: String) {
        self.table = table
        self.blocks = blocks
        next = [Int](repeating: 0, count: blocks.count)
        open = Array(blocks.indices)
        rows = RowSet(definition)
    }

    /// The rows of some sets, each of which ascends, as one set.
    static func merged(
        _ runs: [RowSet],
        _ definition: RollupDefinition,
        for table: String
    ) throws(CompactionFailure) -> RowSet {
        let runs = runs.filter { !$0.isEmpty }
        guard runs.count > 1 else { return runs.first ?? RowSet(definition) }
        var result = RowSet(definition)
        result.reserve(
            runs.reduce(0) { $0 + $1.count },
            runs.reduce(0) { $0 + $1.blobByteCount }
        )
        var merge = RowMerge(runs, definition, for: table)
        while try merge.append(to: &result, refill: { _, _ in }) {}
        return result
    }

    /// Appends the next rows, some thousand at most; false when none is left.
    ///
    /// - Parameters:
    ///   - result: Gets the rows.
    ///   - refill: Gives the next block of a place.
    mutating func append(
        to result: inout RowSet,
        refill: RowRefill
    ) throws(CompactionFailure) -> Bool {
        for place in open where next[place] == blocks[place].count {
            blocks[place].removeAll(keepingCapacity: true)
            next[place] = 0
            do throws(PostgresError) { try refill(place, &blocks[place]) } catch {
                throw .database(error)
            }
        }
        open.removeAll { blocks[$0].isEmpty }
        guard !open.isEmpty else { return false }
        let parts = nextParts(atMost: max(1, Self.rowsMax / open.count))
        defer { for (place, part) in zip(open, parts) { next[place] = part.upperBound } }
        let filled = open.indices.filter { !parts[$0].isEmpty }
        if filled.count == 1 {
            result.append(blocks.span[open[filled[0]]], parts[filled[0]])
            return true
        }
        rows.removeAll(keepingCapacity: true)
        for index in filled { rows.append(blocks.span[open[index]], parts[index]) }
        do throws(MeasureError) { try result.append(merging: rows) } catch {
            throw .malformed(error, table: table)
        }
        return true
    }

    /// The rows of the open places that come next, so many of each at most: none that is left comes
    /// before any of them.
    private func nextParts(atMost count: Int) -> [Range<Int>] {
        var parts = open.map { next[$0]..<min(next[$0] + count, blocks[$0].count) }
        var least = 0
        for index in open.indices.dropFirst()
        where RowSet.precedes(
            blocks.span[open[index]],
            parts[index].upperBound - 1,
            blocks.span[open[least]],
            parts[least].upperBound - 1
        ) {
            least = index
        }
        let last = parts[least].upperBound - 1
        for index in open.indices where index != least {
            // Rows up to the last one of that place.
            var (start, end) = (parts[index].lowerBound, parts[index].upperBound)
            while start < end {
                let middle = start + (end - start) / 2
                if RowSet.precedes(
                    blocks.span[open[least]],
                    last,
                    blocks.span[open[index]],
                    middle
                ) {
                    end = middle
                } else {
                    start = middle + 1
                }
            }
            parts[index] = parts[index].lowerBound..<start
        }
        return parts
    }
}
