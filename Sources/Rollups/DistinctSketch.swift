import Records

/// HyperLogLog with 4,096 registers (p = 12): how many distinct values, with σ ≈ 1.6 %.
///
/// A value's register is the first 12 bits of its `StableHash`, its rank one more than the number
/// of leading zeros in the other 52 bits (1 to 53). A register holds the largest rank seen; merging
/// takes the larger: commutative, associative, idempotent.
///
/// Encoding, canonical by content (empty = empty bytes):
///
///     offset  size    content
///     0       1       form: 1 sparse, 2 dense
///     sparse, per register that is not 0, by ascending register:
///     1       varint  gap × 64 + rank; gap as in `LatencyHistogram`
///     dense:
///     1       3072    register r in bits 6r to 6r + 5, counted from the lowest bit of each byte
///
/// A sketch is dense when its sparse form would be longer than 3,073 bytes.
package enum DistinctSketch {
    /// How many registers there are.
    package static var registerCount: Int { 4096 }
    /// The largest rank.
    static var rankMax: UInt8 { 53 }
    /// The bytes of the dense form.
    static var denseSize: Int { 3073 }

    /// The register of a hash.
    @inline(__always)
    package static func register(of hash: UInt64) -> Int {
        Int(truncatingIfNeeded: hash >> 52)
    }

    /// The rank of a hash.
    @inline(__always)
    package static func rank(of hash: UInt64) -> UInt8 {
        UInt8(truncatingIfNeeded: (hash << 12 | 0x800).leadingZeroBitCount + 1)
    }

    /// Calls the body with every register that is not 0, ascending.
    @inline(__always)
    package static func forEach(
        _ encoded: Span<UInt8>,
        _ body: (_ register: Int, _ rank: UInt8) -> Void
    ) throws(MeasureError) {
        guard !encoded.isEmpty else { return }
        switch encoded[0] {
        case 1:
            guard encoded.count > 1, encoded.count <= denseSize else {
                throw .malformedSketch(position: encoded.count)
            }
            var reader = try RegisterReader(encoded)
            while reader.rank > 0 {
                body(
                    Int(truncatingIfNeeded: reader.register),
                    UInt8(truncatingIfNeeded: reader.rank)
                )
                try reader.advance()
            }
        case 2:
            guard encoded.count == denseSize else {
                throw .malformedSketch(position: encoded.count)
            }
            for group in 0..<1024 {
                let byte = 1 + 3 * group
                var bits =
                    UInt32(encoded[byte]) | UInt32(encoded[byte + 1]) << 8
                    | UInt32(encoded[byte + 2]) << 16
                for place in 0..<4 {
                    let rank = UInt8(truncatingIfNeeded: bits & 63)
                    guard rank <= rankMax else { throw .malformedSketch(position: byte) }
                    if rank > 0 { body(4 * group + place, rank) }
                    bits >>= 6
                }
            }
        default: throw .malformedSketch(position: 0)
        }
    }

    /// The encoding of the sketch of some hashes.
    package static func encode(hashes: some Sequence<UInt64>) -> [UInt8] {
        var accumulator = SketchAccumulator()
        for hash in hashes { accumulator.add(hash: hash) }
        return accumulator.encoded()
    }

    /// The encoding of two sketches together.
    package static func merge(_ left: [UInt8], _ right: [UInt8]) throws(MeasureError) -> [UInt8] {
        var output: [UInt8] = []
        try merge(left.span, right.span, into: &output)
        return output
    }

    /// Appends the encoding of two sketches together; on an error part of it may have been
    /// appended.
    package static func merge(
        _ left: Span<UInt8>,
        _ right: Span<UInt8>,
        into output: inout [UInt8]
    ) throws(MeasureError) {
        if left.isEmpty && right.isEmpty { return }
        // Longer ones may become dense.
        guard isSparse(left), isSparse(right), left.count + right.count <= denseSize else {
            var accumulator = SketchAccumulator()
            try accumulator.merge(left)
            try accumulator.merge(right)
            return accumulator.encode(into: &output)
        }
        // A gap takes no more bytes than one of those that it is made of.
        try output.append(addingCapacity: left.count + right.count) {
            span throws(MeasureError) in
            span.append(1)
            var a = try RegisterReader(left)
            var b = try RegisterReader(right)
            var next: UInt64 = 0
            while a.rank > 0 || b.rank > 0 {
                let register = Swift.min(a.register, b.register)
                var rank: UInt64 = 0
                if a.register == register {
                    rank = a.rank
                    try a.advance()
                }
                if b.register == register {
                    rank = Swift.max(rank, b.rank)
                    try b.advance()
                }
                span.appendVarint((register &- next) << 6 | rank)  // ascending
                next = register &+ 1
            }
        }
    }

    /// Whether a sketch is empty or may be one that is not dense.
    private static func isSparse(_ encoded: Span<UInt8>) -> Bool {
        encoded.isEmpty || encoded.count > 1 && encoded[0] == 1
    }

    /// Appends the dense form of a rank per register.
    static func encodeDense(_ ranks: [UInt8], into output: inout [UInt8]) {
        output.append(2)
        for group in 0..<1024 {
            let first = 4 * group
            let bits =
                UInt32(ranks[first]) | UInt32(ranks[first + 1]) << 6
                | UInt32(ranks[first + 2]) << 12 | UInt32(ranks[first + 3]) << 18
            output.append(UInt8(truncatingIfNeeded: bits))
            output.append(UInt8(truncatingIfNeeded: bits >> 8))
            output.append(UInt8(truncatingIfNeeded: bits >> 16))
        }
    }

    /// About how many distinct values a sketch has seen.
    package static func estimate(_ encoded: Span<UInt8>) throws(MeasureError) -> Double {
        var multiplicities = [Int](repeating: 0, count: Int(rankMax) + 1)
        multiplicities[0] = registerCount
        try forEach(encoded) { _, rank in
            multiplicities[Int(rank)] += 1
            multiplicities[0] -= 1
        }
        return estimate(multiplicities: multiplicities)
    }

    /// Ertl's improved estimator ("New cardinality estimation algorithms for HyperLogLog sketches",
    /// 2017, algorithm 6): no tables, no seams between ranges, linear counting at the low end.
    static func estimate(multiplicities: [Int]) -> Double {
        let registers = Double(registerCount)
        guard multiplicities[0] < registerCount else { return 0 }
        let top = Int(rankMax)
        var sum = registers * tau(1 - Double(multiplicities[top]) / registers)
        for rank in (1..<top).reversed() {
            sum = 0.5 * (sum + Double(multiplicities[rank]))
        }
        sum += registers * sigma(Double(multiplicities[0]) / registers)
        let alpha = 0.721347520444481703680  // 1 / (2 ln 2)
        return alpha * registers * registers / sum
    }

    /// x + Σ x^(2^k) 2^(k−1), for x below 1.
    private static func sigma(_ x: Double) -> Double {
        var x = x
        var y = 1.0
        var z = x
        var previous = -1.0
        while z != previous {
            x *= x
            previous = z
            z += x * y
            y += y
        }
        return z
    }

    /// (1 − x − Σ (1 − x^(2^−k))² 2^−k) / 3.
    private static func tau(_ x: Double) -> Double {
        guard x > 0, x < 1 else { return 0 }
        var x = x
        var y = 1.0
        var z = 1 - x
        var previous = -1.0
        while z != previous {
            x = x.squareRoot()
            previous = z
            y *= 0.5
            z -= (1 - x) * (1 - x) * y
        }
        return z / 3
    }
}

