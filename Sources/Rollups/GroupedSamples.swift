import Records

/// Samples sorted by row, by counting: two passes, whatever their number.
struct GroupedSamples {
    /// The low halves of the samples, row after row.
    let samples: [UInt32]
    /// Where each row's samples end; row r starts where r − 1 ends.
    let ends: [UInt32]

    /// Groups samples whose high half is the row.
    init(_ packed: [UInt64], rows: Int) {
        var ends = [UInt32](repeating: 0, count: rows + 1)
        for sample in packed { ends[Int(sample >> 32) + 1] += 1 }
        for row in 0..<rows { ends[row + 1] += ends[row] }
        var samples = [UInt32](repeating: 0, count: packed.count)
        for sample in packed {
            let row = Int(sample >> 32)
            samples[Int(ends[row])] = UInt32(truncatingIfNeeded: sample)
            ends[row] += 1
        }
        self.samples = samples
        self.ends = ends
    }

    /// The samples of a row.
    func range(of row: Int) -> Range<Int> {
        (row == 0 ? 0 : Int(ends[row - 1]))..<Int(ends[row])
    }
}

/// Counts one row's buckets and encodes them; clean again after each row.
struct HistogramScratch {
    /// The count of each bucket.
    private var counts = [UInt32](repeating: 0, count: LatencyHistogram.bucketCount)
    /// One bit per bucket that is not empty.
    private var used = [UInt64](repeating: 0, count: LatencyHistogram.bucketCount / 64)

    /// Appends the canonical encoding of a row's durations.
    mutating func encode(_ grouped: GroupedSamples, _ row: Int, into output: inout [UInt8]) {
        let range = grouped.range(of: row)
        guard !range.isEmpty else { return }
        for place in range {
            let index = Int(grouped.samples[place])
            counts[index] += 1
            used[index >> 6] |= 1 << UInt64(index & 63)
        }
        var next = 0
        for word in used.indices where used[word] != 0 {
            var bits = used[word]
            used[word] = 0
            while bits != 0 {
                let index = word << 6 | bits.trailingZeroBitCount
                bits &= bits - 1
                let count = counts[index]
                counts[index] = 0
                let gap = index - next
                output.append(addingCapacity: 10) { span in
                    span.appendVarint(UInt64(gap))
                    span.appendVarint(UInt64(count))
                }
                next = index + 1
            }
        }
    }
}

/// Collects one row's registers and encodes them; clean again after each row.
struct SketchScratch {
    /// The rank of each register.
    private var ranks = [UInt8](repeating: 0, count: DistinctSketch.registerCount)
    /// One bit per register that is not 0.
    private var used = [UInt64](repeating: 0, count: DistinctSketch.registerCount / 64)

    /// Appends the canonical encoding of a row's values.
    mutating func encode(_ grouped: GroupedSamples, _ row: Int, into output: inout [UInt8]) {
        let range = grouped.range(of: row)
        guard !range.isEmpty else { return }
        for place in range {
            let sample = grouped.samples[place]
            let register = Int(sample >> 6)
            let rank = UInt8(truncatingIfNeeded: sample & 63)
            if ranks[register] < rank { ranks[register] = rank }
            used[register >> 6] |= 1 << UInt64(register & 63)
        }
        let start = output.count
        output.append(1)
        var next = 0
        for word in used.indices where used[word] != 0 {
            var bits = used[word]
            while bits != 0 {
                let register = word << 6 | bits.trailingZeroBitCount
                bits &= bits - 1
                let value = UInt64(register - next) << 6 | UInt64(ranks[register])
                output.append(addingCapacity: 10) { span in span.appendVarint(value) }
                next = register + 1
            }
        }
        if output.count - start > DistinctSketch.denseSize {
            output.removeSubrange(start...)
            DistinctSketch.encodeDense(ranks, into: &output)
        }
        clean()
    }

    /// Zeroes the registers that were used.
    private mutating func clean() {
        for word in used.indices where used[word] != 0 {
            var bits = used[word]
            used[word] = 0
            while bits != 0 {
                ranks[word << 6 | bits.trailingZeroBitCount] = 0
                bits &= bits - 1
            }
        }
    }
}
