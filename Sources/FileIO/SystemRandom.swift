internal import CSluice

/// The kernel's random generator (`getrandom(2)`), for identities and salts.
package struct SystemRandom: RandomNumberGenerator, Sendable {
    /// Makes a generator; it has no state.
    package init() {}

    /// Sixty-four random bits.
    package mutating func next() -> UInt64 {
        var value: UInt64 = 0
        let result = unsafe sluice_random(&value, MemoryLayout<UInt64>.size)
        precondition(result == 0, "getrandom failed: errno \(result)")
        return value
    }
}
