/// The 64-bit hash behind sketches and key ranks. Stored data depends on it: it never changes.
///
/// The bytes are cut into blocks of 16, the last one padded with zeros; each block is two
/// little-endian words. With `mix(a, b)` = low ⊕ high half of the 128-bit product a × b:
///
///     state = K2;  per block: state = mix(first ⊕ K0, second ⊕ state)
///     hash = mix(state ⊕ K1, length ⊕ K0)
///
/// No bytes at all make one block of zeros. `docs/formats/sketches.md` has test vectors.
package enum StableHash {
    /// Odd constants with 32 bits set (wyhash's).
    @inline(__always) static var k0: UInt64 { 0xA076_1D64_78BD_642F }
    @inline(__always) static var k1: UInt64 { 0xE703_7ED1_A0B4_28DB }
    @inline(__always) static var k2: UInt64 { 0x8EBC_6AF0_9C88_C6E3 }

    /// Folds a 128-bit product into 64 bits.
    @inline(__always)
    package static func mix(_ left: UInt64, _ right: UInt64) -> UInt64 {
        let product = left.multipliedFullWidth(by: right)
        return product.low ^ product.high
    }

    /// The hash of some bytes.
    @inline(__always)
    package static func hash(_ bytes: Span<UInt8>) -> UInt64 {
        var state = k2
        var start = 0
        while bytes.count - start > 16 {
            state = mix(bytes.word(at: start) ^ k0, bytes.word(at: start + 8) ^ state)
            start += 16
        }
        let rest = bytes.count - start
        state =
            rest > 8
            ? mix(bytes.word(at: start) ^ k0, bytes.lastWord(rest - 8) ^ state)
            : mix(bytes.lastWord(rest) ^ k0, state)
        return mix(state ^ k1, UInt64(bytes.count) ^ k0)
    }

    /// The hash of text.
    package static func hash(_ text: String) -> UInt64 {
        hash(text.utf8.span)
    }

    /// The hash of a number: that of its eight little-endian bytes.
    @inline(__always)
    package static func hash(integer: Int64) -> UInt64 {
        let state = mix(UInt64(bitPattern: integer) ^ k0, k2)
        return mix(state ^ k1, 8 ^ k0)
    }
}

extension Span<UInt8> {
    /// Eight bytes as a little-endian word.
    @inline(__always)
    func word(at start: Int) -> UInt64 {
        let eight = extracting(start..<(start + 8))
        return UInt64(eight[0]) | UInt64(eight[1]) << 8 | UInt64(eight[2]) << 16
            | UInt64(eight[3]) << 24 | UInt64(eight[4]) << 32 | UInt64(eight[5]) << 40
            | UInt64(eight[6]) << 48 | UInt64(eight[7]) << 56
    }

    /// The last one to eight bytes as a little-endian word, padded with zeros; 0 for none.
    ///
    /// Nothing is done by byte: how many there are differs from value to value.
    @inline(__always)
    func lastWord(_ length: Int) -> UInt64 {
        if count >= 8 { return word(at: count - 8) >> UInt64(8 * (8 - length) & 63) }
        // All of them, since there are fewer than eight.
        if length >= 4 {
            return halfWord(at: 0) | halfWord(at: length - 4) << UInt64(8 * (length - 4))
        }
        guard length > 0 else { return 0 }
        let middle = length / 2
        return UInt64(self[0]) | UInt64(self[middle]) << UInt64(8 * middle)
            | UInt64(self[length - 1]) << UInt64(8 * (length - 1))
    }

    /// Four bytes as a little-endian word.
    @inline(__always)
    private func halfWord(at start: Int) -> UInt64 {
        let four = extracting(start..<(start + 4))
        return UInt64(four[0]) | UInt64(four[1]) << 8 | UInt64(four[2]) << 16
            | UInt64(four[3]) << 24
    }
}

/// The order in which keys are kept when a bucket holds more than the cardinality bound.
///
/// Smaller ranks are kept. Matched routes come before unmatched ones, then the hash of the values
/// of the key tuple decides: the same in every process, whatever ids the database gave out.
package func keyRank(isUnmatched: Bool, valueHashes: some Sequence<UInt64>) -> UInt64 {
    var state = StableHash.k2
    var count: UInt64 = 0
    for hash in valueHashes {
        state = StableHash.mix(hash ^ StableHash.k0, state ^ count)
        count &+= 1  // fewer than there are dimensions
    }
    let hash = StableHash.mix(state ^ StableHash.k1, count ^ StableHash.k0)
    return (isUnmatched ? 1 << 63 : 0) | hash >> 1
}

/// The rank of a key tuple given as text: numbers in decimal, absent values empty.
///
/// For each integer dimension the number is hashed, for the others the text; see `StableHash`.
package func keyRank(of dimensions: [Dimension], values: [String]) -> UInt64 {
    precondition(dimensions.count == values.count, "one value per dimension")
    var isUnmatched = false
    var hashes: [UInt64] = []
    for (dimension, value) in zip(dimensions, values) {
        if dimension == .route, value == "__unmatched__" { isUnmatched = true }
        hashes.append(
            dimension.isInteger
                ? StableHash.hash(integer: Int64(value) ?? 0) : StableHash.hash(value)
        )
    }
    return keyRank(isUnmatched: isUnmatched, valueHashes: hashes)
}
