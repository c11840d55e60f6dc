import Postgres
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

    /// Appends the rows of a result whose columns are those of a rollup table.
    mutating func append(_ result: PostgresResult) {
        for row in 0..<result.rowCount {
            buckets.append(result.timestamp(row, 0) ?? 0)
            for place in 0..<width {
                ids.append(Int32(truncatingIfNeeded: result.int(row, 1 + place) ?? 0))
            }
            var column = 1 + width
            func next() -> Int64 {
                defer { column += 1 }
                return result.int(row, column) ?? 0
            }
            var sums = Counts()
            sums.requests = next()
            sums.clientErrors = next()
            sums.serverErrors = next()
            sums.aborted = next()
            sums.bytesIn = next()
            sums.bytesOut = next()
            sums.latency = .init(count: next(), sum: next(), min: next(), max: next())
            sums.upstream = .init(count: next(), sum: next(), min: next(), max: next())
            counts.append(sums)
            for blob in 0..<blobs {
                result.withBytes(row, column + blob) { bytes in
                    let octets = bytes.octets
                    arena.append(addingCapacity: octets.count) { output in
                        for index in octets.indices { output.append(octets[index]) }
                    }
                }
                ends.append(arena.count)
            }
        }
    }

    /// Appends a row of a COPY whose columns are those of a rollup table.
    mutating func append(_ row: inout CopyRow) throws(PostgresError) {
        buckets.append(try row.timestamp() ?? 0)
        for _ in 0..<width { ids.append(try row.int32() ?? 0) }
        func next() throws(PostgresError) -> Int64 { try row.int64() ?? 0 }
        var sums = Counts()
        sums.requests = try next()
        sums.clientErrors = try next()
        sums.serverErrors = try next()
        sums.aborted = try next()
        sums.bytesIn = try next()
        sums.bytesOut = try next()
        sums.latency = .init(count: try next(), sum: try next(), min: try next(), max: try next())
        sums.upstream = .init(count: try next(), sum: try next(), min: try next(), max: try next())
        counts.append(sums)
        for _ in 0..<blobs {
            try row.withBytes { bytes in append(bytes.octets) }
        }
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

    private mutating func append(_ blob: Span<UInt8>) {
        arena.append(addingCapacity: blob.count) { output in
            for index in blob.indices { output.append(blob[index]) }
        }
        ends.append(arena.count)
    }

    /// Some rows as a set of their own.
    func part(_ range: Range<Int>) -> RowSet {
        var result = self
        result.removeAll()
        for row in range { result.append(self, row) }
        return result
    }

    /// Forgets all rows.
    private mutating func removeAll() {
        buckets = []
        ids = []
        counts = []
        arena = []
        ends = []
    }

    /// Appends a row of another set, with another key if wanted.
    mutating func append(
        _ other: borrowing RowSet,
        _ row: Int,
        bucket: Int64? = nil,
        key: [Int32]? = nil
    ) {
        buckets.append(bucket ?? other.buckets[row])
        ids.append(contentsOf: key?[...] ?? other.key(row))
        counts.append(other.counts[row])
        for blob in 0..<blobs {
            let bytes = other.arena.span.extracting(other.range(row, blob))
            arena.append(addingCapacity: bytes.count) { output in
                for index in bytes.indices { output.append(bytes[index]) }
            }
            ends.append(arena.count)
        }
    }

    /// Appends all rows of another set.
    mutating func append(contentsOf other: borrowing RowSet) {
        let base = arena.count
        buckets.append(contentsOf: other.buckets)
        ids.append(contentsOf: other.ids)
        counts.append(contentsOf: other.counts)
        arena.append(contentsOf: other.arena)
        ends.reserveCapacity(ends.count + other.ends.count)
        for end in other.ends { ends.append(base + end) }
    }

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

    /// The rows of some sets, each of which ascends, ascending by key, those of equal keys merged
    /// into one.
    static func merged(
        _ runs: [RowSet],
        _ definition: RollupDefinition
    ) throws(MeasureError) -> RowSet {
        let runs = runs.filter { !$0.isEmpty }
        guard runs.count > 1 else { return runs.first ?? RowSet(definition) }
        var result = RowSet(definition)
        result.reserve(
            runs.reduce(0) { $0 + $1.count },
            runs.reduce(0) { $0 + $1.arena.count }
        )
        // The next row of each set, and its key: here comparisons cost least.
        var next = [Int](repeating: 0, count: runs.count)
        let width = result.width + 1
        var keys = [Int64](repeating: 0, count: runs.count * width)
        func load(_ run: Int) {
            keys[run * width] = runs[run].buckets[next[run]]
            let first = next[run] * (width - 1)
            for place in 1..<width {
                keys[run * width + place] = Int64(runs[run].ids[first + place - 1])
            }
        }
        var open = Array(runs.indices)
        for run in open { load(run) }
        var least: [Int] = []
        var accumulator = MeasureAccumulator()
        while let first = open.first {
            least.append(first)
            for run in open.dropFirst() {
                var place = 0
                while place < width,
                    keys[run * width + place] == keys[least[0] * width + place]
                { place += 1 }
                if place < width, keys[run * width + place] > keys[least[0] * width + place] {
                    continue
                }
                if place < width { least.removeAll(keepingCapacity: true) }
                least.append(run)
            }
            let (run, row) = (least[0], next[least[0]])
            if least.count == 1 {
                result.append(runs[run], row)
            } else {
                for run in least { try runs[run].add(next[run], to: &accumulator) }
                result.append(accumulator, bucket: runs[run].buckets[row], key: runs[run].key(row))
                accumulator.removeAll()
            }
            for run in least {
                next[run] += 1
                if next[run] < runs[run].count { load(run) } else { open.removeAll { $0 == run } }
            }
            least.removeAll(keepingCapacity: true)
        }
        return result
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
        _ accumulator: MeasureAccumulator,
        bucket: Int64,
        key: ArraySlice<Int32>
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

extension CopyWriter {
    /// Writes some rows of a set.
    mutating func rows(
        _ set: borrowing RowSet,
        _ range: Range<Int>,
        columns: Int
    ) throws(PostgresError) {
        for row in range {
            try self.row(columns: columns)
            timestamp(set.buckets[row])
            for place in (row * set.width)..<((row + 1) * set.width) { int32(set.ids[place]) }
            counts(set.counts[row])
            for blob in 0..<set.blobs {
                set.withBlob(row, blob) { bytes in self.bytes(bytes) }
            }
        }
    }

    /// Writes the keys of some rows of a set.
    mutating func keys(_ set: borrowing RowSet, _ range: Range<Int>) throws(PostgresError) {
        for row in range {
            try self.row(columns: 1 + set.width)
            timestamp(set.buckets[row])
            for place in (row * set.width)..<((row + 1) * set.width) { int32(set.ids[place]) }
        }
    }
}
