import EventLog
import FileIO
import FileIOTesting
import Foundation
import Importing
import Records
import Testing

/// Whole files: each line counts once, however it arrives.
@Suite("Importer")
struct ImporterTests {
    @Test("a file becomes one log; the same file again adds nothing")
    func twice() throws {
        let site = try Site()
        let first = try site.run(content(0..<100))
        #expect(first.lines == 100 && first.badLines == 0 && first.knownBytes == 0)
        #expect(first.logs == [try #require(first.log)])
        let again = try site.run()
        #expect(again.log == nil && again.lines == 0 && again.logs == first.logs)
        #expect(again.knownBytes == again.bytes)
        #expect(try site.paths() == paths(0..<100))
        // Another API is another import.
        #expect(try site.run(api: "other").lines == 100)
        #expect(try site.paths() == paths(0..<100))
    }

    @Test("the same file on two machines gets the same log id and offsets")
    func twoMachines() throws {
        let one = try Site()
        let two = try Site()
        two.time.advance(microseconds: 1_000_000_000)
        #expect(try one.run(content(0..<10)).log == two.run(content(0..<10)).log)
        #expect(try one.records() == two.records())
        #expect(try one.run(content(0..<20)).log == two.run(content(0..<20)).log)
        #expect(try one.records() == two.records())
    }

    @Test("a file that grows adds only its new lines, step by step")
    func grown() throws {
        let site = try Site()
        var logs: [LogID] = []
        for (from, to) in [(0, 1), (1, 30), (30, 31), (31, 100)] {
            let outcome = try site.run(content(0..<to))
            #expect(outcome.lines == UInt64(to - from))
            logs.append(try #require(outcome.log))
            #expect(outcome.logs == logs)
            #expect(try site.paths() == paths(0..<to))
        }
        // Everything before, in any order, adds nothing now.
        for to in [1, 5, 29, 30, 31, 50, 99, 100] {
            let outcome = try site.run(content(0..<to))
            #expect(outcome.log == nil && outcome.lines == 0, "\(to)")
            #expect(!outcome.logs.isEmpty)
        }
        #expect(try site.paths() == paths(0..<100))
    }

    @Test("whole, then its first part, adds nothing; a file that differs is another file")
    func wholeFirst() throws {
        let site = try Site()
        try site.run(content(0..<50))
        for count in [1, 25, 49] { #expect(try site.run(content(0..<count)).log == nil) }
        let other = content(0..<25) + Array((line(900) + "\n").utf8)
        #expect(try site.run(other).lines == 26)
        #expect(try site.run(other).lines == 0)
        #expect(try site.run(content(10..<20)).lines == 10)
    }

    @Test("with digests of only some lines, what cannot be decided is refused, not guessed")
    func sparse() throws {
        let site = try Site()
        // 100 lines, 16 digests at most: one for every eighth line.
        try site.run(content(0..<100), pointsMax: 16)
        for count in [8, 16, 80, 96] {
            #expect(try site.run(content(0..<count), pointsMax: 16).log == nil, "\(count)")
        }
        for count in [9, 31, 99] {
            #expect(
                throws: ImportError.undecidable(
                    path: "/in/access.log",
                    knownLines: UInt64(count / 8 * 8),
                    lines: UInt64(count)
                )
            ) { try site.run(content(0..<count), pointsMax: 16) }
        }
        #expect(try site.paths() == paths(0..<100))
        #expect(try site.run(content(0..<130), pointsMax: 16).lines == 30)
        #expect(try site.run(content(0..<104), pointsMax: 16).log == nil)
        // What differs at a digest is decided.
        #expect(try site.run(content(1..<20), pointsMax: 16).lines == 19)
        try site.store(content(0..<31))
        #expect(try site.run(isForced: true, pointsMax: 16).lines == 31)
    }

    @Test("line ends: CRLF, empty lines, and none at the end")
    func lineEnds() throws {
        let site = try Site()
        #expect(try site.run(content(0..<5, lineEnd: "\r\n")).lines == 5)
        #expect(try site.run(content(10..<15, lineEnd: "\n\r\n\n")).lines == 5)
        let open = Array(content(20..<25).dropLast())
        let outcome = try site.run(open)
        #expect(outcome.lines == 5 && outcome.unfinishedBytes == 0)
        #expect(try site.run(open).log == nil)
        // The line end arrives, and more.
        #expect(try site.run(content(20..<25)).lines == 0)
        #expect(try site.run(content(20..<27)).lines == 2)
        #expect(try site.run(open).log == nil)
        #expect(try site.run(Array(content(20..<27).dropLast())).log == nil)
        #expect(try site.paths() == (paths(0..<5) + paths(10..<15) + paths(20..<27)).sorted())
        #expect(try site.run([]).lines == 0)
    }

    @Test("a last line that is still being written waits until it is whole", arguments: 1...80)
    func cut(missing: Int) throws {
        let site = try Site()
        let whole = content(0..<3)
        let part = try site.run(Array(whole.dropLast(missing)))
        let isWhole = missing == 1
        #expect(part.lines == (isWhole ? 3 : 2))
        #expect((part.unfinishedBytes > 0) == (missing > 1 && missing < line(2).utf8.count + 1))
        try site.run(whole)
        #expect(try site.paths() == paths(0..<3))
        // Whole first, then cut.
        let other = try Site()
        try other.run(whole)
        #expect(try other.run(Array(whole.dropLast(missing))).log == nil)
        // Only one line, whole, then cut; and the other way round.
        let one = try Site()
        try one.run(content(0..<1))
        #expect(try one.run(Array(content(0..<1).dropLast(missing))).log == nil)
        let single = try Site()
        try single.run(Array(content(0..<1).dropLast(missing)))
        try single.run(content(0..<1))
        #expect(try single.paths() == paths(0..<1))
    }

    @Test("bad lines take an offset, with their reason and bytes")
    func badLines() throws {
        let site = try Site()
        let long = String(repeating: "y", count: 300_000)
        let text =
            [line(1), "no access log", long, "", line(2), "x \u{0}"]
            .joined(separator: "\r\n") + "\n"
        let outcome = try site.run(Array(text.utf8))
        #expect(outcome.lines == 2 && outcome.badLines == 3)
        let records = try site.records()
        #expect(records.map(\.kind) == [.request, .unparsed, .unparsed, .request, .unparsed])
        #expect(records[1].tags.first?.key == "reason")
        #expect(
            records.filter { $0.kind == .unparsed }.map { $0.tags.first?.value } == [
                "no_time", "too_long", "no_time",
            ]
        )
        #expect(records[1].capturedRequest?.data == Array("no access log".utf8))
        #expect(records[2].capturedRequest?.originalLength == UInt64(long.utf8.count + 1))
        #expect(records[2].capturedRequest?.data.count == LineEncoder.rawLineBytesMax)
        #expect(try site.run().log == nil)
    }

