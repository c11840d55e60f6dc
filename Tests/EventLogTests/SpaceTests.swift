import EventLog
import FileIO
import FileIOTesting
import Records
import Testing

@Suite("Space")
struct SpaceTests {
    private static let segmentBytes = 1 << 14

    /// A lane on a disk with room for so many segments.
    private func makeLane(
        segments: Int,
        onFull: OnFull,
        time: ManualTimeSource = ManualTimeSource()
    ) throws -> (MemoryFileSystem, LogDirectory, LaneWriter) {
        let fileSystem = MemoryFileSystem(
            capacity: UInt64(segments * Self.segmentBytes) + 8000
        )
        let directory = try makeDirectory(fileSystem, time: time)
        var configuration = smallConfiguration(segmentBytes: Self.segmentBytes)
        configuration.onFull = onFull
        configuration.consumers = ["pump"]
        return (fileSystem, directory, try directory.openLane(0, configuration))
    }

    /// Appends, with a reservation, until it is refused; returns how many were accepted.
    private func fill(_ lane: LaneWriter, limit: Int = 10_000) throws -> Int {
        var count = 0
        while count < limit, lane.reserve(500) {
            try lane.append(text: String(repeating: "x", count: 400))
            try lane.write()
            lane.release(500)
            try lane.commit()
            count += 1
        }
        return count
    }

    @Test("on a full disk reservations are refused, and whatever was reserved can be written")
    func block() throws {
        let time = ManualTimeSource()
        let (fileSystem, directory, lane) = try makeLane(segments: 3, onFull: .block, time: time)
        #expect(try fill(lane) > 20)
        #expect(lane.statistics.reservationsRefused == 1)
        fileSystem.capacity += UInt64(2 * Self.segmentBytes)
        #expect(lane.reserve(500) == false, "a full disk is not asked again at once")
        time.advance(microseconds: 200_000)
        // Promise all there is, and then use it, one batch each.
        var promised = 0
        while lane.reserve(500) { promised += 1 }
        #expect(promised > 10)
        for _ in 0..<promised {
            try lane.append(text: String(repeating: "y", count: 400))
            try lane.write()
            lane.release(500)
        }
        try lane.close()
        let seen = try readAll(directory, lane.logID)
        #expect(seen.last == .end(lane.nextOffset.rawValue))
        #expect(lane.statistics.reservedBytes == 0)
    }

