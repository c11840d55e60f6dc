import FileIO
import Testing

@Suite("Checksum")
struct ChecksumTests {
    @Test("the check value of CRC32C is that of the standard")
    func checkValue() {
        let digits = Array("123456789".utf8)
        #expect(Checksum.crc32c(digits) == 0xE306_9283)
        #expect(Checksum.crc32c([UInt8]()) == 0)
    }

    @Test("the processor's instruction and the table agree, in pieces and whole")
    func paths() {
        var bytes: [UInt8] = []
        var state: UInt32 = 1
        for count in 0..<200 {
            let whole = Checksum.crc32c(bytes)
            #expect(whole == Checksum.crc32cPortable(bytes))
            let middle = count / 3
            let head = Checksum.crc32c(Array(bytes[..<middle]))
            let both = Checksum.crc32c(Array(bytes[middle...]), continuing: head)
            #expect(both == whole)
            state = state &* 1_664_525 &+ 1_013_904_223
            bytes.append(UInt8(truncatingIfNeeded: state >> 24))
        }
    }

    @Test("words are summed as their little-endian bytes")
    func words() {
        let words: [UInt64] = [0x0807_0605_0403_0201, 0x1817_1615_1413_1211]
        let bytes: [UInt8] = Array(1...8) + Array(0x11...0x18)
        #expect(Checksum.crc32c(words: words.span) == Checksum.crc32c(bytes))
    }

    @Test("integers are stored least significant byte first")
    func byteOrder() {
        var bytes: [UInt8] = []
        bytes.appendLittleEndian(UInt32(0x0403_0201))
        bytes.appendLittleEndian(UInt16(0x0605))
        #expect(bytes == [1, 2, 3, 4, 5, 6])
        bytes.storeLittleEndian(UInt16(0xAABB), at: 1)
        #expect(bytes == [1, 0xBB, 0xAA, 4, 5, 6])
    }
}
