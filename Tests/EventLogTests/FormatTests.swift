import EventLog
import FileIO
import FileIOTesting
import Records
import Testing

/// A log whose every byte is known: fixed id, clock and salts.
func makeKnownLog(_ fileSystem: MemoryFileSystem) throws -> (LogDirectory, LogID) {
    let directory = try LogDirectory(
        path: "/data",
        fileSystem: fileSystem,
        time: ManualTimeSource(),
        random: { 0x1122_3344_5566_7788 }
    )
    let id = try #require(LogID("01234567-89ab-4cde-8f01-23456789abcd"))
    var configuration = LogConfiguration()
    configuration.node = "gw-1"
    configuration.region = "eu"
    _ = try directory.writeSealedLog(id: id, configuration) {
        writer throws(EventLogError) in
        try writer.append(eventTime: 1_767_225_599_000_000) { encoder in
            encoder.put(.kind, UInt64(RecordKind.request.rawValue))
            encoder.put(.path, "/a")
        }
        try writer.append(eventTime: 1_767_225_598_000_000) { encoder in
            encoder.put(.kind, UInt64(RecordKind.request.rawValue))
            encoder.put(.path, "/b")
        }
    }
    return (directory, id)
}

/// Lines of sixteen bytes with their position, as `xxd` shows them; lines of zeros are left out.
func hexDump(_ bytes: [UInt8], from start: Int = 0) -> [String] {
    stride(from: start, to: bytes.count, by: 16).compactMap { position in
        let line = bytes[position..<min(position + 16, bytes.count)]
        guard line.contains(where: { $0 != 0 }) else { return nil }
        let hex = line.map { byte in
            let digits = String(byte, radix: 16)
            return digits.utf8.count == 1 ? "0" + digits : digits
        }
        let place = String(position, radix: 16)
        return String(repeating: "0", count: 8 - place.utf8.count) + place + ": "
            + hex.joined(separator: " ")
    }
}

@Suite("Format")
struct FormatTests {
    /// The known log's only segment, without lines of zeros. The same text is the worked example
    /// in `docs/formats/segment.md`.
    static let golden = """
        00000000: 53 4c 55 49 43 45 4c 47 01 00 ff ff 00 10 00 00
        00000010: 01 23 45 67 89 ab 4c de 8f 01 23 45 67 89 ab cd
        00000020: 00 00 00 00 00 00 00 00 88 77 66 55 44 33 22 11
        00000030: 00 40 20 46 48 47 06 00 00 00 00 00 00 00 00 00
        00000050: 04 00 02 00 67 77 2d 31 65 75 00 00 00 00 00 00
        000007f0: 00 00 00 00 00 00 00 00 00 00 00 00 38 e6 89 07
        00000800: 53 4c 55 49 43 45 4c 47 01 00 ff ff 00 10 00 00
        00000810: 01 23 45 67 89 ab 4c de 8f 01 23 45 67 89 ab cd
        00000820: 00 00 00 00 00 00 00 00 88 77 66 55 44 33 22 11
        00000830: 00 40 20 46 48 47 06 00 00 00 00 00 00 00 00 00
        00000850: 04 00 02 00 67 77 2d 31 65 75 00 00 00 00 00 00
        00000ff0: 00 00 00 00 00 00 00 00 00 00 00 00 38 e6 89 07
        00001000: 53 4c 46 52 01 01 00 00 8a 00 00 00 02 00 00 00
        00001010: 00 00 00 00 00 00 00 00 00 40 20 46 48 47 06 00
        00001020: 80 bb 01 46 48 47 06 00 c0 fd 10 46 48 47 06 00
        00001030: 00 00 00 00 00 00 00 00 88 77 66 55 44 33 22 11
        00001040: 00 00 00 00 41 f3 ea 1d 1d 00 00 00 08 01 12 10
        00001050: 01 23 45 67 89 ab 4c de 8f 01 23 45 67 89 ab cd
        00001060: 18 00 20 01 82 02 02 2f 61 1d 00 00 00 08 01 12
        00001070: 10 01 23 45 67 89 ab 4c de 8f 01 23 45 67 89 ab
        00001080: cd 18 01 20 01 82 02 02 2f 62 53 4c 46 52 01 02
        00001090: 00 00 70 00 00 00 00 00 00 00 02 00 00 00 00 00
        000010a0: 00 00 00 40 20 46 48 47 06 00 00 40 20 46 48 47
        000010b0: 06 00 00 40 20 46 48 47 06 00 02 00 00 00 00 00
        000010c0: 00 00 88 77 66 55 44 33 22 11 00 00 00 00 6a ed
        000010d0: 64 44 24 00 00 00 08 01 12 10 01 23 45 67 89 ab
        000010e0: 4c de 8f 01 23 45 67 89 ab cd 18 02 20 05 28 80
        000010f0: 80 81 b1 84 e9 91 03 f0 02 02
        """