    @Test("drop_oldest_shipped deletes what all consumers have passed, and nothing else")
    func dropOldestShipped() throws {
        let time = ManualTimeSource()
        let (_, directory, lane) = try makeLane(
            segments: 4,
            onFull: .dropOldestShipped,
            time: time
        )
        let accepted = try fill(lane)
        let before = try #require(try directory.log(lane.logID)).segments.count
        time.advance(microseconds: 200_000)
        try directory.checkpoints(consumer: "pump").store(lane.logID, lane.durableOffset)
        #expect(try fill(lane, limit: accepted) > 10)
        #expect(lane.statistics.segmentsDropped > 0)
        let tombstones = try directory.tombstones()
        #expect(tombstones.count == Int(lane.statistics.segmentsDropped))
        #expect(tombstones.first?.offsets.lowerBound == .zero)
        #expect(tombstones.first?.eventTimeMin == 1_000)
        #expect(try #require(try directory.log(lane.logID)).segments.count <= before)
        let first = try #require(tombstones.last).offsets.upperBound.rawValue
        #expect(
            try readAll(directory, lane.logID).first == .skip(0..<first, .expired)
        )
    }

    @Test("drop_new accepts and drops, and counts what it dropped")
    func dropNew() throws {
        let time = ManualTimeSource()
        let (fileSystem, directory, lane) = try makeLane(segments: 3, onFull: .dropNew, time: time)
        var dropped = 0
        for _ in 0..<200 {
            #expect(lane.reserve(500))
            do throws(EventLogError) {
                try lane.append(eventTime: 0) { $0.put(.kind, UInt64(RecordKind.request.rawValue)) }
                try lane.append(eventTime: 0) {
                    $0.put(.path, String(repeating: "x", count: 400))
                }
                try lane.write()
            } catch {
                #expect(error == .dropped)
                dropped += 1
            }
            lane.release(500)
        }
        #expect(dropped > 0)
        #expect(lane.statistics.recordsDropped == UInt64(dropped))
        fileSystem.capacity += 1 << 20
        time.advance(microseconds: 200_000)
        #expect(lane.reserve(500))
        let offset = try lane.append(text: "back")
        lane.release(500)
        try lane.close()
        #expect(
            try readAll(directory, lane.logID).dropLast().last == .record(offset.rawValue, "back")
        )
    }

    @Test("the rest of a disk is used by smaller segments, and growth by larger ones again")
    func smallDisk() throws {
        let time = ManualTimeSource()
        let fileSystem = MemoryFileSystem(capacity: (5 << 20) + 200_000)
        let directory = try makeDirectory(fileSystem, time: time)
        var configuration = smallConfiguration(segmentBytes: 8 << 20)
        configuration.recordBytesMax = 1 << 18
        let lane = try directory.openLane(0, configuration)
        var appended = 0
        func fill() throws {
            while lane.reserve(100_000) {
                try lane.append(text: String(repeating: "x", count: 90_000))
                try lane.write()
                lane.release(100_000)
                try lane.commit()
                appended += 90_000
            }
        }
        try fill()
        // Half of the disk, then halves of the rest, down to the smallest segment.
        #expect(appended > 4 << 20)
        #expect(try #require(try directory.log(lane.logID)).segments.count == 2)
        fileSystem.capacity += 20 << 20
        time.advance(microseconds: 200_000)
        try fill()
        #expect(appended > 16 << 20)
        try lane.close()
        #expect(try #require(try directory.log(lane.logID)).segments.count < 7)
    }

    @Test("giving back more than was reserved is a programmer's error")
    func overRelease() async {
        await #expect(processExitsWith: .failure) {
            let directory = try makeDirectory(MemoryFileSystem())
            let lane = try directory.openLane(0, smallConfiguration())
            lane.release(10)
        }
    }

    @Test("appends pause while too much waits for the disk")
    func pause() throws {
        let directory = try makeDirectory(MemoryFileSystem())
        var configuration = smallConfiguration(segmentBytes: 1 << 20)
        configuration.unacknowledgedBytesMax = 5_000
        let lane = try directory.openLane(0, configuration)
        var count = 0
        while lane.reserve(500) {
            try lane.append(text: String(repeating: "x", count: 400))
            try lane.write()
            lane.release(500)
            count += 1
        }
        #expect(count > 5 && count < 15)
        #expect(lane.statistics.unacknowledgedBytes > 5_000)
        try lane.commit()
        #expect(lane.reserve(500))
    }
}

@Suite("Retention")
struct RetentionTests {
    /// A closed log of several segments, written at the clock's time.
    private func makeLog(
        _ directory: LogDirectory,
        _ fileSystem: MemoryFileSystem,
        _ time: ManualTimeSource,
        records: Int = 20
    ) throws -> LogID {
        fileSystem.setModificationTime(time.wallMicroseconds())
        let lane = try directory.openLane(0, smallConfiguration(segmentBytes: 4096 + 400))
        for number in 1...records {
            try lane.append(text: "r\(number)", eventTime: Int64(number))
            try lane.write()
        }
        try lane.close()
        return lane.logID
    }

    @Test("nothing is deleted that a configured consumer has not passed")
    func consumersHoldBack() throws {
        let fileSystem = MemoryFileSystem()
        let time = ManualTimeSource()
        let directory = try makeDirectory(fileSystem, time: time)
        let id = try makeLog(directory, fileSystem, time)
        let everything = RetentionPolicy(age: .zero, bytes: 0, deletesConsumed: true)
        time.advance(microseconds: 1_000_000)
        #expect(try directory.deleteSegments(consumedBy: ["a", "b"], retain: everything).isEmpty)
        try directory.checkpoints(consumer: "a").store(id, Offset(21))
        #expect(try directory.deleteSegments(consumedBy: ["a", "b"], retain: everything).isEmpty)
        try directory.checkpoints(consumer: "b").store(id, Offset(10))
        let tombstones = try directory.deleteSegments(consumedBy: ["a", "b"], retain: everything)
        let end = try #require(tombstones.last).offsets.upperBound
        #expect(end > .zero && end <= Offset(10))
        #expect(try directory.log(id)?.startOffset == end)
        #expect(try directory.tombstones() == tombstones)
    }

