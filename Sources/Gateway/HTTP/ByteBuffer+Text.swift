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
        if digits > 8 {
            writeLowBytes(Self.hexadecimal(bits >> 32) >> UInt64((16 - digits) * 8), digits - 8)
            writeLowBytes(Self.hexadecimal(bits & 0xFFFF_FFFF), 8)
        } else {
            writeLowBytes(Self.hexadecimal(bits) >> UInt64((8 - digits) * 8), digits)
        }
    }

    /// Appends all sixteen hexadecimal digits of a number.
    package mutating func writeSixteenDigits(_ value: UInt64) {
        writeMultipleIntegers(
            Self.hexadecimal(value >> 32),
            Self.hexadecimal(value & 0xFFFF_FFFF),
            endianness: .little
        )
    }

    /// The eight hexadecimal digits of a 32-bit number, the first in the lowest byte.
    private static func hexadecimal(_ value: UInt64) -> UInt64 {
        // Spreads the nibbles over bytes, then adds "0", and the way from "9" to "a" where needed.
        var word = value
        word = (word | word << 16) & 0x0000_FFFF_0000_FFFF
        word = (word | word << 8) & 0x00FF_00FF_00FF_00FF
        word = (word | word << 4) & 0x0F0F_0F0F_0F0F_0F0F
        let isLetter = (word + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101
        // At most 0x0F + 0x30 + 0x27 in each byte: nothing carries over.
        return (word + 0x3030_3030_3030_3030 + isLetter * 0x27).byteSwapped
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
