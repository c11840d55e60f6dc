import EventLog
import FileIO
import FileIOTesting
import Records
import Testing

/// A small log of three segments, closed or killed, whose batches are known.
private struct Sample {
    let fileSystem: MemoryFileSystem
    let id: LogID
    /// The offsets of each batch.
    var batches: [Range<UInt64>] = []
    var expected: [Seen] = [.record(0, "log_start")]

    init(closed: Bool, commits: Bool = true) throws {
        let original = MemoryFileSystem()
        let directory = try makeDirectory(original)
        let lane = try directory.openLane(0, smallConfiguration(segmentBytes: 4096 + 330))
        id = lane.logID
        batches.append(0..<1)
        var next: UInt64 = 1
        for count in [2, 1, 3, 1, 2] {
            for _ in 0..<count {
                try lane.append(text: "r\(next)")
                expected.append(.record(next, "r\(next)"))
                next += 1
            }
            batches.append((next - UInt64(count))..<next)
            try lane.write()
            if commits { try lane.commit() }
        }
        expected.append(.end(next))
        if closed { try lane.close() }
        fileSystem = original.killClone()
    }

    /// The log's segment files.
    var segments: [String] { fileSystem.paths.filter { $0.hasSuffix(".log") } }
    /// The log's mark.
    var mark: String { "/data/log/\(id)/mark" }
    var end: UInt64 { UInt64(expected.count - 1) }

    /// What a reader may return when one batch is gone: which one, or -1; nil when more is wrong.
    func missingBatch(_ seen: [Seen]) -> Int? {
        if seen == expected { return -1 }
        for (index, batch) in batches.enumerated() {
            var without = expected.filter { item in
                if case .record(let offset, _) = item { return !batch.contains(offset) }
                return true
            }
            without.insert(.skip(batch, .damaged), at: Int(batch.lowerBound))
            if seen == without { return index }
        }
        return nil
    }
}

/// Which bytes are worth damaging: all of the frames and of what a header says, some of its zeros.
private func placesToDamage(_ count: Int) -> [Int] {
    (0..<count).filter { $0 >= 4096 || $0 % 2048 < 100 || $0 % 2048 > 2040 || $0 % 97 == 0 }
}

@Suite("Damage")
struct DamageTests {
    @Test("a gap that goes on in the next segment is one loss")
    func gapOverSegments() throws {
        let sample = try Sample(closed: false)
        #expect(sample.segments.count >= 3)
        // Headers without frames, but for the last segment.
        for path in sample.segments.dropLast() {
            let bytes = try #require(sample.fileSystem.bytes(of: path))
            sample.fileSystem.setBytes(Array(bytes.prefix(4096)), of: path)
        }
        let report = try #require(makeDirectory(sample.fileSystem).recover().first)
        let kept = report.recordCount
        #expect(kept > 0)
        #expect(report.losses.map(\.offsets) == [.zero..<Offset(sample.end - kept)])
    }

    @Test("a flipped bit of a closed log costs at most the batch that it is in")
    func flips() throws {
        let sample = try Sample(closed: true)
        let directory = try makeDirectory(sample.fileSystem)
        #expect(sample.segments.count >= 3)
        var found: Set<Int> = []
        for path in sample.segments {
            let bytes = try #require(sample.fileSystem.bytes(of: path))
            for place in placesToDamage(bytes.count) {
                for bit in 0..<8 {
                    var damaged = bytes
                    damaged[place] ^= 1 << UInt8(bit)
                    sample.fileSystem.setBytes(damaged, of: path)
                    let missing = sample.missingBatch(try readAll(directory, sample.id))
                    guard let missing else {
                        Issue.record("bit \(bit) of byte \(place) of \(path) cost too much")
                        return
                    }
                    found.insert(missing)
                }
            }
            sample.fileSystem.setBytes(bytes, of: path)
        }
        #expect(found == Set(-1..<sample.batches.count))
    }

    @Test("recovery without a mark finds the same, whatever bit was flipped")
    func flipsWithoutMark() throws {
        let sample = try Sample(closed: true)
        for path in sample.segments {
            let bytes = try #require(sample.fileSystem.bytes(of: path))
            for place in stride(from: 4096, to: bytes.count, by: 1) {
                let clone = sample.fileSystem.killClone()
                var damaged = bytes
                damaged[place] ^= 1 << UInt8(place % 8)
                clone.setBytes(damaged, of: path)
                try clone.removeFile(sample.mark)
                let directory = try makeDirectory(clone)
                _ = try directory.recover()
                let missing = sample.missingBatch(try readAll(directory, sample.id))
                if missing == nil {
                    Issue.record("byte \(place) of \(path) cost too much")
                    return
                }
            }
        }
    }

