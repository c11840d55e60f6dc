import Records

/// A set of offsets as disjoint, ascending, half-open ranges that do not touch.
///
/// The same shape as PostgreSQL's `int8multirange`; normally it holds one range.
package struct OffsetRanges: Equatable, Sendable {
    /// The ranges, ascending.
    package private(set) var ranges: [Range<UInt64>] = []

    /// The empty set.
    package init() {}

    /// The offsets of one range.
    package init(_ range: Range<UInt64>) {
        if !range.isEmpty { ranges = [range] }
    }

    /// Whether it has no offset.
    package var isEmpty: Bool { ranges.isEmpty }

    /// How many offsets it has.
    package var offsetCount: UInt64 { ranges.reduce(0) { $0 + UInt64($1.count) } }

    /// The first offset that is not in it: everything below is.
    package var firstHole: UInt64 {
        guard let first = ranges.first, first.lowerBound == 0 else { return 0 }
        return first.upperBound
    }

    /// The index of the first range that ends after `offset`.
    private func index(endingAfter offset: UInt64) -> Int {
        var low = 0
        var high = ranges.count
        while low < high {
            let middle = (low + high) / 2
            if ranges[middle].upperBound > offset { high = middle } else { low = middle + 1 }
        }
        return low
    }

    /// Whether an offset is in it.
    package func contains(_ offset: UInt64) -> Bool {
        let at = index(endingAfter: offset)
        return at < ranges.count && ranges[at].lowerBound <= offset
    }

    /// Whether all offsets of a range are in it.
    package func containsAll(_ range: Range<UInt64>) -> Bool {
        guard !range.isEmpty else { return true }
        let at = index(endingAfter: range.lowerBound)
        return at < ranges.count && ranges[at].lowerBound <= range.lowerBound
            && ranges[at].upperBound >= range.upperBound
    }

    /// Whether any offset of a range is in it.
    package func overlaps(_ range: Range<UInt64>) -> Bool {
        guard !range.isEmpty else { return false }
        let at = index(endingAfter: range.lowerBound)
        return at < ranges.count && ranges[at].lowerBound < range.upperBound
    }

    /// Whether adding a range leaves no more ranges than there are: it continues one, or overlaps.
    package func touches(_ range: Range<UInt64>) -> Bool {
        guard !range.isEmpty else { return true }
        let at = index(endingAfter: range.lowerBound)
        if at < ranges.count, ranges[at].lowerBound <= range.upperBound { return true }
        return at > 0 && ranges[at - 1].upperBound == range.lowerBound
    }

    /// Whether the two sets share an offset.
    package func overlaps(_ other: OffsetRanges) -> Bool {
        other.ranges.contains { overlaps($0) }
    }

    /// Whether all offsets of the other set are in it.
    package func isSuperset(of other: OffsetRanges) -> Bool {
        other.ranges.allSatisfy { containsAll($0) }
    }

    /// Adds the offsets of a range, joining ranges that touch.
    package mutating func insert(_ range: Range<UInt64>) {
        guard !range.isEmpty else { return }
        // The common case: the range continues the last one, or lies after it.
        guard let last = ranges.last, range.lowerBound <= last.upperBound else {
            ranges.append(range)
            return
        }
        if range.lowerBound >= last.lowerBound {
            let upper = max(last.upperBound, range.upperBound)
            ranges[ranges.count - 1] = last.lowerBound..<upper
            return
        }
        // Everything from the first range that reaches the new one to the last that it reaches.
        var start = 0
        var end = ranges.count
        while start < end, ranges[start].upperBound < range.lowerBound { start += 1 }
        while end > start, ranges[end - 1].lowerBound > range.upperBound { end -= 1 }
        var joined = range
        if start < end {
            joined =
                min(
                    joined.lowerBound,
                    ranges[start].lowerBound
                )..<max(joined.upperBound, ranges[end - 1].upperBound)
        }
        ranges.replaceSubrange(start..<end, with: CollectionOfOne(joined))
    }

    /// Adds all offsets of another set.
    package mutating func formUnion(_ other: OffsetRanges) {
        for range in other.ranges { insert(range) }
    }

    /// The offsets that are not in the other set.
    package func subtracting(_ other: OffsetRanges) -> OffsetRanges {
        guard overlaps(other) else { return self }
        var result = OffsetRanges()
        for range in ranges {
            result.ranges.append(contentsOf: Self.parts(of: range, without: other))
        }
        return result
    }

    /// The offsets that are in both sets.
    package func intersection(_ other: OffsetRanges) -> OffsetRanges {
        other.isSuperset(of: self) ? self : subtracting(subtracting(other))
    }

    /// The offsets of a range that are not in `other`.
    package static func parts(
        of range: Range<UInt64>,
        without other: OffsetRanges
    ) -> [Range<UInt64>] {
        var parts: [Range<UInt64>] = []
        var from = range.lowerBound
        var at = other.index(endingAfter: from)
        while from < range.upperBound {
            guard at < other.ranges.count, other.ranges[at].lowerBound < range.upperBound else {
                parts.append(from..<range.upperBound)
                break
            }
            let taken = other.ranges[at]
            if taken.lowerBound > from { parts.append(from..<taken.lowerBound) }
            from = max(from, taken.upperBound)
            at += 1
        }
        return parts
    }

    /// The literal of an `int8multirange`.
    package var literal: String {
        "{" + ranges.map { "[\($0.lowerBound),\($0.upperBound))" }.joined(separator: ",") + "}"
    }
}

extension Range<Offset> {
    /// The same range in plain numbers.
    var numbers: Range<UInt64> { lowerBound.rawValue..<upperBound.rawValue }
}