    @Test("age and size decide what goes, the oldest first")
    func ageAndSize() throws {
        let fileSystem = MemoryFileSystem()
        let time = ManualTimeSource()
        let directory = try makeDirectory(fileSystem, time: time)
        let old = try makeLog(directory, fileSystem, time)
        time.advance(microseconds: 3_600_000_000)
        let young = try makeLog(directory, fileSystem, time)
        #expect(
            try directory.deleteSegments(
                consumedBy: [],
                retain: RetentionPolicy(age: .seconds(7200))
            ).isEmpty
        )
        let total = try directory.logs().reduce(0) { $0 + $1.byteCount }
        let one = try directory.deleteSegments(
            consumedBy: [],
            retain: RetentionPolicy(bytes: total - 1)
        )
        #expect(one.map(\.log) == [old])
        #expect(one.first?.offsets.lowerBound == .zero)
        let rest = try directory.deleteSegments(
            consumedBy: [],
            retain: RetentionPolicy(age: .seconds(1800))
        )
        #expect(Set(rest.map(\.log)) == [old])
        #expect(try directory.log(old) == nil)
        #expect(try directory.log(young)?.startOffset == .zero)
    }

    @Test("a log that is gone altogether leaves its tombstones, and its id is never used again")
    func burial() throws {
        let fileSystem = MemoryFileSystem()
        let time = ManualTimeSource()
        let directory = try makeDirectory(fileSystem, time: time)
        let id = try makeLog(directory, fileSystem, time)
        let tombstones = try directory.deleteSegments(
            consumedBy: [],
            retain: RetentionPolicy(deletesConsumed: true)
        )
        #expect(try directory.log(id) == nil)
        #expect(try directory.logs().isEmpty)
        #expect(try directory.tombstones() == tombstones)
        #expect(tombstones.first?.offsets.lowerBound == .zero)
        #expect(tombstones.compactMap(\.eventTimeMin).min() == 1)
        #expect(throws: EventLogError.unknownLog(id)) { try directory.reader(id, from: .zero) }
        #expect(try directory.writeSealedLog(id: id) { _ in } == false)
        #expect(try directory.recover().isEmpty)
    }

    @Test("deletion that fails at any operation can be repeated, and loses no tombstone")
    func faults() throws {
        let original = MemoryFileSystem()
        let time = ManualTimeSource()
        let id = try makeLog(try makeDirectory(original, time: time), original, time, records: 6)
        var number = 1
        while true {
            let base = original.killClone()
            let faulting = FaultingFileSystem(base, .init(first: number))
            let policy = RetentionPolicy(deletesConsumed: true)
            _ = try? makeDirectory(faulting, time: time)
                .deleteSegments(consumedBy: [], retain: policy)
            let directory = try makeDirectory(base.killClone(), time: time)
            _ = try directory.recover()
            try directory.deleteSegments(consumedBy: [], retain: policy)
            #expect(try directory.log(id) == nil, "operation \(number)")
            var end = Offset.zero
            for tombstone in try directory.tombstones() {
                #expect(tombstone.offsets.lowerBound <= end, "operation \(number)")
                end = max(end, tombstone.offsets.upperBound)
            }
            #expect(end == Offset(7), "operation \(number)")
            if !faulting.hasFailed { break }
            number += 1
        }
    }

    @Test(
        "deletion that fails at any operation before a power cut leaves the log's end where it was"
    )
    func powerCuts() throws {
        let original = MemoryFileSystem()
        let time = ManualTimeSource()
        let first = try makeDirectory(original, time: time)
        let id = try makeLog(first, original, time, records: 6)
        // What a consumer stores that has been told of the end, too.
        try first.checkpoints(consumer: "a").store(id, Offset(8))
        var number = 1
        while true {
            var random = Seeded(UInt64(number))
            let base = original.crashClone(probability: 0, using: &random)
            let faulting = FaultingFileSystem(base, .init(first: number))
            let policy = RetentionPolicy(deletesConsumed: true)
            let failing = try? makeDirectory(faulting, time: time)
            _ = try? failing?.deleteSegments(consumedBy: ["a"], retain: policy)
            let clone = base.crashClone(probability: 0, using: &random)
            let directory = try makeDirectory(clone, time: time)
            for report in try directory.recover() {
                #expect(report.endOffset == Offset(7), "operation \(number): \(report)")
                #expect(report.losses.isEmpty, "operation \(number): \(report)")
            }
            let ends = try directory.logs().map(\.endOffset)
            #expect(ends.allSatisfy { $0 == Offset(7) }, "operation \(number): \(ends)")
            try directory.deleteSegments(consumedBy: ["a"], retain: policy)
            #expect(try directory.log(id) == nil, "operation \(number)")
            if !faulting.hasFailed { break }
            number += 1
        }
        #expect(number > 10)
    }
}

