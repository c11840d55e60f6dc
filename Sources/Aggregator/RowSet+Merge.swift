import Rollups

/// Rows of equal keys as one.
extension RowSet {
    /// Whether the rows ascend by key, none of which is there twice.
    var isAscending: Bool {
        buckets.indices.dropFirst().allSatisfy { Self.precedes(self, $0 - 1, self, $0) }
    }

    /// The rows ascending by key, those of equal keys merged into one.
    func merged(_ definition: RollupDefinition) throws(MeasureError) -> RowSet {
        var result = RowSet(definition)
        try result.append(merging: self)
        return result
    }

    /// The rows ascending by key, those of equal keys merged into one.
    ///
    /// - Parameters:
    ///   - definition: The rollup.
    ///   - known: How many rows at the beginning are known keys.
    /// - Returns: The rows, and for each whether its key was not among the known ones.
    func merged(
        _ definition: RollupDefinition,
        known: Int
    ) throws(MeasureError) -> (rows: RowSet, isNew: [Bool]) {
        let groups = RowGroups(self)
        var result = RowSet(definition)
        try result.append(self, groups)
        let isNew = (0..<groups.count).map { groups[$0].allSatisfy { $0 >= known } }
        return (result, isNew)
    }

    /// Appends the rows of another set, ascending by key, those of equal keys merged into one.
    mutating func append(merging other: borrowing RowSet) throws(MeasureError) {
        try append(other, RowGroups(other))
    }

    /// Appends a row for each group, one column after the other.
    private mutating func append(
        _ other: borrowing RowSet,
        _ groups: RowGroups
    ) throws(MeasureError) {
        let (width, blobs) = (width, blobs)
        buckets.append(addingCapacity: groups.count) { output in
            for group in 0..<groups.count { output.append(other.buckets[groups.first(group)]) }
        }
        ids.append(addingCapacity: groups.count * width) { output in
            for group in 0..<groups.count {
                let start = groups.first(group) * width
                for index in start..<(start + width) { output.append(other.ids[index]) }
            }
        }
        counts.append(addingCapacity: groups.count) { output in
            for group in 0..<groups.count {
                var sums = other.counts[groups.first(group)]
                for row in groups[group].dropFirst() { sums.merge(other.counts[row]) }
                output.append(sums)
            }
        }
        var merger = BlobMerger()
        for group in 0..<groups.count {
            let rows = groups[group]
            if rows.count == 1 {
                let row = groups.first(group)
                append(blobsOf: other, row..<(row + 1))
                continue
            }
            for blob in 0..<blobs {
                try merger.append(blob, of: rows, in: other, to: &arena)
                ends.append(arena.count)
            }
        }
    }

    /// Whether a row's key comes before that of a row of another set.
    @inline(__always)
    static func precedes(
        _ left: borrowing RowSet,
        _ a: Int,
        _ right: borrowing RowSet,
        _ b: Int
    ) -> Bool {
        if left.buckets[a] != right.buckets[b] { return left.buckets[a] < right.buckets[b] }
        let (first, second) = (a * left.width, b * left.width)
        for index in 0..<left.width {
            let (one, other) = (left.ids[first + index], right.ids[second + index])
            if one != other { return one < other }
        }
        return false
    }
}

/// The rows of a set ascending by key, and which of them have the same.
private struct RowGroups {
    private let order: [Int]
    /// Where each group begins in the order, and where the last one ends.
    private let starts: [Int]

    init(_ rows: borrowing RowSet) {
        let rows = copy rows
        let order = rows.buckets.indices.sorted { RowSet.precedes(rows, $0, rows, $1) }
        var starts: [Int] = []
        starts.reserveCapacity(order.count + 1)
        for index in order.indices
        where index == 0 || RowSet.precedes(rows, order[index - 1], rows, order[index]) {
            starts.append(index)
        }
        starts.append(order.count)
        self.order = order
        self.starts = starts
    }

    /// How many different keys there are.
    var count: Int { starts.count - 1 }

    /// The rows of a group, as they came.
    subscript(group: Int) -> ArraySlice<Int> { order[starts[group]..<starts[group + 1]] }

    /// The first of them.
    func first(_ group: Int) -> Int { order[starts[group]] }
}

/// Merges histograms and sketches; nothing is allocated per row.
private struct BlobMerger {
    private var histogram = HistogramAccumulator()
    private var sketch = SketchAccumulator()
    /// What is merged so far.
    private var merged: [UInt8] = []
    private var further: [UInt8] = []

    /// More than these are added up; fewer are merged two by two, which is cheaper as long as what
    /// is merged already is small. Chosen.
    private static let pairedMax = 4

    /// Appends a histogram or sketch of some rows of a set, two at least, as one.
    mutating func append(
        _ blob: Int,
        of rows: ArraySlice<Int>,
        in set: borrowing RowSet,
        to output: inout [UInt8]
    ) throws(MeasureError) {
        if rows.count > Self.pairedMax {
            try add(blob, of: rows, in: set, to: &output)
        } else {
            try Self.mergePairs(blob, of: rows, in: set, &merged, &further, to: &output)
        }
    }

    private static func mergePairs(
        _ blob: Int,
        of rows: ArraySlice<Int>,
        in set: borrowing RowSet,
        _ merged: inout [UInt8],
        _ further: inout [UInt8],
        to output: inout [UInt8]
    ) throws(MeasureError) {
        let bytes = set.arena.span
        let (start, last) = (rows.startIndex, rows.endIndex - 1)
        let first = bytes.extracting(set.range(rows[start], blob))
        let second = bytes.extracting(set.range(rows[start + 1], blob))
        guard rows.count > 2 else { return try merge(blob, first, second, to: &output) }
        merged.removeAll(keepingCapacity: true)
        try merge(blob, first, second, to: &merged)
        for place in (start + 2)..<last {
            further.removeAll(keepingCapacity: true)
            let next = bytes.extracting(set.range(rows[place], blob))
            try merge(blob, merged.span, next, to: &further)
            swap(&merged, &further)
        }
        let final = bytes.extracting(set.range(rows[last], blob))
        try merge(blob, merged.span, final, to: &output)
    }

    private static func merge(
        _ blob: Int,
        _ left: Span<UInt8>,
        _ right: Span<UInt8>,
        to output: inout [UInt8]
    ) throws(MeasureError) {
        if RowSet.isHistogram(blob) {
            try LatencyHistogram.merge(left, right, into: &output)
        } else {
            try DistinctSketch.merge(left, right, into: &output)
        }
    }

    private mutating func add(
        _ blob: Int,
        of rows: ArraySlice<Int>,
        in set: borrowing RowSet,
        to output: inout [UInt8]
    ) throws(MeasureError) {
        let bytes = set.arena.span
        if RowSet.isHistogram(blob) {
            for row in rows { try histogram.merge(bytes.extracting(set.range(row, blob))) }
            histogram.encode(into: &output)
            histogram.removeAll()
        } else {
            for row in rows { try sketch.merge(bytes.extracting(set.range(row, blob))) }
            sketch.encode(into: &output)
            sketch.removeAll()
        }
    }
}
