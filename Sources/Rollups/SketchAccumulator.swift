import Records

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
        var words = usedWords
        while words != 0 {
            let word = words.trailingZeroBitCount
            words &= words - 1
            var bits = used[word]
            output.append(addingCapacity: 10 * bits.nonzeroBitCount) { span in
                while bits != 0 {
                    let register = word << 6 | bits.trailingZeroBitCount
                    bits &= bits - 1
                    let gap = UInt64(truncatingIfNeeded: register - next)
                    span.appendVarint(gap << 6 | UInt64(ranks[register]))
                    next = register + 1
                }
            }
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
