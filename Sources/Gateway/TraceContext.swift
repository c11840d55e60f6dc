/// W3C trace context: reading `traceparent`, and making one.
package enum TraceContext {
    /// The 16 bytes of a trace id as two words; nil unless the value is valid.
    ///
    /// Version 00 must be exactly 55 bytes; later ones may be longer. All-zero ids are invalid.
    package static func traceID(_ value: Span<UInt8>) -> (high: UInt64, low: UInt64)? {
        guard value.count >= 55, value[2] == 0x2D, value[35] == 0x2D, value[52] == 0x2D,
            let version = number(value, 0..<2), version != 0xFF,
            version != 0 || value.count == 55, value.count == 55 || value[55] == 0x2D,
            let high = number(value, 3..<19), let low = number(value, 19..<35), high | low != 0,
            let parent = number(value, 36..<52), parent != 0, number(value, 53..<55) != nil
        else { return nil }
        return (high, low)
    }

    /// Lower-case hexadecimal digits as a number.
    private static func number(_ value: Span<UInt8>, _ range: Range<Int>) -> UInt64? {
        var result: UInt64 = 0
        for index in range {
            let byte = value[index]
            guard let digit = ByteClass.hexadecimal(byte), byte < 0x41 || byte > 0x46 else {
                return nil
            }
            result = result << 4 | UInt64(digit)
        }
        return result
    }
}

/// A fast generator for ids that must be distinct, not secret: xoshiro256**.
///
/// Each loop has one, seeded with 256 bits from the kernel, so that two never meet.
package struct IdentifierGenerator: RandomNumberGenerator, Sendable {
    private var s0: UInt64
    private var s1: UInt64
    private var s2: UInt64
    private var s3: UInt64

    /// A generator that starts where another one leads it.
    package init(seededBy seed: inout some RandomNumberGenerator) {
        s0 = seed.next()
        s1 = seed.next()
        s2 = seed.next()
        // The state must not be all zero.
        s3 = seed.next() | 1
    }

    /// The next sixty-four bits.
    package mutating func next() -> UInt64 {
        // The generator is arithmetic modulo 2⁶⁴: wrapping is meant.
        let scrambled = Self.rotate(s1 &* 5, 7) &* 9
        let shifted = s1 << 17
        s2 ^= s0
        s3 ^= s1
        s1 ^= s2
        s0 ^= s3
        s2 ^= shifted
        s3 = Self.rotate(s3, 45)
        return scrambled
    }

    private static func rotate(_ value: UInt64, _ count: UInt64) -> UInt64 {
        value << count | value >> (64 - count)
    }
}