/// Reads the registers of a sketch that is not dense, ascending.
private struct RegisterReader: ~Escapable {
    private var reader: CanonicalReader
    /// The register at hand; `UInt64.max` behind the last one.
    private(set) var register: UInt64 = 0
    /// Its rank; 0 behind the last one.
    private(set) var rank: UInt64 = 0

    /// Reads the first register.
    @inline(__always)
    @_lifetime(copy encoded)
    init(_ encoded: Span<UInt8>) throws(MeasureError) {
        reader = CanonicalReader(encoded, from: 1)
        try read(from: 0)
    }

    /// Reads the next register.
    @inline(__always)
    @_lifetime(self: copy self)
    mutating func advance() throws(MeasureError) { try read(from: register &+ 1) }

    @inline(__always)
    @_lifetime(self: copy self)
    private mutating func read(from next: UInt64) throws(MeasureError) {
        let start = reader.position
        guard start < reader.bytes.count else {
            (register, rank) = (.max, 0)
            return
        }
        guard let value = reader.varint(),
            value >> 6 < UInt64(DistinctSketch.registerCount),
            next &+ value >> 6 < UInt64(DistinctSketch.registerCount),
            value & 63 >= 1, value & 63 <= UInt64(DistinctSketch.rankMax)
        else { throw .malformedSketch(position: start) }
        (register, rank) = (next &+ value >> 6, value & 63)
    }
}
