package import Records

/// Which records a destination has already, so that a replay does not deliver them again.
package struct SinkHoldings: Sendable, Equatable {
    /// Disjoint ranges of offsets, ascending once `sort` was called.
    private var ranges: [LogID: [Range<UInt64>]] = [:]

    /// Nothing.
    package init() {}

    /// Notes a record, in any order; call `sort` afterwards.
    package mutating func add(_ log: LogID, _ offset: UInt64) {
        guard offset < .max else { return }
        guard let last = ranges[log]?.indices.last else {
            ranges[log] = [offset..<(offset + 1)]
            return
        }
        if ranges[log]?[last].upperBound == offset {
            let from = ranges[log]?[last].lowerBound ?? offset
            ranges[log]?[last] = from..<(offset + 1)
        } else {
            ranges[log]?.append(offset..<(offset + 1))
        }
    }

    /// Brings everything into order.
    package mutating func sort() {
        ranges = ranges.mapValues { list in
            var joined: [Range<UInt64>] = []
            for range in list.sorted(by: { $0.lowerBound < $1.lowerBound }) {
                if let last = joined.last, last.upperBound >= range.lowerBound {
                    let end = max(last.upperBound, range.upperBound)
                    joined[joined.count - 1] = last.lowerBound..<end
                } else {
                    joined.append(range)
                }
            }
            return joined
        }
    }

    /// The parts of a range that the destination does not have.
    package func missing(_ range: Range<UInt64>, of log: LogID) -> [Range<UInt64>] {
        guard let list = ranges[log], !range.isEmpty else { return range.isEmpty ? [] : [range] }
        var low = 0
        var high = list.count
        while low < high {
            let middle = (low + high) / 2
            if list[middle].upperBound <= range.lowerBound {
                low = middle + 1
            } else {
                high = middle
            }
        }
        var parts: [Range<UInt64>] = []
        var from = range.lowerBound
        while low < list.count, list[low].lowerBound < range.upperBound {
            if list[low].lowerBound > from { parts.append(from..<list[low].lowerBound) }
            from = max(from, list[low].upperBound)
            low += 1
        }
        if from < range.upperBound { parts.append(from..<range.upperBound) }
        return parts
    }
}
