import Records
import Rollups

/// Rollup rows in memory, measures side by side, that can be brought into order and merged.
struct RowSet {
    /// How many dimensions a key has.
    let width: Int
    /// How many histograms and sketches a row has: latency, upstream, clients and maybe keys.
    let blobs: Int
    /// The bucket of each row.
    private(set) var buckets: [Int64] = []
    /// The dimension ids of all rows, one row after the other.
    private(set) var ids: [Int32] = []
    /// The integer measures of each row.
    private(set) var counts: [Counts] = []
    /// The histograms and sketches of all rows, one after the other.
    private var arena: [UInt8] = []
    /// Where each histogram or sketch ends in the arena.
    private var ends: [Int] = []

    /// An empty set for rows of a rollup.
    init(_ definition: RollupDefinition) {
        self.init(
            width: definition.dimensions.count,
            blobs: definition.countsKeys ? 4 : 3
        )
    }

    private init(width: Int, blobs: Int) {
        self.width = width
        self.blobs = blobs
    }

    /// How many rows there are.
    var count: Int { buckets.count }

    /// Whether there are none.
    var isEmpty: Bool { buckets.isEmpty }

    /// What their histograms and sketches take.
    var blobByteCount: Int { arena.count }

    /// What the rows take in memory.
    var byteCount: Int {
        let row = 8 + 4 * width + MemoryLayout<Counts>.stride + 8 * blobs
        return arena.count + count * row
    }

    /// The ids of a row.
    func key(_ row: Int) -> ArraySlice<Int32> { ids[(row * width)..<((row + 1) * width)] }

    /// Where a histogram or sketch of a row lies in the arena.
    private func range(_ row: Int, _ blob: Int) -> Range<Int> {
        let index = row * blobs + blob
        return (index == 0 ? 0 : ends[index - 1])..<ends[index]
    }

    /// Lends the bytes of a histogram or sketch.
    func withBlob<T, E: Error>(
        _ row: Int,
        _ blob: Int,
        _ body: (Span<UInt8>) throws(E) -> T
    ) throws(E) -> T {
        try body(arena.span.extracting(range(row, blob)))
    }

    /// Appends a row but for its histograms and sketches, all of which must follow.
    mutating func append(bucket: Int64, key: some Sequence<Int32>, counts: Counts) {
        buckets.append(bucket)
        ids.append(contentsOf: key)
        self.counts.append(counts)
    }

    /// Appends a histogram or sketch.
    mutating func append(_ blob: Span<UInt8>) {
        arena.append(addingCapacity: blob.count) { output in
            for index in blob.indices { output.append(blob[index]) }
        }
        ends.append(arena.count)
    }

    /// Appends a row that a fold made.
    ///
    /// - Parameters:
    ///   - row: The row.
    ///   - places: The place of each dimension in the batch; negative for an integer one.
    ///   - known: The database's id of each value of each dimension, by its place in the batch.
    mutating func append(
        _ row: borrowing FoldedRow,
        _ places: [Int],
        _ known: [[Int32]]
    ) {
        buckets.append(row.bucket)
        for (index, place) in places.enumerated() {
            let value = row.valueIDs[index]
            ids.append(
                place < 0
                    ? Int32(truncatingIfNeeded: value)
                    : value == 0 ? 0 : known[place][Int(value)]
            )
        }
        counts.append(row.counts)
        append(row.latencyHistogram)
        append(row.upstreamHistogram)
        append(row.clients)
        if blobs > 3 { append(row.keys) }
    }

    /// Some rows as a set of their own.
    func part(_ range: Range<Int>) -> RowSet {
        var result = self
        result.removeAll(keepingCapacity: false)
        result.append(self, range)
        return result
    }

    /// Forgets all rows.
    mutating func removeAll(keepingCapacity: Bool) {
        buckets.removeAll(keepingCapacity: keepingCapacity)
        ids.removeAll(keepingCapacity: keepingCapacity)
        counts.removeAll(keepingCapacity: keepingCapacity)
        arena.removeAll(keepingCapacity: keepingCapacity)
        ends.removeAll(keepingCapacity: keepingCapacity)
    }

    /// Appends a row of another set, with another key if wanted.
    mutating func append(
        _ other: borrowing RowSet,
        _ row: Int,
        key: [Int32]? = nil
    ) {
        append(other, row..<(row + 1))
        guard let key else { return }
        ids.removeLast(width)
        ids.append(contentsOf: key)
    }

    /// Appends some rows of another set.
    mutating func append(_ other: borrowing RowSet, _ rows: Range<Int>) {
        guard !rows.isEmpty else { return }
        let blobRange = (rows.lowerBound * blobs)..<(rows.upperBound * blobs)
        let first = blobRange.lowerBound == 0 ? 0 : other.ends[blobRange.lowerBound - 1]
        let base = arena.count - first
        buckets.append(contentsOf: other.buckets[rows])
        ids.append(contentsOf: other.ids[(rows.lowerBound * width)..<(rows.upperBound * width)])
        counts.append(contentsOf: other.counts[rows])
        arena.append(contentsOf: other.arena[first..<other.ends[blobRange.upperBound - 1]])
        for index in blobRange { ends.append(base + other.ends[index]) }
    }

