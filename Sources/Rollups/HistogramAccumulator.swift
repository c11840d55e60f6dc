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
    /// How many durations were counted; saturates at `Int64.max`, as the decoder demands.
    package private(set) var total: UInt64 = 0

    /// Makes an empty histogram.
    package init() {}

    /// Whether nothing was added.
    package var isEmpty: Bool { usedOctaves == 0 }

    /// Forgets all counts and keeps the window.
    package mutating func removeAll() {
        total = 0
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
        addToTotal(count)
        used[index >> 6] |= 1 << UInt64(index & 63)
        usedOctaves |= 1 << UInt64(index >> 6)
    }

    /// Adds to the total.
    @inline(__always)
    private mutating func addToTotal(_ count: UInt64) {
        let (sum, overflow) = total.addingReportingOverflow(count)
        total = overflow ? UInt64(Int64.max) : Swift.min(sum, UInt64(Int64.max))
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

    /// Adds an encoded histogram; on an error part of it may have been added.
    package mutating func merge(_ encoded: Span<UInt8>) throws(MeasureError) {
        var position = MergePosition()
        defer { addToTotal(position.total) }
        while let index = try Self.merge(encoded, &position, base, &counts, &used, &usedOctaves) {
            makeRoom(for: index)
        }
    }

    /// How far a histogram has been added.
    private struct MergePosition {
        /// The byte position of the next bucket.
        var byte = 0
        /// The smallest index that the next bucket can have.
        var next: UInt64 = 0
        /// How many durations were counted so far.
        var total: UInt64 = 0
    }

    /// Adds the buckets of an encoded histogram up to the first one outside of the window, whose
    /// index is returned; nil at the end.
    ///
    /// Most of the time of a question with percentiles is spent here: within the loop nothing is
    /// allocated, and nobody asks whether an array is unique.
    private static func merge(
        _ encoded: Span<UInt8>,
        _ position: inout MergePosition,
        _ base: Int,
        _ counts: inout [UInt64],
        _ used: inout [UInt64],
        _ usedOctaves: inout UInt64
    ) throws(MeasureError) -> Int? {
        var window = counts.mutableSpan
        var marks = used.mutableSpan
        var octaves = usedOctaves
        var at = position
        defer { (usedOctaves, position) = (octaves, at) }
        while at.byte < encoded.count {
            var end = at.byte &+ 2
            var gap: UInt64 = 0
            var count: UInt64 = 0
            if end <= encoded.count {
                gap = UInt64(encoded[at.byte])
                count = UInt64(encoded[at.byte &+ 1])
            }
            // Longer numbers, zeros and what is cut short.
            if gap | count >= 0x80 || count == 0 {
                var reader = CanonicalReader(encoded, from: at.byte)
                guard let long = reader.varint(), let number = reader.varint(), number > 0 else {
                    throw .malformedHistogram(position: at.byte)
                }
                (gap, count, end) = (long, number, reader.position)
            }
            guard gap < UInt64(LatencyHistogram.bucketCount),
                at.next &+ gap < UInt64(LatencyHistogram.bucketCount),
                count <= UInt64(Int64.max) &- at.total
            else { throw .malformedHistogram(position: at.byte) }
            let index = Int(truncatingIfNeeded: at.next &+ gap)  // below bucketCount
            let place = index &- base
            guard place >= 0, place < window.count else { return index }
            // Both are at most Int64.max.
            window[place] = Swift.min(window[place] &+ count, UInt64(Int64.max))
            marks[index >> 6] |= 1 << UInt64(index & 63)
            octaves |= 1 << UInt64(index >> 6)
            at.byte = end
            at.next = UInt64(truncatingIfNeeded: index) &+ 1
            at.total &+= count
        }
        return nil
    }

    /// The value at rank ⌈q × n⌉, moved into the known bounds; nil when empty.
    package func quantile(_ quantile: Double, min: UInt64 = 0, max: UInt64 = .max) -> UInt64? {
        guard total > 0 else { return nil }
        let rank = LatencyHistogram.nearestRank(quantile, total)
        let found =
            rank > total / 2 && total < UInt64(Int64.max)
            ? bucket(fromTop: total - rank) : bucket(fromBottom: rank)
        guard let found else { return nil }
        return LatencyHistogram.clamp(LatencyHistogram.representative(of: found), min, max)
    }

    /// The first bucket up to which at least so many durations are counted.
    private func bucket(fromBottom rank: UInt64) -> Int? {
        var seen: Int64 = 0
        var octaves = usedOctaves
        while octaves != 0 {
            let octave = octaves.trailingZeroBitCount
            octaves &= octaves - 1
            var bits = used[octave]
            while bits != 0 {
                let index = octave << 6 | bits.trailingZeroBitCount
                bits &= bits - 1
                seen = seen.addingSaturated(Int64(clamping: counts[index - base]))
                if seen >= rank { return index }
            }
        }
        return nil
    }

    /// The last bucket from which on more than so many durations are counted: for high quantiles,
    /// a short way.
    private func bucket(fromTop rest: UInt64) -> Int? {
        var seen: UInt64 = 0
        var octaves = usedOctaves
        while octaves != 0 {
            let octave = 63 - octaves.leadingZeroBitCount
            octaves &= ~(1 << UInt64(octave))
            var bits = used[octave]
            while bits != 0 {
                let place = 63 - bits.leadingZeroBitCount
                bits &= ~(1 << UInt64(place))
                seen &+= counts[octave << 6 + place - base]  // at most the total
                if seen > rest { return octave << 6 | place }
            }
        }
        return nil
    }

    /// Appends the canonical encoding.
    package func encode(into output: inout [UInt8]) {
        var next = 0
        var octaves = usedOctaves
        while octaves != 0 {
            let octave = octaves.trailingZeroBitCount
            octaves &= octaves - 1
            var bits = used[octave]
            output.append(addingCapacity: 20 * bits.nonzeroBitCount) { span in
                while bits != 0 {
                    let index = octave << 6 | bits.trailingZeroBitCount
                    bits &= bits - 1
                    span.appendVarint(UInt64(truncatingIfNeeded: index - next))
                    span.appendVarint(counts[index - base])
                    next = index + 1
                }
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