    @Test("a segment's bytes are those of the documented example")
    func segment() throws {
        let fileSystem = MemoryFileSystem()
        let (_, id) = try makeKnownLog(fileSystem)
        let bytes = try #require(
            fileSystem.bytes(of: "/data/log/\(id)/00000000000000000000.log")
        )
        #expect(hexDump(bytes).joined(separator: "\n") == Self.golden)
    }

    @Test("the documentation shows the same example")
    func documentation() throws {
        let root = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
        let page = try PosixFileSystem().readFile("/\(root)/docs/formats/segment.md")
        #expect(String(decoding: page, as: UTF8.self).contains(Self.golden))
    }

    @Test("the documented example can be read")
    func readBack() throws {
        let (directory, id) = try makeKnownLog(MemoryFileSystem())
        #expect(
            try readAll(directory, id) == [.record(0, "/a"), .record(1, "/b"), .end(2)]
        )
    }

    @Test("a checkpoint is one line of text with its checksum")
    func checkpoint() throws {
        let fileSystem = MemoryFileSystem()
        let directory = try makeDirectory(fileSystem)
        let id = try #require(LogID("01234567-89ab-4cde-8f01-23456789abcd"))
        let store = try directory.checkpoints(consumer: "aggregator")
        #expect(store.load(id) == .zero)
        let before = directory.changeCount
        try store.store(id, Offset(42))
        #expect(directory.changeCount != before)
        #expect(store.load(id) == Offset(42))
        let path = "/data/checkpoints/aggregator/\(id)"
        let bytes = try fileSystem.readFile(path)
        let line = "sluice-checkpoint 1 01234567-89ab-4cde-8f01-23456789abcd 42 5f418e00\n"
        #expect(String(decoding: bytes, as: UTF8.self) == line)
        for index in bytes.indices {
            var damaged = bytes
            damaged[index] ^= 1
            fileSystem.setBytes(damaged, of: path)
            #expect(store.load(id) == .zero)
            fileSystem.setBytes(Array(bytes.prefix(index)), of: path)
            #expect(store.load(id) == .zero)
        }
        for name in ["", "a/b", "..", "a b"] {
            #expect(throws: EventLogError.invalidConsumerName(name)) {
                try directory.checkpoints(consumer: name)
            }
        }
    }

    @Test("a segment of an unknown version is refused, not called damaged")
    func version() throws {
        let fileSystem = MemoryFileSystem()
        let (directory, id) = try makeKnownLog(fileSystem)
        let path = "/data/log/\(id)/00000000000000000000.log"
        var bytes = try #require(fileSystem.bytes(of: path))
        for start in [0, 2048] {
            bytes[start + 8] = 2
            let body = Array(bytes[start..<(start + 2044)])
            bytes.storeLittleEndian(Checksum.crc32c(body.span.raw), at: start + 2044)
        }
        fileSystem.setBytes(bytes, of: path)
        #expect(throws: EventLogError.unsupportedVersion(path: path, version: 2)) {
            try readAll(directory, id)
        }
    }

    @Test("one damaged copy of the segment's header does no harm")
    func headerCopies() throws {
        for start in [0, 2048] {
            let fileSystem = MemoryFileSystem()
            let (directory, id) = try makeKnownLog(fileSystem)
            let path = "/data/log/\(id)/00000000000000000000.log"
            var bytes = try #require(fileSystem.bytes(of: path))
            let damage = [UInt8](repeating: 0xFF, count: 2048)
            bytes.replaceSubrange(start..<(start + 2048), with: damage)
            fileSystem.setBytes(bytes, of: path)
            #expect(try readAll(directory, id).count == 3)
        }
    }
}
