import Records

/// Adds up histograms: counts of a window of buckets that grows as needed.
///
/// A bitmap of two levels says which buckets are not empty, so that encoding and emptying cost what
/// the content is worth, not what the window is.
package struct HistogramAccumulator: Sendable {
    /// The counts of the buckets from `base` on; whole octaves of 64.
    private var counts: [UInt64] = []
    /// The bucket of the first count; a multiple of 64.
    private var base = 0
    /// One bit per bucket that is not empty, by octave; allocated with the first count.
    private var used: [UInt64] = []
    /// One bit per octave that is not empty.
    private var usedOctaves: UInt64 = 0

    /// Makes an empty histogram.
    package init() {}

    /// Whether nothing was added.
    package var isEmpty: Bool { usedOctaves == 0 }

    /// Forgets all counts and keeps the window.
    package mutating func removeAll() {
        while usedOctaves != 0 {
            let octave = usedOctaves.trailingZeroBitCount
            usedOctaves &= usedOctaves - 1
            var bits = used[octave]
            used[octave] = 0
            let first = octave << 6 - base
            while bits != 0 {
                counts[first + bits.trailingZeroBitCount] = 0
                bits &= bits - 1
            }
        }
    }

    /// Adds durations of one bucket; its count saturates at `Int64.max`.
    @inline(__always)
    package mutating func add(index: Int, count: UInt64) {
        let place = index - base
        if place < 0 || place >= counts.count { makeRoom(for: index) }
        let (sum, overflow) = counts[index - base].addingReportingOverflow(count)
        counts[index - base] = overflow ? UInt64(Int64.max) : Swift.min(sum, UInt64(Int64.max))
        used[index >> 6] |= 1 << UInt64(index & 63)
        usedOctaves |= 1 << UInt64(index >> 6)
    }

    /// Widens the window to hold a bucket.
    private mutating func makeRoom(for index: Int) {
        let first = index & ~63
        if counts.isEmpty {
            base = first
            used = [UInt64](repeating: 0, count: LatencyHistogram.bucketCount / 64)
        }
        if first < base {
            counts.insert(contentsOf: repeatElement(0, count: base - first), at: 0)
            base = first
        }
        let missing = first + 64 - base - counts.count
        if missing > 0 { counts.append(contentsOf: repeatElement(0, count: missing)) }
    }

    /// Calls the body with every bucket that is not empty, by ascending index.
    @inline(__always)
    private func forEach(_ body: (_ index: Int, _ count: UInt64) -> Void) {
        var octaves = usedOctaves
        while octaves != 0 {
            let octave = octaves.trailingZeroBitCount
            octaves &= octaves - 1
            var bits = used[octave]
            while bits != 0 {
                let index = octave << 6 | bits.trailingZeroBitCount
                bits &= bits - 1
                body(index, counts[index - base])
            }
        }
    }

    /// Adds an encoded histogram; on an error part of it may have been added.
    package mutating func merge(_ encoded: Span<UInt8>) throws(MeasureError) {
        try LatencyHistogram.forEach(encoded) { index, count in add(index: index, count: count) }
    }

    /// How many durations were counted; saturates at `Int64.max`, as the decoder demands.
    package var total: UInt64 {
        var total: Int64 = 0
        forEach { _, count in total = total.addingSaturated(Int64(clamping: count)) }
        return UInt64(total)
    }

    /// The value at rank ⌈q × n⌉, moved into the known bounds; nil when empty.
    package func quantile(_ quantile: Double, min: UInt64 = 0, max: UInt64 = .max) -> UInt64? {
        let total = self.total
        guard total > 0 else { return nil }
        let rank = LatencyHistogram.nearestRank(quantile, total)
        var seen: Int64 = 0
        var found: Int?
        forEach { index, count in
            seen = seen.addingSaturated(Int64(clamping: count))
            if found == nil, seen >= rank { found = index }
        }
        guard let found else { return nil }
        return LatencyHistogram.clamp(LatencyHistogram.representative(of: found), min, max)
    }

    /// Appends the canonical encoding.
    package func encode(into output: inout [UInt8]) {
        var next = 0
        forEach { index, count in
            output.append(addingCapacity: 20) { span in
                span.appendVarint(UInt64(truncatingIfNeeded: index - next))
                span.appendVarint(count)
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
///
/// A bitmap of two levels says which registers are not 0, as in `HistogramAccumulator`.
package struct SketchAccumulator: Sendable {
    /// The rank of each register; empty until the first value comes.
    private var ranks: [UInt8] = []
    /// One bit per register that is not 0.
    private var used: [UInt64] = []
    /// One bit per word of `used` that is not 0.
    private var usedWords: UInt64 = 0

    /// Makes an empty sketch.
    package init() {}

    /// Whether nothing was added.
    package var isEmpty: Bool { usedWords == 0 }

    /// Forgets all values and keeps the capacity.
    package mutating func removeAll() {
        while usedWords != 0 {
            let word = usedWords.trailingZeroBitCount
            usedWords &= usedWords - 1
            var bits = used[word]
            used[word] = 0
            while bits != 0 {
                ranks[word << 6 | bits.trailingZeroBitCount] = 0
                bits &= bits - 1
            }
        }
    }

    /// Adds the hash of a value.
    package mutating func add(hash: UInt64) {
        add(register: DistinctSketch.register(of: hash), rank: DistinctSketch.rank(of: hash))
    }

    /// Raises a register to a rank above 0.
    @inline(__always)
    package mutating func add(register: Int, rank: UInt8) {
        if ranks.isEmpty {
            ranks = [UInt8](repeating: 0, count: DistinctSketch.registerCount)
            used = [UInt64](repeating: 0, count: DistinctSketch.registerCount / 64)
        }
        guard ranks[register] < rank else { return }
        ranks[register] = rank
        used[register >> 6] |= 1 << UInt64(register & 63)
        usedWords |= 1 << UInt64(register >> 6)
    }

    /// Calls the body with every register that is not 0, ascending.
    @inline(__always)
    private func forEach(_ body: (_ register: Int, _ rank: UInt8) -> Void) {
        var words = usedWords
        while words != 0 {
            let word = words.trailingZeroBitCount
            words &= words - 1
            var bits = used[word]
            while bits != 0 {
                let register = word << 6 | bits.trailingZeroBitCount
                bits &= bits - 1
                body(register, ranks[register])
            }
        }
    }

    /// Adds an encoded sketch; on an error part of it may have been added.
    package mutating func merge(_ encoded: Span<UInt8>) throws(MeasureError) {
        try DistinctSketch.forEach(encoded) { register, rank in
            add(register: register, rank: rank)
        }
    }

    /// About how many distinct values were added.
    package var estimate: Double {
        var multiplicities = [Int](repeating: 0, count: Int(DistinctSketch.rankMax) + 1)
        multiplicities[0] = DistinctSketch.registerCount
        forEach { _, rank in
            multiplicities[Int(rank)] += 1
            multiplicities[0] -= 1
        }
        return DistinctSketch.estimate(multiplicities: multiplicities)
    }

    /// Appends the canonical encoding.
    package func encode(into output: inout [UInt8]) {
        guard usedWords != 0 else { return }
        let start = output.count
        output.append(1)
        var next = 0
        forEach { register, rank in
            let value = UInt64(truncatingIfNeeded: register - next) << 6 | UInt64(rank)
            output.append(addingCapacity: 10) { span in span.appendVarint(value) }
            next = register + 1
        }
        if output.count - start > DistinctSketch.denseSize {
            output.removeSubrange(start...)
            DistinctSketch.encodeDense(ranks, into: &output)
        }
    }

    /// The canonical encoding.
    package func encoded() -> [UInt8] {
        var output: [UInt8] = []
        encode(into: &output)
        return output
    }
}