    @Test("a flipped bit of the mark costs nothing")
    func markFlips() throws {
        let sample = try Sample(closed: true)
        let bytes = try #require(sample.fileSystem.bytes(of: sample.mark))
        for place in Array(0..<32) + Array(512..<560) + Array(1024..<1072) {
            let clone = sample.fileSystem.killClone()
            var damaged = bytes
            damaged[place] ^= 1 << UInt8(place % 8)
            clone.setBytes(damaged, of: sample.mark)
            let directory = try makeDirectory(clone)
            #expect(try readAll(directory, sample.id) == sample.expected)
            #expect(try directory.recover().isEmpty)
        }
    }

    @Test("a log cut off at any byte keeps every whole batch, and the rest is called by its name")
    func truncation() throws {
        for commits in [false, true] {
            let sample = try Sample(closed: false, commits: commits)
            let path = try #require(sample.segments.last)
            let bytes = try #require(sample.fileSystem.bytes(of: path))
            for count in 4096..<bytes.count {
                let clone = sample.fileSystem.killClone()
                clone.setBytes(Array(bytes.prefix(count)), of: path)
                let directory = try makeDirectory(clone)
                let report = try #require(try directory.recover().first)
                let seen = try readAll(directory, sample.id)
                let kept = report.recordCount
                #expect(seen.prefix(Int(kept)) == sample.expected.prefix(Int(kept)))
                if commits {
                    // All of it had been synced: what is missing is damage, up to the mark.
                    #expect(report.endOffset == Offset(sample.end))
                    #expect(
                        report.losses == [
                            .init(kind: .damaged, offsets: Offset(kept)..<Offset(sample.end))
                        ]
                    )
                    #expect(seen.last == .end(sample.end))
                    #expect(report.isAtLeast)
                } else {
                    #expect(report.endOffset == Offset(kept))
                    #expect(report.losses.isEmpty)
                    #expect(seen == Array(sample.expected.prefix(Int(kept))) + [.end(kept)])
                    #expect(report.isAtLeast == false)
                }
                #expect(try directory.recover().isEmpty)
            }
        }
    }

    @Test("a reader of a file that is shorter than its mark says goes on behind the hole")
    func shorterThanTheMark() throws {
        for closed in [false, true] {
            let sample = try Sample(closed: closed)
            let directory = try makeDirectory(sample.fileSystem)
            for path in sample.segments {
                let bytes = try #require(sample.fileSystem.bytes(of: path))
                for count in stride(from: 0, to: bytes.count, by: 7) {
                    var cut = Array(bytes.prefix(count))
                    if count > 4200 { cut[4150] ^= 1 }
                    sample.fileSystem.setBytes(cut, of: path)
                    var next: UInt64 = 0
                    for item in try readAll(directory, sample.id) {
                        switch item {
                        case .record(let offset, _):
                            #expect(offset == next)
                            next += 1
                        case .skip(let range, let reason):
                            #expect(range.lowerBound == next && reason == .damaged)
                            next = range.upperBound
                        case .end(let end): #expect(end == sample.end)
                        }
                    }
                    #expect(next == sample.end)
                }
                sample.fileSystem.setBytes(bytes, of: path)
            }
        }
    }

    @Test("a hole of many megabytes is crossed without reading it byte by byte")
    func largeHole() throws {
        let fileSystem = MemoryFileSystem()
        let directory = try makeDirectory(fileSystem)
        var configuration = smallConfiguration(segmentBytes: 64 << 20)
        configuration.recordBytesMax = 1 << 20
        let lane = try directory.openLane(0, configuration)
        for _ in 0..<6 {
            try lane.append(text: String(repeating: "x", count: 900_000))
            try lane.write()
        }
        try lane.append(text: "behind")
        try lane.close()
        let path = "/data/log/\(lane.logID)/00000000000000000000.log"
        let bytes = try #require(fileSystem.bytes(of: path))
        var zeroed = bytes
        zeroed.replaceSubrange(
            5_000..<5_000_000,
            with: repeatElement(0, count: 5_000_000 - 5_000)
        )
        fileSystem.setBytes(zeroed, of: path)
        let seen = try readAll(directory, lane.logID)
        #expect(seen.first == .record(0, "log_start"))
        #expect(seen.dropFirst().first == .skip(1..<7, .damaged))
        #expect(seen.suffix(2) == [.record(7, "behind"), .end(8)])
        fileSystem.setBytes(Array(bytes.prefix(5_000)), of: path)
        #expect(
            try readAll(directory, lane.logID)
                == [.record(0, "log_start"), .skip(1..<8, .damaged), .end(8)]
        )
    }

    @Test("bytes that look like frames inside a record are never taken for frames")
    func hostilePayload() throws {
        // The bytes of a whole valid segment, inside a record of another one that is damaged.
        let bait = try Sample(closed: true)
        let path = try #require(bait.segments.first)
        let bytes = try #require(bait.fileSystem.bytes(of: path))
        let fileSystem = MemoryFileSystem()
        let directory = try makeDirectory(fileSystem)
        var configuration = smallConfiguration(segmentBytes: 1 << 16)
        configuration.recordBytesMax = 1 << 16
        let lane = try directory.openLane(0, configuration)
        try lane.append(eventTime: 0) { encoder in
            encoder.put(.kind, UInt64(RecordKind.request.rawValue))
            encoder.put(.requestID, Array(bytes[4096...]))
        }
        try lane.write()
        try lane.append(text: "after")
        try lane.close()
        let own = "/data/log/\(lane.logID)/00000000000000000000.log"
        var damaged = try #require(fileSystem.bytes(of: own))
        // Within the record, behind the frame of the log's start.
        damaged[4096 + 300] ^= 1
        fileSystem.setBytes(damaged, of: own)
        #expect(
            try readAll(directory, lane.logID) == [
                .record(0, "log_start"), .skip(1..<2, .damaged), .record(2, "after"), .end(3),
            ]
        )
    }

    @Test("a file of the name that the seal needs is moved aside, not overwritten")
    func movedAside() throws {
        let sample = try Sample(closed: false, commits: false)
        let path = "/data/log/\(sample.id)/" + "0000000000000000000\(sample.end).log".suffix(24)
        sample.fileSystem.setBytes([1, 2, 3], of: path)
        let directory = try makeDirectory(sample.fileSystem)
        let report = try #require(try directory.recover().first)
        #expect(report.endOffset == Offset(sample.end))
        #expect(report.movedAside == [path + ".torn"])
        #expect(try sample.fileSystem.readFile(path + ".torn") == [1, 2, 3])
        #expect(try readAll(directory, sample.id) == sample.expected)
    }

    @Test("a checkpoint above the valid frames counts as proof that there was more")
    func checkpointIsEvidence() throws {
        let sample = try Sample(closed: false, commits: false)
        let directory = try makeDirectory(sample.fileSystem)
        try directory.checkpoints(consumer: "pump").store(sample.id, Offset(sample.end + 5))
        let report = try #require(try directory.recover().first)
        #expect(report.endOffset == Offset(sample.end + 5))
        #expect(
            report.losses == [
                .init(kind: .damaged, offsets: Offset(sample.end)..<Offset(sample.end + 5))
            ]
        )
    }

    @Test("a copied directory seals itself without claiming an offset of the original")
    func copiedDirectory() throws {
        let original = MemoryFileSystem()
        let directory = try makeDirectory(original)
        let lane = try directory.openLane(0, smallConfiguration())
        try lane.append(text: "a")
        try lane.write()
        try lane.commit()
        let copy = try makeDirectory(original.killClone())
        _ = try copy.recover()
        try lane.append(text: "b")
        try lane.close()
        #expect(
            try readAll(copy, lane.logID)
                == [.record(0, "log_start"), .record(1, "a"), .end(2)]
        )
        #expect(
            try readAll(directory, lane.logID)
                == [.record(0, "log_start"), .record(1, "a"), .record(2, "b"), .end(3)]
        )
        let next = try copy.openLane(0, smallConfiguration())
        #expect(next.logID != lane.logID)
    }

    @Test("a restored older copy goes on in a new log, and a reader beyond its end just ends")
    func restoredCopy() throws {
        let original = MemoryFileSystem()
        let directory = try makeDirectory(original)
        let lane = try directory.openLane(0, smallConfiguration())
        try lane.append(text: "a")
        try lane.write()
        try lane.commit()
        let backup = original.killClone()
        try lane.append(text: "b")
        try lane.close()
        let restored = try makeDirectory(backup)
        _ = try restored.recover()
        #expect(try readAll(restored, lane.logID, from: 3) == [.end(2)])
        let next = try restored.openLane(0, smallConfiguration())
        #expect(try restored.log(next.logID)?.predecessor == lane.logID)
    }
}
