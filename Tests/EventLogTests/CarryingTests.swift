import EventLog
import FileIO
import FileIOTesting
import Records
import Testing

/// Sealed segments carried from one data directory to another.
@Suite("Carrying logs by hand")
struct CarryingTests {
    private let memory = MemoryFileSystem()
    private let time = ManualTimeSource()

    private func site(_ name: String, _ fileSystem: (any FileSystem)? = nil) throws -> LogDirectory
    {
        try LogDirectory(path: "/\(name)", fileSystem: fileSystem ?? memory, time: time)
    }

    /// Appends records with numbers for paths, each in a batch of its own.
    private func write(_ numbers: Range<Int>, to lane: LaneWriter) throws {
        for number in numbers {
            try lane.append(text: "\(number) \(String(repeating: "x", count: 200))")
            try lane.write()
            try lane.commit()
        }
    }

    @Test("an ended log reads the same at the other site, and carrying it again copies nothing")
    func ended() throws {
        let here = try site("here")
        let there = try site("there")
        let lane = try here.openLane(0, smallConfiguration())
        try write(0..<40, to: lane)
        try lane.close()
        let first = try here.carry(lane.logID, to: there)
        #expect(first.segmentsCopied > 5 && first.segmentsPresent == 0 && first.isEnded)
        #expect(try readAll(there, lane.logID) == readAll(here, lane.logID))
        let again = try here.carry(lane.logID, to: there)
        #expect(again.segmentsCopied == 0 && again.segmentsPresent == first.segmentsCopied)
        #expect(again.nextOffset == first.nextOffset && again.isEnded)
        // And back: nothing is new at home.
        let back = try there.carry(lane.logID, to: here)
        #expect(back.segmentsCopied == 0 && back.isEnded)
        #expect(try there.recover().isEmpty)
    }

    @Test("an open log is carried up to its active segment, again and again, read meanwhile")
    func growing() throws {
        let here = try site("here")
        let there = try site("there")
        let lane = try here.openLane(0, smallConfiguration())
        #expect(try here.carry(lane.logID, to: there).segmentsCopied == 0)
        #expect(try there.log(lane.logID) == nil)
        try write(0..<12, to: lane)
        let first = try here.carry(lane.logID, to: there)
        #expect(first.segmentsCopied > 0 && !first.isEnded)
        var reader = try there.reader(lane.logID, from: .zero)
        var seen = try readAll(&reader)
        #expect(seen.count == Int(first.nextOffset.rawValue))
        // Its writer lives: recovery at the other site does not end it.
        #expect(try there.recover().isEmpty)
        #expect(try there.log(lane.logID)?.isEnded == false)
        for step in 1...3 {
            try write((12 * step)..<(12 * (step + 1)), to: lane)
            _ = try here.carry(lane.logID, to: there)
            seen += try readAll(&reader)
        }
        try lane.close()
        #expect(try here.carry(lane.logID, to: there).isEnded)
        seen += try readAll(&reader)
        #expect(try seen == readAll(here, lane.logID))
    }

    @Test("a part that is missing in between is refused, or becomes expired when that is accepted")
    func gaps() throws {
        let here = try site("here")
        let there = try site("there")
        let lane = try here.openLane(0, smallConfiguration())
        try write(0..<20, to: lane)
        try lane.close()
        let store = try here.checkpoints(consumer: "aggregator")
        let middle = try #require(try here.log(lane.logID)?.segments[3].baseOffset)
        try store.store(lane.logID, middle)
        let deleted = try here.deleteSegments(
            consumedBy: ["aggregator"],
            retain: RetentionPolicy(deletesConsumed: true)
        )
        #expect(!deleted.isEmpty)
        let start = try #require(try here.log(lane.logID)?.startOffset)
        #expect(throws: EventLogError.gap(lane.logID, .zero..<start, isDeleted: true)) {
            try here.carry(lane.logID, to: there)
        }
        #expect(try here.carry(lane.logID, to: there, acceptsGaps: true).isEnded)
        let seen = try readAll(there, lane.logID)
        #expect(seen.first == .skip(0..<start.rawValue, .expired))
        #expect(try Array(seen.dropFirst()) == readAll(here, lane.logID, from: start.rawValue))
    }

    @Test("segments that differ are refused, and nothing that was there is changed")
    func differing() throws {
        let here = try site("here")
        let there = try site("there")
        let lane = try here.openLane(0, smallConfiguration())
        try write(0..<20, to: lane)
        try lane.close()
        _ = try here.carry(lane.logID, to: there)
        let before = try readAll(there, lane.logID)
        let path = try #require(try here.log(lane.logID)?.segments[1].path)
        var bytes = try memory.readFile(path)
        bytes[bytes.count - 1] ^= 1
        memory.setBytes(bytes, of: path)
        let copied = "/there" + path.dropFirst("/here".count)
        #expect(throws: EventLogError.differs(path: copied, from: path)) {
            try here.carry(lane.logID, to: there)
        }
        #expect(try readAll(there, lane.logID) == before)
    }

    @Test("a log that is being written here is not replaced by a part of itself")
    func alive() throws {
        let here = try site("here")
        let there = try site("there")
        let lane = try here.openLane(0, smallConfiguration())
        try write(0..<20, to: lane)
        _ = try here.carry(lane.logID, to: there)
        #expect(throws: EventLogError.locked(lane.logID)) {
            try there.carry(lane.logID, to: here)
        }
        try lane.close()
    }

    @Test("carrying that fails at any operation can be repeated and loses nothing")
    func interrupted() throws {
        let here = try site("here")
        let lane = try here.openLane(0, smallConfiguration())
        try write(0..<8, to: lane)
        try lane.close()
        let expected = try readAll(here, lane.logID)
        var failures = 0
        for number in 1... {
            let faulty = FaultingFileSystem(memory)
            let target = "target\(number)"
            let there = try site(target, faulty)
            faulty.setPlan(FaultingFileSystem.Plan(first: number))
            let isDone = (try? here.carry(lane.logID, to: there)) != nil
            faulty.setPlan(FaultingFileSystem.Plan())
            if isDone { break }
            failures += 1
            // What is there is a prefix, and recovery leaves it open.
            #expect(try there.recover().isEmpty)
            if try there.log(lane.logID) != nil {
                #expect(try expected.starts(with: readAll(there, lane.logID)))
            }
            #expect(try here.carry(lane.logID, to: there).isEnded)
            #expect(try readAll(there, lane.logID) == expected)
        }
        #expect(failures > 10)
    }
}
