/// The seeded random numbers of all generated traffic: the same seed gives the same traffic.
///
/// SplitMix64 (Steele, Lea, Flood 2014): one multiplication chain per number, any seed is good.
package struct SplitMix: RandomNumberGenerator, Sendable {
    private var state: UInt64

    /// A generator that depends on `seed` alone.
    package init(seed: UInt64) {
        state = seed
    }

    /// The next 64 bits; wraps by definition of the generator.
    package mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var bits = state
        bits = (bits ^ (bits >> 30)) &* 0xBF58_476D_1CE4_E5B9
        bits = (bits ^ (bits >> 27)) &* 0x94D0_49BB_1331_11EB
        return bits ^ (bits >> 31)
    }

    /// A number in [0, 1).
    package mutating func unit() -> Double {
        Double(next() >> 11) * 0x1p-53
    }
}