    @Test("bytes that are no UTF-8 are ordinary")
    func latin() throws {
        let site = try Site()
        var bytes = Array(line(1, path: "/caf#").utf8)
        bytes = bytes.map { $0 == UInt8(ascii: "#") ? 0xE9 : $0 } + [0x0A]
        try site.run(bytes)
        #expect(try site.paths() == ["/caf\u{FFFD}"])
    }

    @Test("imports of one file, its half and its gzip at the same time count each line once")
    func concurrent() async throws {
        let site = try Site()
        try site.store(content(0..<2_000), "/in/whole")
        try site.store(content(0..<1_000), "/in/half")
        try site.store(try gzip(content(0..<2_000)), "/in/whole.gz")
        try await withThrowingTaskGroup(of: Void.self) { group in
            for path in ["/in/whole", "/in/half", "/in/whole.gz", "/in/whole", "/in/half"] {
                group.addTask { try site.run(path) }
            }
            try await group.waitForAll()
        }
        #expect(try site.paths() == paths(0..<2_000))
    }

    @Test("gzip, one member or several, is the same content")
    func compressed() throws {
        let site = try Site()
        try site.run(try gzip(content(0..<100)) + gzip(content(100..<300)))
        #expect(try site.paths() == paths(0..<300))
        #expect(try site.run(content(0..<300)).log == nil)
        #expect(try site.run(try gzip(content(0..<150))).log == nil)
        #expect(try site.run(try gzip(content(0..<310))).lines == 10)
        // Damaged: nothing is counted.
        let damaged = Array(try gzip(content(400..<500)).dropLast(20))
        #expect(throws: ImportError.self) { try site.run(damaged) }
        #expect(try site.paths() == paths(0..<310))
    }

    @Test("a failure at any file operation, and a crash after it, leave each line counted once")
    func faults() throws {
        for isForever in [false, true] {
            var number = 1
            while true {
                let memory = MemoryFileSystem()
                let prepared = try Site(memory)
                try prepared.run(content(0..<20))
                let plan = FaultingFileSystem.Plan(first: number, isForever: isForever)
                let site = try Site(memory, faults: plan)
                try site.store(content(0..<50))
                let outcome = try? site.run()
                let hasFailed = (site.fileSystem as? FaultingFileSystem)?.hasFailed ?? false
                // A power cut, then the same file, and then a longer one.
                var random = Seeded(UInt64(number))
                let survivor = memory.crashClone(probability: 0.5, using: &random)
                for file in [memory, survivor] {
                    let after = try Site(file)
                    if try !file.exists("/in/access.log") { try after.store(content(0..<50)) }
                    try after.run(content(0..<60))
                    #expect(try after.paths() == paths(0..<60), "operation \(number)")
                    #expect(try after.run(content(0..<50)).log == nil)
                }
                if !hasFailed {
                    #expect(outcome?.lines == 30)
                    break
                }
                number += 1
            }
            #expect(number > 20)
        }
    }

