import Records

/// A log-linear histogram of durations in microseconds: 64 sub-buckets per octave.
///
/// Values below 64 are exact; above, a bucket is at most 1/64 of its lower bound wide and is
/// represented by its middle, so the relative error is at most 1/128 (0.8 %). Merging adds counts:
/// exact, commutative, associative.
///
/// Encoding, canonical (one histogram, one encoding; the empty one is empty bytes):
///
///     size     content
///     varint   gap: bucket index minus the previous index minus 1; the index itself for the first
///     varint   count, at least 1
///     …        repeated for every bucket that is not empty, by ascending index
///
/// Varints are LEB128 as in protobuf, of minimal length. `docs/formats/sketches.md` has an example.
package enum LatencyHistogram {
    /// How many buckets there are: indices are below it.
    package static var bucketCount: Int { 3776 }

    /// The bucket of a duration.
    @inline(__always)
    package static func index(of value: UInt64) -> Int {
        guard value >= 64 else { return Int(truncatingIfNeeded: value) }
        let exponent = 63 - value.leadingZeroBitCount
        let sub = Int(truncatingIfNeeded: value >> UInt64(exponent - 6) & 63)
        return (exponent - 5) << 6 | sub
    }

    /// The smallest duration of a bucket.
    package static func lowerBound(of index: Int) -> UInt64 {
        guard index >= 64 else { return UInt64(index) }
        let exponent = UInt64(index >> 6 + 5)
        return (64 | UInt64(index & 63)) << (exponent - 6)
    }

    /// The duration that stands for a bucket: its middle.
    package static func representative(of index: Int) -> UInt64 {
        guard index >= 128 else { return UInt64(index) }
        let exponent = UInt64(index >> 6 + 5)
        return lowerBound(of: index) + (1 << (exponent - 6)) / 2
    }

    /// Calls the body with every bucket that is not empty, by ascending index.
    @inline(__always)
    package static func forEach(
        _ encoded: Span<UInt8>,
        _ body: (_ index: Int, _ count: UInt64) -> Void
    ) throws(MeasureError) {
        var reader = try BucketReader(encoded)
        while reader.count > 0 {
            body(Int(truncatingIfNeeded: reader.index), reader.count)
            try reader.advance()
        }
    }

    /// How many durations were counted.
    package static func total(_ encoded: Span<UInt8>) throws(MeasureError) -> UInt64 {
        var total: UInt64 = 0
        try forEach(encoded) { _, count in total &+= count }  // checked by forEach
        return total
    }

    /// The encoding of some durations.
    package static func encode(_ values: [UInt64]) -> [UInt8] {
        var accumulator = HistogramAccumulator()
        for value in values { accumulator.add(index: index(of: value), count: 1) }
        return accumulator.encoded()
    }

    /// The encoding of two histograms together.
    package static func merge(_ left: [UInt8], _ right: [UInt8]) throws(MeasureError) -> [UInt8] {
        var output: [UInt8] = []
        try merge(left.span, right.span, into: &output)
        return output
    }

    /// Appends the encoding of two histograms together; on an error part of it may have been
    /// appended.
    package static func merge(
        _ left: Span<UInt8>,
        _ right: Span<UInt8>,
        into output: inout [UInt8]
    ) throws(MeasureError) {
        // Neither a gap nor a sum takes more bytes than the numbers that it is made of.
        try output.append(addingCapacity: left.count + right.count) {
            span throws(MeasureError) in
            var a = try BucketReader(left)
            var b = try BucketReader(right)
            var next: UInt64 = 0
            while a.count > 0 || b.count > 0 {
                let index = Swift.min(a.index, b.index)
                var count: UInt64 = 0
                if a.index == index {
                    count = a.count
                    try a.advance()
                }
                if b.index == index {
                    count = Swift.min(count &+ b.count, UInt64(Int64.max))  // both at most that
                    try b.advance()
                }
                span.appendVarint(index &- next)  // ascending
                span.appendVarint(count)
                next = index &+ 1
            }
        }
    }

    /// The value at rank ⌈q × n⌉ (at least 1), as PostgreSQL's `percentile_disc`; nil when empty.
    ///
    /// The result is a bucket's middle, moved into the known minimum and maximum.
    package static func quantile(
        _ quantile: Double,
        of encoded: Span<UInt8>,
        min: UInt64 = 0,
        max: UInt64 = .max
    ) throws(MeasureError) -> UInt64? {
        let total = try total(encoded)
        guard total > 0 else { return nil }
        let rank = nearestRank(quantile, total)
        var seen: UInt64 = 0
        var found: Int?
        try forEach(encoded) { index, count in
            seen &+= count  // at most the total
            if found == nil, seen >= rank { found = index }
        }
        guard let found else { return nil }
        return clamp(representative(of: found), min, max)
    }

    /// The rank of a quantile among so many values.
    static func nearestRank(_ quantile: Double, _ total: UInt64) -> UInt64 {
        let rank = (quantile * Double(total)).rounded(.up)
        guard rank >= 1 else { return 1 }
        return rank >= Double(total) ? total : UInt64(rank)
    }

    /// Moves a value into known bounds.
    static func clamp(_ value: UInt64, _ min: UInt64, _ max: UInt64) -> UInt64 {
        Swift.max(min, Swift.min(value, Swift.max(min, max)))
    }
}

