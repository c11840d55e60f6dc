import EventLog
import FileIO
import FileIOTesting
import Foundation
import Importing
import Records
import Testing

/// A seeded generator (SplitMix64), so that a failing run can be repeated.
struct Seeded: RandomNumberGenerator {
    private var state: UInt64

    init(_ seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}

/// A data directory in memory, and files beside it to import.
struct Site {
    let fileSystem: any FileSystem
    let memory: MemoryFileSystem
    let time = ManualTimeSource()

    init(_ memory: MemoryFileSystem = MemoryFileSystem(), faults: FaultingFileSystem.Plan? = nil)
        throws
    {
        self.memory = memory
        fileSystem = faults.map { FaultingFileSystem(memory, $0) } ?? memory
        try memory.createDirectory("/data")
        try memory.createDirectory("/in")
    }

    /// Stores a file to import.
    func store(_ bytes: [UInt8], _ path: String = "/in/access.log") throws {
        if try memory.exists(path) { try memory.removeFile(path) }
        let file = try memory.open(path, .create)
        try file.write(bytes, at: 0)
        try file.sync()
        try memory.syncDirectory("/in")
    }

    /// Imports a file.
    @discardableResult
    func run(
        _ path: String = "/in/access.log",
        api: String = "web",
        format: ImportFormat? = nil,
        isForced: Bool = false,
        pointsMax: Int? = nil
    ) throws -> ImportOutcome {
        let directory = try LogDirectory(path: "/data", fileSystem: fileSystem, time: time)
        return try Importer(directory: directory, pointsMax: pointsMax).run(
            ImportRequest(path: path, org: "acme", api: api, format: format, isForced: isForced)
        )
    }

    /// Stores and imports a content.
    @discardableResult
    func run(_ bytes: [UInt8], api: String = "web", pointsMax: Int? = nil) throws -> ImportOutcome {
        try store(bytes)
        return try run(api: api, pointsMax: pointsMax)
    }

    /// All records in the logs, but those that begin a log.
    func records(api: String = "web") throws -> [RequestRecord] {
        let directory = try LogDirectory(path: "/data", fileSystem: memory, time: time)
        // As every start does; a mark that a power cut took is made again.
        _ = try directory.recover()
        return try allRecords(directory).filter { $0.api == api && $0.kind != .logStart }
    }

    /// The paths of all requests, in the order of the logs' first times.
    func paths(api: String = "web") throws -> [String] {
        try records(api: api).filter { $0.kind == .request }.map(\.path).sorted()
    }
}

/// Every record of every log; checks that each log is complete, and each record's identity.
func allRecords(_ directory: LogDirectory) throws -> [RequestRecord] {
    var found: [RequestRecord] = []
    for log in try directory.logs() {
        let end = try #require(log.endOffset)
        var reader = try directory.reader(log.id, from: .zero)
        var next = Offset.zero
        reading: while let item = try reader.next() {
            switch item {
            case .records(let batch):
                try batch.forEach { offset, bytes in
                    let record = try RequestRecord(decoding: bytes)
                    #expect(record.logID == log.id && record.offset == offset && offset == next)
                    next = next.advanced(by: 1)
                    found.append(record)
                }
            case .skip(let range, let reason):
                Issue.record("offsets \(range) are missing: \(reason)")
            case .end: break reading
            }
        }
        #expect(next == end)
    }
    return found
}

/// A line of a Combined log.
func line(_ number: Int, path: String? = nil, status: Int = 200) -> String {
    let second = String(format: "%02d", number % 60)
    let minute = String(format: "%02d", number / 60 % 60)
    return "192.0.2.\(number % 250) - - [17/May/2015:10:\(minute):\(second) +0000] "
        + "\"GET \(path ?? "/\(number)") HTTP/1.1\" \(status) \(number) \"-\" \"curl/8.5.0\""
}

/// The content of a log with the lines of the numbers given.
func content(_ numbers: Range<Int>, lineEnd: String = "\n") -> [UInt8] {
    Array(numbers.map { line($0) + lineEnd }.joined().utf8)
}

/// The paths that `content` asks for, sorted.
func paths(_ numbers: Range<Int>) -> [String] { numbers.map { "/\($0)" }.sorted() }