    @Test("a registry that was lost does not make the same file count twice")
    func lostRegistry() throws {
        let site = try Site()
        try site.run(content(0..<10))
        try site.memory.removeTree("/data/imports")
        #expect(try site.run().logs.count == 1)
        #expect(try site.paths() == paths(0..<10))
    }

    @Test("a damaged registry is an error that names the file")
    func damagedRegistry() throws {
        let site = try Site()
        let log = try #require(try site.run(content(0..<10)).log)
        let entry = try #require(
            site.memory.paths.first { $0.hasPrefix("/data/imports/") && $0.hasSuffix("\(log)") }
        )
        let bytes = try #require(site.memory.bytes(of: entry))
        for index in [0, 20, 100, 200, bytes.count - 1] {
            var damaged = bytes
            if index == bytes.count - 1 { damaged.removeLast() } else { damaged[index] ^= 1 }
            site.memory.setBytes(damaged, of: entry)
            let error = try #require(throws: ImportError.self) { try site.run() }
            #expect(error.description.contains(entry), "\(index): \(error)")
        }
    }

    @Test("what cannot be imported says why")
    func refusals() throws {
        let site = try Site()
        #expect(throws: ImportError.isDirectory(path: "/in")) { try site.run("/in") }
        let missing = try #require(throws: ImportError.self) { try site.run("/in/missing") }
        #expect(missing.description.contains("/in/missing"))
        #expect(throws: ImportError.unrecognisedFormat(path: "/in/access.log")) {
            try site.run(Array("{\"a\":1}\n".utf8))
        }
        #expect(try site.run(format: .common).badLines == 1)
    }

    @Test("a file that changes between the two passes is refused and counts nothing")
    func changed() throws {
        for change in 0..<3 {
            let site = try Site()
            let original = content(0..<2_000)
            try site.store(original)
            let directory = try LogDirectory(
                path: "/data",
                fileSystem: site.memory,
                time: site.time
            )
            var isChanged = false
            func run() throws -> ImportOutcome {
                try Importer(directory: directory).run(
                    ImportRequest(path: "/in/access.log", org: "acme", api: "web")
                ) { progress in
                    guard progress.phase == .hashing, progress.bytes == UInt64(original.count),
                        !isChanged
                    else { return }
                    isChanged = true
                    var bytes = original
                    switch change {
                    case 0: bytes[100] ^= 1
                    case 1: bytes.removeLast(500)
                    default: bytes += content(2_000..<2_010)
                    }
                    site.memory.setBytes(bytes, of: "/in/access.log")
                }
            }
            if change < 2 {
                #expect(throws: ImportError.fileChanged(path: "/in/access.log")) { try run() }
                #expect(try site.paths() == [])
            } else {
                // Only extended: what was hashed is imported, the rest next time.
                #expect(try run().lines == 2_000)
                #expect(try site.run().lines == 10)
            }
        }
    }

    /// Where the log of a real web site is, beside a checkout of this repository.
    static let realLog = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appendingPathComponent("shared/data/apache_access.log")

    @Test(
        "the log of a real web site gives the published counts",
        .enabled(
            if: FileManager.default.fileExists(atPath: realLog.path),
            "../shared/data/apache_access.log is not beside this checkout"
        )
    )
    func realSite() throws {
        let site = try Site()
        let bytes = [UInt8](try Data(contentsOf: Self.realLog))
        let outcome = try site.run(bytes)
        #expect(outcome.lines == 10_000 && outcome.badLines == 0)
        #expect(outcome.format == .combined)
        let records = try site.records()
        var statuses: [UInt32: Int] = [:]
        var methods: [String: Int] = [:]
        for record in records {
            statuses[record.status ?? 0, default: 0] += 1
            methods[record.method, default: 0] += 1
        }
        #expect(
            statuses == [
                200: 9126, 304: 445, 404: 213, 301: 164, 206: 45, 500: 3, 403: 2, 416: 2,
            ]
        )
        #expect(methods == ["GET": 9952, "HEAD": 42, "POST": 5, "OPTIONS": 1])
        // Sizes, read in another way: the second word after the request.
        let text = String(decoding: bytes, as: UTF8.self)
        let sum = text.split(separator: "\n").reduce(0) { sum, line in
            let words = line.split(separator: "\"")[2].split(separator: " ")
            return sum + (Int(words[1]) ?? 0)
        }
        #expect(records.reduce(0) { $0 + Int($1.responseBytes) } == sum)
    }

    /// The bytes as `gzip` packs them.
    func gzip(_ bytes: [UInt8]) throws -> [UInt8] {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/gzip")
        process.arguments = ["-c"]
        let input = FileManager.default.temporaryDirectory
            .appendingPathComponent("sluice-gzip-\(UUID().uuidString)")
        try Data(bytes).write(to: input)
        defer { try? FileManager.default.removeItem(at: input) }
        let output = Pipe()
        process.standardInput = try FileHandle(forReadingFrom: input)
        process.standardOutput = output
        try process.run()
        let packed = try output.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        return [UInt8](packed)
    }
}
