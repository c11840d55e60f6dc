import EventLog
import FileIO
import FileIOTesting
import Records
import Testing

@Suite("Faults")
struct FaultTests {
    /// Writes a log on a failing file system, going on wherever that makes sense.
    ///
    /// - Returns: What was reported durable, and what was written, per log.
    private func scenario(
        _ fileSystem: any FileSystem
    ) throws -> [LogID: (durable: UInt64, texts: [String])] {
        var result: [LogID: (durable: UInt64, texts: [String])] = [:]
        let directory = try makeDirectory(fileSystem)
        _ = try directory.recover()
        for _ in 0..<2 {
            let lane = try directory.openLane(0, smallConfiguration(segmentBytes: 4096 + 330))
            var texts = ["log_start"]
            defer {
                result[lane.logID] = (lane.durableOffset.rawValue, texts)
                lane.abandon()
            }
            for number in 1...8 {
                let text = "record \(number)"
                if (try? lane.append(text: text)) != nil { texts.append(text) }
                if number % 2 == 0 { try? lane.write() }
                if number % 3 == 0 { try? lane.commit() }
            }
            try? lane.close()
        }
        return result
    }

    @Test(
        "whatever operation fails, once or for ever, what was reported durable is there afterwards",
        arguments: [false, true],
        [FileIOError.inputOutput, FileIOError.outOfSpace]
    )
    func everyOperation(isForever: Bool, code: Int32) throws {
        var number = 1
        while true {
            let base = MemoryFileSystem()
            let faulting = FaultingFileSystem(
                base,
                .init(first: number, isForever: isForever, code: code)
            )
            let reported = (try? scenario(faulting)) ?? [:]
            // What a power cut leaves, in the worst case.
            var random = Seeded(UInt64(number))
            for clone in [base.killClone(), base.crashClone(probability: 0, using: &random)] {
                let directory = try makeDirectory(clone)
                _ = try directory.recover()
                for (id, expected) in reported {
                    guard expected.durable > 0 else { continue }
                    let seen = try readAll(directory, id)
                    let sure = (0..<expected.durable).map {
                        Seen.record($0, expected.texts[Int($0)])
                    }
                    let difference = firstDifference(
                        Array(seen.prefix(sure.count)),
                        sure
                    )
                    #expect(difference == nil, "operation \(number)")
                    guard case .end(let end) = seen.last else {
                        Issue.record("no end after operation \(number) failed")
                        return
                    }
                    #expect(end <= UInt64(expected.texts.count))
                    #expect(seen.count == Int(end) + 1, "operation \(number)")
                }
            }
            if !faulting.hasFailed { break }
            number += 1
        }
        #expect(number > 50)
    }

    @Test("an end whose sync failed is made durable by the recovery that finds it")
    func unsyncedEnd() throws {
        let fileSystem = MemoryFileSystem()
        let lane = try makeDirectory(fileSystem).openLane(0, smallConfiguration())
        try lane.append(text: "kept")
        try lane.write()
        try lane.commit()
        fileSystem.failSyncs(1)
        #expect(throws: EventLogError.self) { try lane.close() }
        // The process ends, and reads still see the end frame that the disk has lost.
        let killed = fileSystem.killClone()
        _ = try makeDirectory(killed).recover()
        #expect(try makeDirectory(killed).log(lane.logID)?.endOffset == Offset(2))
        var random = Seeded(1)
        let clone = killed.crashClone(probability: 0, using: &random)
        let report = try makeDirectory(clone).inspect(lane.logID)
        #expect(report.endOffset == Offset(2))
        let scan = try readAll(try makeDirectory(killed), lane.logID)
        #expect(scan.last == .end(2))
        let cut = try makeDirectory(clone)
        #expect(try cut.recover().isEmpty, "the end is found, not made anew")
    }

