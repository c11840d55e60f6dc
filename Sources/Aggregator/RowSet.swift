import Records
import Rollups

/// Rollup rows in memory, measures side by side, that can be brought into order and merged.
struct RowSet {
    /// How many dimensions a key has.
    let width: Int
    /// How many histograms and sketches a row has: latency, upstream, clients and maybe keys.
    let blobs: Int
    /// The bucket of each row.
    var buckets: [Int64] = []
    /// The dimension ids of all rows, one row after the other.
    var ids: [Int32] = []
    /// The integer measures of each row.
    var counts: [Counts] = []
    /// The histograms and sketches of all rows, one after the other.
    var arena: [UInt8] = []
    /// Where each histogram or sketch ends in the arena.
    var ends: [Int] = []

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
    func range(_ row: Int, _ blob: Int) -> Range<Int> {
        let index = row * blobs + blob
        return (index == 0 ? 0 : ends[index - 1])..<ends[index]
    }

    /// Whether a histogram or sketch of a row is one.
    static func isHistogram(_ blob: Int) -> Bool { blob < 2 }

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

    /// The histograms and sketches of some rows, one after the other.
    func blobBytes(_ rows: Range<Int>) -> ArraySlice<UInt8> {
        guard !rows.isEmpty else { return [] }
        let first = rows.lowerBound == 0 ? 0 : ends[rows.lowerBound * blobs - 1]
        return arena[first..<ends[rows.upperBound * blobs - 1]]
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
        buckets.append(contentsOf: other.buckets[rows])
        ids.append(contentsOf: other.ids[(rows.lowerBound * width)..<(rows.upperBound * width)])
        counts.append(contentsOf: other.counts[rows])
        append(blobsOf: other, rows)
    }

    /// Appends the histograms and sketches of some rows of another set.
    mutating func append(blobsOf other: borrowing RowSet, _ rows: Range<Int>) {
        let bytes = other.blobBytes(rows)
        let base = arena.count - bytes.startIndex
        arena.append(contentsOf: bytes)
        let moved = other.ends.span.extracting(
            (rows.lowerBound * blobs)..<(rows.upperBound * blobs)
        )
        ends.append(addingCapacity: moved.count) { output in
            for index in moved.indices { output.append(base + moved[index]) }
        }
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

    /// Makes room for rows with so many bytes of histograms and sketches.
    mutating func reserve(_ rows: Int, _ bytes: Int) {
        buckets.reserveCapacity(rows)
        ids.reserveCapacity(rows * width)
        counts.reserveCapacity(rows)
        ends.reserveCapacity(rows * blobs)
        arena.reserveCapacity(bytes)
    }
}
