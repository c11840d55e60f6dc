import FileIO
import FileIOTesting
import Testing

@Suite("Gzip reader")
struct GzipReaderTests {
    /// `gzip` of "hello " ten times, and of "world\n", one after the other.
    private static let members =
        "1f8b0800000000000203cb48cdc9c957c8208b0400e44dd0593c0000001f8b08"
        + "000000000002032bcf2fca49e10200a86138dd06000000"
    private static let plain =
        Array(String(repeating: "hello ", count: 10).utf8)
        + Array("world\n".utf8)

    private static var compressed: [UInt8] {
        stride(from: 0, to: members.utf8.count, by: 2).compactMap { start in
            UInt8(members.dropFirst(start).prefix(2), radix: 16)
        }
    }

    /// The content of a file with these bytes, read in pieces.
    private func content(_ bytes: [UInt8], piece: Int) throws -> [UInt8] {
        let fileSystem = MemoryFileSystem()
        let file = try fileSystem.open("/file", .create)
        try file.write(bytes, at: 0)
        let reader = try GzipReader(file)
        var result: [UInt8] = []
        while true {
            let count = try reader.read(piece, appendingTo: &result)
            if count == 0 { return result }
            #expect(count <= piece)
        }
    }

    @Test("members are concatenated", arguments: [1, 7, 1000])
    func members(piece: Int) throws {
        #expect(try content(Self.compressed, piece: piece) == Self.plain)
    }

    @Test("a plain file is read as it is", arguments: [1, 1000])
    func plainFile(piece: Int) throws {
        #expect(try content(Self.plain, piece: piece) == Self.plain)
        #expect(try content([], piece: piece) == [])
    }

    @Test("padding behind the last member is ignored")
    func padding() throws {
        #expect(
            try content(Self.compressed + [UInt8](repeating: 0, count: 100), piece: 50)
                == Self.plain
        )
    }

    @Test("a file that ends too early or is damaged is an error")
    func damaged() throws {
        for count in 2..<Self.compressed.count {
            let cut = Array(Self.compressed.prefix(count))
            let isWholeMember = (try? content(cut, piece: 100)) != nil
            // Only at the border between the members is the file complete.
            if isWholeMember {
                #expect(try content(cut, piece: 100) == Array(Self.plain.prefix(60)))
            }
        }
        var flipped = Self.compressed
        flipped[12] ^= 0x10
        #expect(throws: FileIOError.self) { try content(flipped, piece: 100) }
    }
}