    /// Appends all rows of another set.
    mutating func append(contentsOf other: borrowing RowSet) { append(other, 0..<other.count) }

    /// The rows of the buckets from a time on; nil if those are all.
    func dropping(before horizon: Int64) -> RowSet? {
        guard buckets.contains(where: { $0 < horizon }) else { return nil }
        var result = RowSet(width: width, blobs: blobs)
        for row in buckets.indices where buckets[row] >= horizon { result.append(self, row) }
        return result
    }

    /// Moves every row into the bucket of a coarser tier.
    mutating func coarsen(to tier: Tier) {
        for row in buckets.indices { buckets[row] = tier.bucket(of: buckets[row]) }
    }

    /// Whether a row's key comes before another's.
    private func precedes(_ left: Int, _ right: Int) -> Bool {
        if buckets[left] != buckets[right] { return buckets[left] < buckets[right] }
        var a = left * width
        var b = right * width
        for _ in 0..<width {
            if ids[a] != ids[b] { return ids[a] < ids[b] }
            a += 1
            b += 1
        }
        return false
    }

    /// Whether two rows have the same key.
    private func isSame(_ left: Int, _ right: Int) -> Bool {
        guard buckets[left] == buckets[right] else { return false }
        var a = left * width
        var b = right * width
        for _ in 0..<width {
            if ids[a] != ids[b] { return false }
            a += 1
            b += 1
        }
        return true
    }

    /// Whether the rows ascend by key, none of which is there twice.
    var isAscending: Bool {
        buckets.indices.dropFirst().allSatisfy { precedes($0 - 1, $0) }
    }

    /// The rows ascending by key, those of equal keys merged into one.
    func merged(_ definition: RollupDefinition) throws(MeasureError) -> RowSet {
        try merged(definition, known: 0).rows
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
        let order = buckets.indices.sorted { precedes($0, $1) }
        var result = RowSet(definition)
        var isNew: [Bool] = []
        isNew.reserveCapacity(count)
        result.reserve(count, arena.count)
        var accumulator = MeasureAccumulator()
        var start = 0
        while start < order.count {
            var end = start + 1
            while end < order.count, isSame(order[start], order[end]) { end += 1 }
            if end == start + 1 {
                result.append(self, order[start])
                isNew.append(order[start] >= known)
            } else if end == start + 2 {
                let (first, second) = (order[start], order[start + 1])
                isNew.append(first >= known && second >= known)
                try result.append(merging: self, first, self, second)
            } else {
                isNew.append(order[start..<end].allSatisfy { $0 >= known })
                for index in start..<end { try add(order[index], to: &accumulator) }
                result.append(accumulator, bucket: buckets[order[start]], key: key(order[start]))
                accumulator.removeAll()
            }
            start = end
        }
        return (result, isNew)
    }

    /// Appends two rows of equal keys as one.
    mutating func append(
        merging left: borrowing RowSet,
        _ a: Int,
        _ right: borrowing RowSet,
        _ b: Int
    ) throws(MeasureError) {
        buckets.append(left.buckets[a])
        ids.append(contentsOf: left.key(a))
        var sums = left.counts[a]
        sums.merge(right.counts[b])
        counts.append(sums)
        for blob in 0..<blobs {
            let first = left.arena.span.extracting(left.range(a, blob))
            let second = right.arena.span.extracting(right.range(b, blob))
            if blob < 2 {
                try LatencyHistogram.merge(first, second, into: &arena)
            } else {
                try DistinctSketch.merge(first, second, into: &arena)
            }
            ends.append(arena.count)
        }
    }

    /// Adds a row to an accumulator.
    func add(
        _ row: Int,
        to accumulator: inout MeasureAccumulator
    ) throws(MeasureError) {
        accumulator.merge(counts[row])
        let bytes = arena.span
        try accumulator.mergeLatency(bytes.extracting(range(row, 0)))
        try accumulator.mergeUpstream(bytes.extracting(range(row, 1)))
        try accumulator.mergeClients(bytes.extracting(range(row, 2)))
        if blobs > 3 { try accumulator.mergeKeys(bytes.extracting(range(row, 3))) }
    }

    /// Appends what an accumulator holds.
    mutating func append(
        _ accumulator: borrowing MeasureAccumulator,
        bucket: Int64,
        key: some Sequence<Int32>
    ) {
        buckets.append(bucket)
        ids.append(contentsOf: key)
        counts.append(accumulator.counts)
        accumulator.latency.encode(into: &arena)
        ends.append(arena.count)
        accumulator.upstream.encode(into: &arena)
        ends.append(arena.count)
        accumulator.clients.encode(into: &arena)
        ends.append(arena.count)
        if blobs > 3 {
            accumulator.keys.encode(into: &arena)
            ends.append(arena.count)
        }
    }

    /// Makes room for rows with so many bytes of histograms and sketches.
    mutating func reserve(_ rows: Int, _ bytes: Int) {
        buckets.reserveCapacity(rows)
        ids.reserveCapacity(rows * width)
        counts.reserveCapacity(rows)
        ends.reserveCapacity(rows * blobs)
        arena.reserveCapacity(bytes)
    }
}