    @Test(
        "the end of a segment that a power cut took is a skip, unless it had been durable",
        arguments: [false, true]
    )
    func lostTail(wasDurable: Bool) throws {
        let fileSystem = MemoryFileSystem()
        let directory = try makeDirectory(fileSystem)
        let lane = try directory.openLane(0, smallConfiguration())
        func segments() -> [String] { fileSystem.paths.filter { $0.hasSuffix(".log") } }
        try lane.append(text: "kept")
        try lane.write()
        try lane.commit()
        let first = try #require(segments().first)
        let kept = try #require(fileSystem.bytes(of: first)).count
        while segments().count < 2 {
            try lane.append(text: "lost")
            try lane.write()
            if wasDurable { try lane.commit() }
        }
        // The next segment's header is there, or a record as well; what came before it is not.
        for isEmpty in [false, true] {
            let clone = fileSystem.killClone()
            clone.setBytes(Array(try #require(clone.bytes(of: first)).prefix(kept)), of: first)
            let second = segments()[1]
            if isEmpty {
                clone.setBytes(
                    Array(try #require(clone.bytes(of: second)).prefix(4096)),
                    of: second
                )
            }
            let survivor = try makeDirectory(clone)
            _ = try survivor.recover()
            var reader = try survivor.reader(lane.logID, from: .zero)
            var skipped = 0
            while let item = try reader.next() {
                guard case .skip(let range, let reason) = item, range.lowerBound == Offset(2) else {
                    continue
                }
                skipped += 1
                #expect(reason == .damaged)
                #expect(reader.isMissing == wasDurable)
            }
            #expect(skipped == 1)
        }
    }

    @Test("what recovery keeps is durable, although a sync failed before the writer was killed")
    func recoveryAfterFailedSync() throws {
        let fileSystem = MemoryFileSystem()
        let lane = try makeDirectory(fileSystem).openLane(0, smallConfiguration())
        try lane.append(text: "never acknowledged")
        try lane.write()
        // The lane cannot write it elsewhere either, and is killed.
        fileSystem.failSyncs(100)
        #expect(throws: EventLogError.self) { try lane.commit() }
        let files = fileSystem.killClone()
        let survivor = try makeDirectory(files)
        _ = try survivor.recover()
        let seen = try readAll(survivor, lane.logID)
        var random = Seeded(1)
        let rebooted = try makeDirectory(files.crashClone(probability: 0, using: &random))
        _ = try rebooted.recover()
        #expect(try readAll(rebooted, lane.logID) == seen)
        #expect(seen.last == .end(2))
    }

    @Test("recovery that fails at any operation can be repeated")
    func recoveryFaults() throws {
        let original = MemoryFileSystem()
        let directory = try makeDirectory(original)
        let lane = try directory.openLane(0, smallConfiguration(segmentBytes: 4096 + 330))
        for number in 1...8 {
            try lane.append(text: "record \(number)")
            try lane.write()
        }
        var number = 1
        while true {
            let base = original.killClone()
            let faulting = FaultingFileSystem(base, .init(first: number))
            _ = try? makeDirectory(faulting).recover()
            let survivor = try makeDirectory(base.killClone())
            _ = try survivor.recover()
            let seen = try readAll(survivor, lane.logID)
            #expect(seen.count == 10, "operation \(number)")
            #expect(seen.last == .end(9), "operation \(number)")
            if !faulting.hasFailed { break }
            number += 1
        }
        #expect(number > 10)
    }

    @Test("after a failed sync the unacknowledged records are durable in a new segment")
    func syncFailure() throws {
        let fileSystem = MemoryFileSystem()
        let directory = try makeDirectory(fileSystem)
        let lane = try directory.openLane(0, smallConfiguration(segmentBytes: 1 << 16))
        try lane.append(text: "acknowledged")
        try lane.write()
        try lane.commit()
        try lane.append(text: "not yet")
        try lane.write()
        fileSystem.failSyncs(1)
        try lane.commit()
        #expect(lane.durableOffset == Offset(3))
        #expect(lane.statistics.syncFailures == 1)
        var random = Seeded(1)
        let clone = try makeDirectory(fileSystem.crashClone(probability: 0, using: &random))
        _ = try clone.recover()
        let expected: [Seen] = [
            .record(0, "log_start"), .record(1, "acknowledged"), .record(2, "not yet"), .end(3),
        ]
        #expect(try readAll(clone, lane.logID) == expected)
        let bases = try #require(try directory.log(lane.logID)).segments.map(\.baseOffset)
        #expect(bases == [Offset(0), Offset(2)])
        try lane.close()
        #expect(try readAll(directory, lane.logID) == expected)
    }

    @Test("while nothing can be synced the lane refuses writes, and goes on when the disk is back")
    func syncFailsForLong() throws {
        let fileSystem = MemoryFileSystem()
        let directory = try makeDirectory(fileSystem)
        let lane = try directory.openLane(0, smallConfiguration(segmentBytes: 1 << 16))
        try lane.append(text: "a")
        try lane.write()
        fileSystem.failSyncs(100)
        #expect(throws: EventLogError.self) { try lane.commit() }
        #expect(lane.reserve(10) == false)
        try lane.append(text: "b")
        #expect(throws: EventLogError.self) { try lane.write() }
        #expect(throws: EventLogError.self) { try lane.commit() }
        #expect(lane.durableOffset == .zero)
        fileSystem.failSyncs(0)
        try lane.commit()
        #expect(lane.durableOffset == Offset(2))
        #expect(lane.reserve(10))
        try lane.write()
        try lane.close()
        #expect(
            try readAll(directory, lane.logID)
                == [.record(0, "log_start"), .record(1, "a"), .record(2, "b"), .end(3)]
        )
    }

    @Test("a failed write leaves the batch pending, and it goes to a new segment")
    func writeFailure() throws {
        let base = MemoryFileSystem()
        let fileSystem = FaultingFileSystem(base)
        let directory = try makeDirectory(fileSystem)
        let lane = try directory.openLane(0, smallConfiguration(segmentBytes: 1 << 16))
        try lane.commit()
        try lane.append(text: "a")
        fileSystem.setPlan(.init(first: 1, code: FileIOError.outOfSpace, calls: ["pwrite"]))
        #expect(throws: EventLogError.self) { try lane.write() }
        #expect(lane.writtenOffset == Offset(1))
        #expect(lane.hasPending)
        try lane.append(text: "b")
        try lane.write()
        try lane.close()
        let summary = try #require(try directory.log(lane.logID))
        #expect(summary.segments.map(\.baseOffset) == [Offset(0), Offset(1)])
        #expect(
            try readAll(directory, lane.logID)
                == [.record(0, "log_start"), .record(1, "a"), .record(2, "b"), .end(3)]
        )
        #expect(lane.statistics.writeFailures == 1)
    }
}
