internal import FileIO
package import NIOCore
internal import Records

extension ByteBuffer {
    /// Appends a number in decimal digits.
    package mutating func writeDecimal(_ value: Int) {
        precondition(value >= 0, "only lengths and statuses are written")
        var digits: UInt64 = 0
        var count = 0
        var rest = value
        // Eight digits at a time fit a word; the first of them is the lowest byte.
        repeat {
            digits = digits << 8 | UInt64(0x30 + rest % 10)
            count += 1
            rest /= 10
        } while rest > 0 && count < 8
        if rest > 0 { writeDecimalExactly(rest) }
        writeLowBytes(digits, count)
    }

    /// Appends the digits above the lowest eight.
    private mutating func writeDecimalExactly(_ value: Int) { writeDecimal(value) }

    /// Appends a number in lower-case hexadecimal digits without leading zeros.
    package mutating func writeHexadecimal(_ value: Int) {
        let bits = UInt64(value)
        let digits = max(1, (64 - bits.leadingZeroBitCount + 3) / 4)
        writeHexadecimal(bits, digits: digits)
    }

    /// Appends so many hexadecimal digits of a number.
    package mutating func writeHexadecimal(_ value: UInt64, digits: Int) {
        var left = digits
        while left > 0 {
            let taken = min(left, 8)
            var word: UInt64 = 0
            for step in 0..<taken {
                let digit = UInt64(value >> UInt64((left - taken + step) * 4) & 15)
                word = word << 8 | (digit < 10 ? 0x30 + digit : 0x57 + digit)
            }
            writeLowBytes(word, taken)
            left -= taken
        }
    }

    /// Appends the lowest bytes of a word, lowest first.
    private mutating func writeLowBytes(_ word: UInt64, _ count: Int) {
        if count == 8 {
            writeInteger(word, endianness: .little)
            return
        }
        reserveCapacity(minimumWritableBytes: 8)
        setInteger(word, at: writerIndex, endianness: .little)
        moveWriterIndex(forwardBy: count)
    }

    /// Appends bytes of another buffer.
    @inline(__always)
    package mutating func writePlace(_ place: Place, of bytes: Span<UInt8>) {
        writeBytes(bytes.extracting(place.range).raw)
    }
}
