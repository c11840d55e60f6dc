import Records

/// Adds up histograms: the counts of a window of buckets that grows as needed.
package struct HistogramAccumulator: Sendable {
    /// The counts of the buckets from `base` on; whole octaves.
    private var counts: [UInt64] = []
    /// The bucket of the first count; a multiple of 64.
    private var base = 0

    /// Makes an empty histogram.
    package init() {}

    /// Forgets all counts and keeps the capacity.
    package mutating func removeAll() {
        counts.removeAll(keepingCapacity: true)
    }

    /// Adds durations of one bucket; totals saturate at `Int64.max` per bucket.
    @inline(__always)
    package mutating func add(index: Int, count: UInt64) {
        let place = index - base
        if place < 0 || place >= counts.count { makeRoom(for: index) }
        let old = counts[index - base]
        counts[index - base] = Swift.min(old + count, UInt64(Int64.max))
    }

    /// Widens the window to hold a bucket.
    private mutating func makeRoom(for index: Int) {
        let octave = index & ~63
        if counts.isEmpty { base = octave }
        if octave < base {
            counts.insert(contentsOf: repeatElement(0, count: base - octave), at: 0)
            base = octave
        }
        let missing = octave + 64 - base - counts.count
        if missing > 0 { counts.append(contentsOf: repeatElement(0, count: missing)) }
    }

    /// Adds an encoded histogram; on an error part of it may have been added.
    package mutating func merge(_ encoded: Span<UInt8>) throws(MeasureError) {
        try LatencyHistogram.forEach(encoded) { index, count in add(index: index, count: count) }
    }

    /// How many durations were counted.
    package var total: UInt64 {
        counts.reduce(0) { $0.addingReportingOverflow($1).overflow ? .max : $0 + $1 }
    }

    /// The value at rank ⌈q × n⌉, moved into the known bounds; nil when empty.
    package func quantile(_ quantile: Double, min: UInt64 = 0, max: UInt64 = .max) -> UInt64? {
        let total = self.total
        guard total > 0 else { return nil }
        let rank = LatencyHistogram.nearestRank(quantile, total)
        var seen: UInt64 = 0
        for place in counts.indices {
            let (sum, overflow) = seen.addingReportingOverflow(counts[place])
            seen = overflow ? .max : sum
            if seen >= rank {
                let value = LatencyHistogram.representative(of: base + place)
                return LatencyHistogram.clamp(value, min, max)
            }
        }
        return nil
    }

    /// Appends the canonical encoding.
    package func encode(into output: inout [UInt8]) {
        var next = 0
        for place in counts.indices where counts[place] > 0 {
            let index = base + place
            output.append(addingCapacity: 20) { span in
                span.appendVarint(UInt64(index - next))
                span.appendVarint(counts[place])
            }
            next = index + 1
        }
    }

    /// The canonical encoding.
    package func encoded() -> [UInt8] {
        var output: [UInt8] = []
        encode(into: &output)
        return output
    }
}

/// Adds up sketches: one byte per register, allocated when the first value comes.
package struct SketchAccumulator: Sendable {
    /// The rank of each register; empty until the first value comes.
    private var ranks: [UInt8] = []

    /// Makes an empty sketch.
    package init() {}

    /// Forgets all values and keeps the capacity.
    package mutating func removeAll() {
        ranks.removeAll(keepingCapacity: true)
    }

    /// Adds the hash of a value.
    package mutating func add(hash: UInt64) {
        add(register: DistinctSketch.register(of: hash), rank: DistinctSketch.rank(of: hash))
    }

    /// Raises a register.
    @inline(__always)
    package mutating func add(register: Int, rank: UInt8) {
        if ranks.isEmpty {
            ranks.append(contentsOf: repeatElement(0, count: DistinctSketch.registerCount))
        }
        if ranks[register] < rank { ranks[register] = rank }
    }

    /// Adds an encoded sketch; on an error part of it may have been added.
    package mutating func merge(_ encoded: Span<UInt8>) throws(MeasureError) {
        try DistinctSketch.forEach(encoded) { register, rank in
            add(register: register, rank: rank)
        }
    }

    /// About how many distinct values were added.
    package var estimate: Double {
        guard !ranks.isEmpty else { return 0 }
        var multiplicities = [Int](repeating: 0, count: Int(DistinctSketch.rankMax) + 1)
        for rank in ranks { multiplicities[Int(rank)] += 1 }
        return DistinctSketch.estimate(multiplicities: multiplicities)
    }

    /// Appends the canonical encoding.
    package func encode(into output: inout [UInt8]) {
        guard !ranks.isEmpty else { return }
        let start = output.count
        output.append(1)
        var next = 0
        for register in ranks.indices where ranks[register] > 0 {
            let value = UInt64(register - next) << 6 | UInt64(ranks[register])
            output.append(addingCapacity: 10) { span in span.appendVarint(value) }
            next = register + 1
            if output.count - start > DistinctSketch.denseSize {
                output.removeSubrange(start...)
                DistinctSketch.encodeDense(ranks, into: &output)
                return
            }
        }
    }

    /// The canonical encoding.
    package func encoded() -> [UInt8] {
        var output: [UInt8] = []
        encode(into: &output)
        return output
    }
}

/// Adds up rollup rows of one key: counts, histograms and sketches.
///
/// Reuse one accumulator for many keys (`removeAll` keeps the capacity) where rows come grouped.
package struct MeasureAccumulator: Sendable {
    /// The integer measures.
    package private(set) var counts = Counts()
    /// The histogram of total durations.
    package private(set) var latency = HistogramAccumulator()
    /// The histogram of upstream durations.
    package private(set) var upstream = HistogramAccumulator()
    /// The sketch of distinct clients.
    package private(set) var clients = SketchAccumulator()
    /// The sketch of distinct keys.
    package private(set) var keys = SketchAccumulator()

    /// Makes an accumulator of nothing.
    package init() {}

    /// Forgets everything and keeps the capacity.
    package mutating func removeAll() {
        counts = Counts()
        latency.removeAll()
        upstream.removeAll()
        clients.removeAll()
        keys.removeAll()
    }

    /// Adds the integer measures of a row.
    package mutating func merge(_ counts: Counts) { self.counts.merge(counts) }

    /// Adds the encoded histogram of total durations of a row.
    package mutating func mergeLatency(_ encoded: Span<UInt8>) throws(MeasureError) {
        try latency.merge(encoded)
    }

    /// Adds the encoded histogram of upstream durations of a row.
    package mutating func mergeUpstream(_ encoded: Span<UInt8>) throws(MeasureError) {
        try upstream.merge(encoded)
    }

    /// Adds the encoded sketch of distinct clients of a row.
    package mutating func mergeClients(_ encoded: Span<UInt8>) throws(MeasureError) {
        try clients.merge(encoded)
    }

    /// Adds the encoded sketch of distinct keys of a row.
    package mutating func mergeKeys(_ encoded: Span<UInt8>) throws(MeasureError) {
        try keys.merge(encoded)
    }

    /// A quantile of total durations in microseconds; nil when none is known.
    package func latencyQuantile(_ quantile: Double) -> UInt64? {
        latency.quantile(
            quantile, min: UInt64(clamping: counts.latency.min),
            max: UInt64(clamping: counts.latency.max))
    }

    /// A quantile of upstream durations in microseconds; nil when none is known.
    package func upstreamQuantile(_ quantile: Double) -> UInt64? {
        upstream.quantile(
            quantile, min: UInt64(clamping: counts.upstream.min),
            max: UInt64(clamping: counts.upstream.max))
    }
}
