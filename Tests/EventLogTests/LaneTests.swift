import EventLog
import FileIO
import FileIOTesting
import Records
import Testing

@Suite("Lane")
struct LaneTests {
    @Test("appended records are read back in order, after the sync and not before")
    func appendAndRead() throws {
        let directory = try makeDirectory(MemoryFileSystem())
        let lane = try directory.openLane(3, smallConfiguration())
        try lane.append(text: "a")
        try lane.append(text: "b")
        var reader = try directory.reader(lane.logID, from: .zero)
        #expect(try readAll(&reader) == [])
        try lane.write()
        #expect(lane.writtenOffset == Offset(3))
        #expect(try readAll(&reader) == [])
        try lane.commit()
        #expect(lane.durableOffset == Offset(3))
        #expect(
            try readAll(&reader) == [.record(0, "log_start"), .record(1, "a"), .record(2, "b")]
        )
        try lane.append(text: "c")
        try lane.close()
        #expect(try readAll(&reader) == [.record(3, "c"), .end(4)])
        #expect(try reader.next() == nil)
        #expect(try readAll(directory, lane.logID, from: 2).first == .record(2, "b"))
        let summary = try #require(try directory.log(lane.logID))
        #expect(summary.lane == 3)
        #expect(summary.node == "node-1")
        #expect(summary.region == "eu-west")
        #expect(summary.endOffset == Offset(4))
    }

    @Test("a log of many segments is read across their borders")
    func segments() throws {
        let directory = try makeDirectory(MemoryFileSystem())
        let lane = try directory.openLane(0, smallConfiguration())
        var expected: [Seen] = [.record(0, "log_start")]
        for number in 1...200 {
            try lane.append(text: "record \(number)")
            expected.append(.record(UInt64(number), "record \(number)"))
            if number % 3 == 0 { try lane.write() }
            if number % 7 == 0 { try lane.commit() }
        }
        try lane.close()
        expected.append(.end(201))
        #expect(try readAll(directory, lane.logID) == expected)
        let summary = try #require(try directory.log(lane.logID))
        #expect(summary.segments.count > 10)
        #expect(lane.statistics.segmentsCreated == UInt64(summary.segments.count))
        #expect(lane.statistics.recordsAppended == 201)
        for start in stride(from: 0, through: 200, by: 13) {
            #expect(
                try readAll(directory, lane.logID, from: UInt64(start))
                    == Array(expected[start...])
            )
        }
    }

    @Test("a record above the limit is refused and leaves no trace")
    func tooLarge() throws {
        let directory = try makeDirectory(MemoryFileSystem())
        let lane = try directory.openLane(0, smallConfiguration())
        try lane.append(text: "before")
        #expect(throws: EventLogError.self) {
            try lane.append(text: String(repeating: "x", count: 5_000))
        }
        try lane.append(text: "after")
        try lane.close()
        #expect(
            try readAll(directory, lane.logID)
                == [.record(0, "log_start"), .record(1, "before"), .record(2, "after"), .end(3)]
        )
        #expect(lane.statistics.recordsTooLarge == 1)
    }

    @Test("a lane names its predecessor")
    func predecessor() throws {
        let time = ManualTimeSource()
        let directory = try makeDirectory(MemoryFileSystem(), time: time)
        let first = try directory.openLane(1, smallConfiguration())
        try first.close()
        time.advance(microseconds: 1)
        let other = try directory.openLane(2, smallConfiguration())
        let second = try directory.openLane(1, smallConfiguration())
        #expect(try directory.log(second.logID)?.predecessor == first.logID)
        #expect(try directory.log(other.logID)?.predecessor == nil)
        try second.commit()
        var reader = try directory.reader(second.logID, from: .zero)
        guard case .records(let batch) = try reader.next() else {
            Issue.record("the log has no first batch")
            return
        }
        try batch.forEach { _, bytes throws in
            let record = try RequestRecord(decoding: bytes)
            #expect(record.kind == .logStart)
            #expect(record.predecessorLogID == first.logID)
            #expect(record.lane == 1)
        }
    }

    @Test("in mode os a write is durable at once")
    func os() throws {
        let directory = try makeDirectory(MemoryFileSystem())
        let lane = try directory.openLane(0, smallConfiguration(sync: .os))
        try lane.append(text: "a")
        try lane.write()
        #expect(lane.durableOffset == Offset(2))
        #expect(lane.statistics.syncs == 0)
        #expect(try readAll(directory, lane.logID).count == 2)
    }

    @Test("a log of a killed process is sealed and complete")
    func killed() throws {
        let fileSystem = MemoryFileSystem()
        let directory = try makeDirectory(fileSystem)
        let lane = try directory.openLane(0, smallConfiguration())
        for number in 1...50 {
            try lane.append(text: "\(number)")
            try lane.write()
        }
        let survivor = try makeDirectory(fileSystem.killClone())
        let reports = try survivor.recover()
        let report = try #require(reports.first)
        #expect(report.endOffset == Offset(51))
        #expect(report.losses.isEmpty)
        #expect(report.recordCount == 51)
        let seen = try readAll(survivor, lane.logID)
        #expect(seen.count == 52)
        #expect(seen.last == .end(51))
        #expect(try survivor.recover().isEmpty)
    }

    @Test("the log of a living process is left alone")
    func living() throws {
        let fileSystem = MemoryFileSystem()
        let directory = try makeDirectory(fileSystem)
        let lane = try directory.openLane(0, smallConfiguration())
        let other = try makeDirectory(fileSystem)
        #expect(try other.recover().isEmpty)
        #expect(try other.log(lane.logID)?.isEnded == false)
        lane.abandon()
        #expect(try other.recover().count == 1)
        #expect(try other.log(lane.logID)?.isEnded == true)
    }
}
