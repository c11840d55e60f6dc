import Records

/// Samples sorted by row, by counting: two passes, whatever their number.
struct GroupedSamples {
    /// The low halves of the samples, row after row.
    let samples: [UInt32]
    /// Where each row's samples end; row r starts where r − 1 ends.
    let ends: [UInt32]

    /// Groups samples whose high half is the row.
    ///
    /// - Parameters:
    ///   - packed: The samples.
    ///   - places: The place of each row: samples are asked for by place, one after the other.
    init(_ packed: [UInt64], _ places: [UInt32]) {
        var ends = [UInt32](repeating: 0, count: places.count + 1)
        for sample in packed { ends[Int(places[Int(sample >> 32)]) + 1] += 1 }
        for place in places.indices { ends[place + 1] += ends[place] }
        var samples = [UInt32](repeating: 0, count: packed.count)
        for sample in packed {
            let place = Int(places[Int(sample >> 32)])
            samples[Int(ends[place])] = UInt32(truncatingIfNeeded: sample)
            ends[place] += 1
        }
        self.samples = samples
        self.ends = ends
    }

    /// The samples of a row.
    func range(of row: Int) -> Range<Int> {
        (row == 0 ? 0 : Int(ends[row - 1]))..<Int(ends[row])
    }
}

/// Encodes the samples of one row after the other; nothing is allocated per row.
struct RowEncoder {
    /// Collects durations when there are several.
    private var histogram = HistogramAccumulator()
    /// Collects registers when there are several.
    private var sketch = SketchAccumulator()

    /// Appends the canonical histogram of a row's durations (samples are bucket indices).
    mutating func histogram(_ grouped: GroupedSamples, _ row: Int, into output: inout [UInt8]) {
        let range = grouped.range(of: row)
        switch range.count {
        case 0: return
        case 1:
            let index = grouped.samples[range.lowerBound]
            output.append(addingCapacity: 11) { span in
                span.appendVarint(UInt64(index))
                span.append(1)
            }
        case ...SmallSamples.countMax:
            SmallSamples(grouped.samples.span.extracting(range)).histogram(into: &output)
        default:
            for place in range {
                histogram.add(index: Int(grouped.samples[place]), count: 1)
            }
            histogram.encode(into: &output)
            histogram.removeAll()
        }
    }

    /// Appends the canonical sketch of a row's values (samples are register × 64 + rank).
    mutating func sketch(_ grouped: GroupedSamples, _ row: Int, into output: inout [UInt8]) {
        let range = grouped.range(of: row)
        switch range.count {
        case 0: return
        case 1:
            let value = grouped.samples[range.lowerBound]
            output.append(addingCapacity: 11) { span in
                span.append(1)
                span.appendVarint(UInt64(value))
            }
        case ...SmallSamples.countMax:
            SmallSamples(grouped.samples.span.extracting(range)).sketch(into: &output)
        default:
            for place in range {
                let value = grouped.samples[place]
                sketch.add(
                    register: Int(value >> 6),
                    rank: UInt8(truncatingIfNeeded: value & 63)
                )
            }
            sketch.encode(into: &output)
            sketch.removeAll()
        }
    }
}

/// Few samples, ascending: sorting them costs less than a bitmap of all that could be there.
private struct SmallSamples {
    static var countMax: Int { 16 }

    private var sorted: [16 of UInt32] = .init(repeating: 0)
    private let count: Int

    /// Sorts samples, at most so many.
    @inline(__always)
    init(_ samples: Span<UInt32>) {
        count = samples.count
        for index in samples.indices {
            let sample = samples[index]
            var place = index
            while place > 0, sorted[place - 1] > sample {
                sorted[place] = sorted[place - 1]
                place -= 1
            }
            sorted[place] = sample
        }
    }

    /// Appends the canonical histogram of bucket indices.
    func histogram(into output: inout [UInt8]) {
        output.append(addingCapacity: 20 * count) { span in
            var next: UInt32 = 0
            var place = 0
            while place < count {
                let index = sorted[place]
                let first = place
                while place < count, sorted[place] == index { place += 1 }
                span.appendVarint(UInt64(index - next))
                span.appendVarint(UInt64(place - first))
                next = index + 1
            }
        }
    }

    /// Appends the canonical sketch of registers and ranks.
    func sketch(into output: inout [UInt8]) {
        output.append(addingCapacity: 1 + 10 * count) { span in
            span.append(1)
            var next: UInt32 = 0
            for place in 0..<count {
                let register = sorted[place] >> 6
                // The largest rank of a register comes last.
                if place + 1 < count, sorted[place + 1] >> 6 == register { continue }
                span.appendVarint(UInt64((register - next) << 6 | sorted[place] & 63))
                next = register + 1
            }
        }
    }
}
