import Postgres
import Rollups

/// Merges ascending rows from several places into one ascending sequence, those of equal keys into
/// one row.
///
/// A place gives its rows a block at a time: from memory all at once, from a stored run as many as
/// are read together.
struct RowMerge {
    /// The table that rows are for, for messages.
    private let table: String
    /// The rows at hand of each place.
    private var blocks: [RowSet]
    /// The next of them.
    private var next: [Int]
    /// How many numbers a key has.
    private let width: Int
    /// The key of the next row of each place, side by side: here comparisons cost least.
    private var keys: [Int64]
    /// The places that have rows left, as a binary heap: the least key first.
    private var heap: [Int] = []
    /// The key that is being merged.
    private var least: [Int64]
    /// The places whose next row has that key, unless they are too many.
    private var equal: [Int] = []
    /// One row each: what is merged so far.
    private var merged: RowSet
    private var further: RowSet
    private var accumulator = MeasureAccumulator()

    /// More rows of a key than these are added up; fewer are merged two by two, which is cheaper as
    /// long as what is merged already is small. Chosen.
    private static let equalMax = 4

    /// Begins with the first block of each place.
    init(_ blocks: [RowSet], _ definition: RollupDefinition, for table: String) {
        merged = RowSet(definition)
        further = RowSet(definition)
        self.table = table
        self.blocks = blocks
        next = [Int](repeating: 0, count: blocks.count)
        width = (blocks.first?.width ?? 0) + 1
        keys = [Int64](repeating: 0, count: blocks.count * width)
        least = [Int64](repeating: 0, count: width)
        for place in blocks.indices where !blocks[place].isEmpty {
            loadKey(place)
            heap.append(place)
        }
        for index in heap.indices.reversed() { siftDown(index) }
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
        try merge.append(to: &result, rowsMax: .max) { _ in nil }
        return result
    }

    /// Appends merged rows until there are so many, or none is left.
    ///
    /// - Parameters:
    ///   - result: Gets the rows.
    ///   - rowsMax: How many it may have.
    ///   - refill: Gives the next block of a place; nil when it has no more.
    mutating func append(
        to result: inout RowSet,
        rowsMax: Int,
        refill: (Int) throws(PostgresError) -> RowSet?
    ) throws(CompactionFailure) {
        while let place = heap.first, result.count < rowsMax {
            let start = next[place]
            let end = start + min(blocks[place].count - start, rowsMax - result.count)
            let passed = lead(of: place, start..<end)
            if passed > start {
                result.append(blocks[place], start..<passed)
                try advance(to: passed, refill)
            } else {
                try appendEqual(to: &result, refill)
            }
        }
    }

    /// Where the rows of the first place end that come before those of all others.
    private func lead(of place: Int, _ rows: Range<Int>) -> Int {
        guard heap.count > 1 else { return rows.upperBound }
        let other =
            heap.count > 2 && precedes(heap[2], heap[1]) ? heap[2] * width : heap[1] * width
        for row in rows {
            let bucket = blocks[place].buckets[row]
            if bucket < keys[other] { continue }
            if bucket > keys[other] { return row }
            let first = row * (width - 1) - 1
            var index = 1
            while index < width, Int64(blocks[place].ids[first + index]) == keys[other + index] {
                index += 1
            }
            if index == width || Int64(blocks[place].ids[first + index]) > keys[other + index] {
                return row
            }
        }
        return rows.upperBound
    }

    /// Merges the rows that have the least key.
    private mutating func appendEqual(
        to result: inout RowSet,
        _ refill: (Int) throws(PostgresError) -> RowSet?
    ) throws(CompactionFailure) {
        for index in 0..<width { least[index] = keys[heap[0] * width + index] }
        findEqual()
        if equal.count <= Self.equalMax {
            do throws(MeasureError) { try appendInPairs(to: &result) } catch {
                throw .malformed(error, table: table)
            }
            // They come first in the heap, one after the other.
            for _ in equal { try advance(to: next[heap[0]] + 1, refill) }
            return
        }
        accumulator.removeAll()
        while let place = heap.first, hasLeastKey(place) {
            do throws(MeasureError) {
                try blocks[place].add(next[place], to: &accumulator)
            } catch {
                throw .malformed(error, table: table)
            }
            try advance(to: next[place] + 1, refill)
        }
        result.append(
            accumulator,
            bucket: least[0],
            key: least.dropFirst().lazy.map { Int32(truncatingIfNeeded: $0) }
        )
    }

    /// Finds the places whose next row has the least key, or one more than can be merged in pairs.
    private mutating func findEqual() {
        equal.removeAll(keepingCapacity: true)
        for place in heap where hasLeastKey(place) {
            equal.append(place)
            if equal.count > Self.equalMax { return }
        }
    }

    /// Merges the rows that have the least key two by two; there are two at least.
    private mutating func appendInPairs(to result: inout RowSet) throws(MeasureError) {
        let (first, last) = (equal[0], equal[equal.count - 1])
        guard equal.count > 2 else {
            return try result.append(merging: blocks[first], next[first], blocks[last], next[last])
        }
        merged.removeAll(keepingCapacity: true)
        merged.append(blocks[first], next[first])
        for place in equal[1..<(equal.count - 1)] {
            further.removeAll(keepingCapacity: true)
            try further.append(merging: merged, 0, blocks[place], next[place])
            swap(&merged, &further)
        }
        try result.append(merging: merged, 0, blocks[last], next[last])
    }

    private func hasLeastKey(_ place: Int) -> Bool {
        for index in 0..<width where keys[place * width + index] != least[index] { return false }
        return true
    }

    /// Steps over rows of the first place.
    private mutating func advance(
        to row: Int,
        _ refill: (Int) throws(PostgresError) -> RowSet?
    ) throws(CompactionFailure) {
        let place = heap[0]
        next[place] = row
        if row < blocks[place].count {
            loadKey(place)
        } else if let block = try block(of: place, refill), !block.isEmpty {
            blocks[place] = block
            next[place] = 0
            loadKey(place)
        } else {
            heap[0] = heap[heap.count - 1]
            heap.removeLast()
        }
        if !heap.isEmpty { siftDown(0) }
    }

    private func block(
        of place: Int,
        _ refill: (Int) throws(PostgresError) -> RowSet?
    ) throws(CompactionFailure) -> RowSet? {
        do throws(PostgresError) { return try refill(place) } catch { throw .database(error) }
    }

    private mutating func loadKey(_ place: Int) {
        let row = next[place]
        keys[place * width] = blocks[place].buckets[row]
        for index in 1..<width {
            keys[place * width + index] = Int64(blocks[place].ids[row * (width - 1) + index - 1])
        }
    }

    /// Whether the next row of a place comes before that of another.
    private func precedes(_ left: Int, _ right: Int) -> Bool {
        for index in 0..<width {
            let (a, b) = (keys[left * width + index], keys[right * width + index])
            if a != b { return a < b }
        }
        return false
    }

    /// Puts an entry of the heap to where it belongs among those below it.
    private mutating func siftDown(_ index: Int) {
        var index = index
        while true {
            var child = 2 * index + 1
            guard child < heap.count else { return }
            if child + 1 < heap.count, precedes(heap[child + 1], heap[child]) { child += 1 }
            guard precedes(heap[child], heap[index]) else { return }
            heap.swapAt(child, index)
            index = child
        }
    }
}