@Suite("Sealed log")
struct SealedLogTests {
    @Test("a log is published whole, once")
    func once() throws {
        let fileSystem = MemoryFileSystem()
        let directory = try makeDirectory(fileSystem)
        let id = LogID(high: 1, low: 2)
        let isFirst = try directory.writeSealedLog(
            id: id,
            smallConfiguration(segmentBytes: 4096 + 2000)
        ) { writer throws(EventLogError) in
            for number in 0..<2_000 {
                try writer.append(eventTime: 5) { encoder in
                    encoder.put(.kind, UInt64(RecordKind.request.rawValue))
                    encoder.put(.path, "\(number)")
                }
            }
            #expect(fileSystem.paths.contains { $0.contains("\(id)") } == false)
        }
        #expect(isFirst)
        let expected = (0..<2_000).map { Seen.record(UInt64($0), "\($0)") } + [.end(2_000)]
        #expect(firstDifference(try readAll(directory, id), expected) == nil)
        #expect(try directory.writeSealedLog(id: id) { _ in } == false)
        let summary = try #require(try directory.log(id))
        #expect(summary.lane == nil)
        #expect(summary.segments.count > 3)
        #expect(try directory.recover().isEmpty)
    }

    @Test("the loser of a race gives way")
    func race() throws {
        let fileSystem = MemoryFileSystem()
        let directory = try makeDirectory(fileSystem)
        let id = LogID(high: 1, low: 2)
        let isFirst = try directory.writeSealedLog(id: id) { writer throws(EventLogError) in
            try writer.append(eventTime: 0) { $0.put(.path, "loser") }
            let other = try directory.writeSealedLog(id: id) { writer throws(EventLogError) in
                try writer.append(eventTime: 0) { $0.put(.path, "winner") }
            }
            #expect(other)
        }
        #expect(isFirst == false)
        #expect(try readAll(directory, id).last == .end(1))
        #expect(fileSystem.paths.contains { $0.contains("tmp-") } == false)
    }

    @Test("a log whose author gives up leaves nothing")
    func abandoned() throws {
        let fileSystem = MemoryFileSystem()
        let directory = try makeDirectory(fileSystem)
        let id = LogID(high: 1, low: 2)
        #expect(throws: EventLogError.abandoned(reason: "no")) {
            try directory.writeSealedLog(id: id) { writer throws(EventLogError) in
                try writer.append(eventTime: 0) { $0.put(.path, "x") }
                throw EventLogError.abandoned(reason: "no")
            }
        }
        #expect(try directory.logs().isEmpty)
        #expect(fileSystem.paths == ["/data/log/bell"])
    }

    @Test("an empty log has an end and nothing else")
    func empty() throws {
        let directory = try makeDirectory(MemoryFileSystem())
        let id = LogID(high: 1, low: 2)
        #expect(try directory.writeSealedLog(id: id) { _ in })
        #expect(try readAll(directory, id) == [.end(0)])
    }
}