/// Reads the buckets of a histogram, ascending.
private struct BucketReader: ~Escapable {
    private var reader: CanonicalReader
    private var total: UInt64 = 0
    /// The bucket at hand; `UInt64.max` behind the last one.
    private(set) var index: UInt64 = 0
    /// Its count; 0 behind the last one.
    private(set) var count: UInt64 = 0

    /// Reads the first bucket.
    @inline(__always)
    @_lifetime(copy encoded)
    init(_ encoded: Span<UInt8>) throws(MeasureError) {
        reader = CanonicalReader(encoded)
        try read(from: 0)
    }

    /// Reads the next bucket.
    @inline(__always)
    @_lifetime(self: copy self)
    mutating func advance() throws(MeasureError) { try read(from: index &+ 1) }

    @inline(__always)
    @_lifetime(self: copy self)
    private mutating func read(from next: UInt64) throws(MeasureError) {
        let start = reader.position
        guard start < reader.bytes.count else {
            (index, count) = (.max, 0)
            return
        }
        guard let gap = reader.varint(), let number = reader.varint(),
            gap < UInt64(LatencyHistogram.bucketCount),
            next &+ gap < UInt64(LatencyHistogram.bucketCount),
            number > 0, number <= UInt64(Int64.max) &- total
        else { throw .malformedHistogram(position: start) }
        total &+= number
        (index, count) = (next &+ gap, number)
    }
}

/// Reads minimal varints; nil for anything else. Never traps.
struct CanonicalReader: ~Escapable {
    /// The bytes being read.
    let bytes: Span<UInt8>
    /// The byte position of the next read.
    private(set) var position = 0

    /// Starts at a byte position.
    @inline(__always)
    @_lifetime(copy bytes)
    init(_ bytes: Span<UInt8>, from position: Int = 0) {
        self.bytes = bytes
        self.position = position
    }

    /// Reads one varint.
    @inline(__always)
    @_lifetime(self: copy self)
    mutating func varint() -> UInt64? {
        guard position < bytes.count else { return nil }
        let first = bytes[position]
        if first < 0x80 {
            position &+= 1  // below count
            return UInt64(first)
        }
        // Two or three bytes: nearly all others, since indices and registers are below 4,096.
        if bytes.count &- position >= 3 {
            let second = bytes[position &+ 1]
            let third = bytes[position &+ 2]
            let value = UInt64(first & 0x7F) | UInt64(second & 0x7F) &<< 7
            if second < 0x80 {
                position &+= 2  // at most count
                return second == 0 ? nil : value
            }
            if third < 0x80 {
                position &+= 3  // at most count
                return third == 0 ? nil : value | UInt64(third) &<< 14
            }
        }
        guard let (value, end) = Self.long(bytes, position) else { return nil }
        position = end
        return value
    }

    /// Reads one of two bytes or more, and where it ends; takes no reader, so that readers may live
    /// in registers.
    private static func long(_ bytes: Span<UInt8>, _ start: Int) -> (value: UInt64, end: Int)? {
        var position = start
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while position < bytes.count {
            let byte = bytes[position]
            position &+= 1  // below count
            if shift == 63, byte > 1 { return nil }
            value |= UInt64(byte & 0x7F) &<< shift
            if byte < 0x80 { return byte == 0 ? nil : (value, position) }
            shift &+= 7  // at most 63, where the loop ends
        }
        return nil
    }
}
