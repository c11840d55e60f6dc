import EventLog
import FileIOTesting
import Pump
import Records
import Sinks
import Synchronization
import Telemetry
import Testing

@Suite("Sink driver")
struct DriverTests {
    @Test("every record arrives once, the checkpoint follows, and a restart sends nothing")
    func delivers() throws {
        let bench = try Bench()
        let lane = try bench.directory.openLane(0, smallConfiguration())
        try lane.append(count: 100)
        var arrivals = Arrivals()
        bench.acceptAll(into: &arrivals)
        #expect(arrivals.records[lane.logID]?.count == 101)
        #expect(arrivals.records[lane.logID]?.values.allSatisfy { $0 == 1 } == true)
        #expect(try bench.checkpoint(lane.logID) == 101)
        #expect(arrivals.ends.isEmpty)

        try lane.append(count: 1)
        try lane.close()
        bench.acceptAll(into: &arrivals)
        #expect(arrivals.records[lane.logID]?.count == 102)
        #expect(arrivals.ends[lane.logID] == 102)
        #expect(try bench.checkpoint(lane.logID) == 103)

        try bench.restart()
        var again = Arrivals()
        bench.acceptAll(into: &again)
        #expect(again.records.isEmpty)
        #expect(again.ends.isEmpty)
    }

    @Test("a checkpoint moves only over offsets that are acknowledged without a gap")
    func contiguous() throws {
        let bench = try Bench { _, pumped in pumped.batchRecordsMax = 10 }
        let lane = try bench.directory.openLane(0, smallConfiguration())
        for _ in 0..<6 { try lane.append(count: 10) }
        bench.run()
        try #require(bench.pending.count >= 3)
        // The second batch is answered first.
        let (second, _) = bench.pending.remove(at: 1)
        bench.driver.handle(.delivered(second, .accepted))
        bench.run(milliseconds: 3_000)
        #expect(try bench.checkpoint(lane.logID) == 0)
        let first = try #require(bench.answer())
        bench.run(milliseconds: 3_000)
        let beyond = try bench.checkpoint(lane.logID)
        #expect(beyond >= UInt64(first.recordCount + 10))
        #expect(beyond < 61)
    }

    @Test("when k of n records are to be repeated only those are sent again")
    func partialRetry() throws {
        let bench = try Bench()
        let lane = try bench.directory.openLane(0, smallConfiguration())
        try lane.append(count: 20)
        bench.run()
        var result = DeliveryResult()
        for offset in [3, 4, 17] as [UInt64] { result.add(Offset(offset), .retry) }
        let batch = try #require(bench.answer(result))
        #expect(batch.recordCount == 21)
        bench.run(milliseconds: 2_000)
        // What comes before the first of them is acknowledged.
        #expect(try bench.checkpoint(lane.logID) == 3)
        let repeated = try #require(bench.pending.first?.batch)
        var arrivals = Arrivals()
        arrivals.take(repeated)
        #expect(arrivals.records[lane.logID]?.keys.sorted() == [3, 4, 17])
        _ = bench.answer()
        bench.run(milliseconds: 2_000)
        #expect(try bench.checkpoint(lane.logID) == 21)
    }

    @Test("a record refused in the middle of a batch leaves a skip marker on a transport")
    func rejected() throws {
        let bench = try Bench()
        let lane = try bench.directory.openLane(0, smallConfiguration())
        try lane.append(count: 9)
        bench.run()
        var result = DeliveryResult()
        result.add(Offset(5), .rejected(.tooLarge))
        result.add(Offset(7), .retry)
        _ = bench.answer(result)
        bench.run(milliseconds: 2_000)
        var arrivals = Arrivals()
        arrivals.take(try #require(bench.pending.first?.batch))
        #expect(arrivals.records[lane.logID]?.keys.sorted() == [7])
        #expect(arrivals.skips[lane.logID] == [5: .tooLarge])
        #expect(try bench.checkpoint(lane.logID) == 5)
        _ = bench.answer()
        bench.run(milliseconds: 2_000)
        #expect(try bench.checkpoint(lane.logID) == 10)
        let page = bench.registry.render()
        let series = "pump_records_rejected_total{sink=\"test\",reason=\"too_large\"} 1"
        #expect(page.contains(series))
        #expect(page.contains("pump_records_delivered_total{sink=\"test\"} 9"))
    }

    @Test("other sinks are not told of refused records, and go on")
    func rejectedElsewhere() throws {
        let bench = try Bench(isTransport: false, ordersLogs: true)
        let lane = try bench.directory.openLane(0, smallConfiguration())
        try lane.append(count: 9)
        try lane.close()
        bench.run()
        var result = DeliveryResult()
        result.add(Offset(5), .rejected(.rejected))
        _ = bench.answer(result)
        bench.run(milliseconds: 2_000)
        #expect(bench.pending.isEmpty)
        #expect(try bench.checkpoint(lane.logID) == 10)
    }

    @Test("a sink that is down for ever costs bounded memory and few attempts")
    func downForEver() throws {
        let states = Mutex<[SinkState]>([])
        let bench = try Bench { configuration, pumped in
            pumped.batchRecordsMax = 10
            pumped.batchBytesMax = 2_000
            pumped.inFlightMax = 4
            configuration.onStateChange = { _, state in states.withLock { $0.append(state) } }
        }
        let lane = try bench.directory.openLane(0, smallConfiguration())
        var attempts = 0
        for _ in 0..<100 {
            try lane.append(count: 20)
            bench.run(milliseconds: 1_000)
            while bench.answer(.retryAll(SinkError(code: "down", message: "no"))) != nil {
                attempts += 1
            }
            #expect(bench.driver.inFlightBytes <= 4 * (2_000 + 8_192))
        }
        #expect(attempts < 60, "\(attempts)")
        #expect(try bench.checkpoint(lane.logID) == 0)
        let last = try #require(states.withLock { $0.last })
        #expect(last.breaker != .closed)
        #expect(last.reason?.contains("no") == true)
        #expect(bench.registry.render().contains("pump_breaker_state{sink=\"test\"}"))

        var arrivals = Arrivals()
        bench.time.advance(microseconds: 60_000_000)
        bench.acceptAll(into: &arrivals)
        #expect(arrivals.firstGap(lane.logID, below: 2_001) == nil)
        #expect(states.withLock { $0.last?.breaker } == .closed)
    }

    @Test("deleted segments leave a skip marker with the reason expired")
    func expired() throws {
        let bench = try Bench()
        let lane = try bench.directory.openLane(0, smallConfiguration())
        for _ in 0..<20 { try lane.append(count: 10, text: String(repeating: "x", count: 60)) }
        let other = try bench.directory.checkpoints(consumer: "other")
        try other.store(lane.logID, Offset(150))
        let tombstones = try bench.directory.deleteSegments(
            consumedBy: ["other"],
            retain: RetentionPolicy(deletesConsumed: true)
        )
        let deleted = try #require(tombstones.map(\.offsets.upperBound.rawValue).max())
        var arrivals = Arrivals()
        bench.acceptAll(into: &arrivals)
        #expect(arrivals.skips[lane.logID]?.count == Int(deleted))
        #expect(arrivals.skips[lane.logID]?.values.allSatisfy { $0 == .expired } == true)
        #expect(arrivals.firstGap(lane.logID, below: 201) == nil)
    }

    @Test("an imported log and the log of a gateway that died are shipped to their ends")
    func otherLogs() throws {
        let bench = try Bench()
        let lane = try bench.directory.openLane(0, smallConfiguration())
        try lane.append(count: 5)
        let imported = LogID(high: 0x4000, low: 0x8000_0000_0000_0001)
        _ = try bench.directory.writeSealedLog(id: imported, smallConfiguration()) {
            writer throws(EventLogError) in
            for _ in 0..<7 {
                try writer.append(eventTime: 1) { $0.put(.kind, 1) }
            }
        }
        lane.abandon()
        try bench.restart(bench.fileSystem.killClone())
        _ = try bench.directory.recover()
        var arrivals = Arrivals()
        bench.acceptAll(into: &arrivals)
        #expect(arrivals.ends[lane.logID] == 6)
        let end = try #require(arrivals.ends[imported])
        #expect(arrivals.firstGap(imported, below: end) == nil)
    }

    @Test("with more logs than readers every log gets its turn")
    func manyLogs() throws {
        let bench = try Bench { configuration, _ in configuration.readersMax = 2 }
        let lanes = try (0..<9).map { try bench.directory.openLane($0, smallConfiguration()) }
        var arrivals = Arrivals()
        for _ in 0..<3 {
            for lane in lanes { try lane.append(count: 4) }
            bench.acceptAll(into: &arrivals)
            bench.time.advance(microseconds: 6_000_000)
        }
        bench.acceptAll(into: &arrivals)
        for lane in lanes { #expect(arrivals.firstGap(lane.logID, below: 13) == nil) }
    }

    @Test("reshipping sets every log back to the first record appended since, and no further")
    func reship() throws {
        let bench = try Bench()
        let lane = try bench.directory.openLane(0, smallConfiguration())
        let old = try bench.directory.openLane(1, smallConfiguration())
        try old.append(count: 3)
        var since: Int64 = 0
        for round in 0..<20 {
            if round == 11 { since = bench.time.wallMicroseconds() }
            try lane.append(count: 10, text: String(repeating: "x", count: 60))
            bench.time.advance(microseconds: 1_000_000)
        }
        var arrivals = Arrivals()
        bench.acceptAll(into: &arrivals)
        #expect(try bench.checkpoint(lane.logID) == 201)

        bench.configuration.reshipFrom = since
        try bench.restart()
        bench.step()
        #expect(try bench.checkpoint(lane.logID) == 111)
        #expect(try bench.checkpoint(old.logID) == 4)
        // Killed in the middle, the rest is shipped by the next one, though it was not asked to.
        bench.configuration.reshipFrom = nil
        try bench.restart()
        var again = Arrivals()
        bench.acceptAll(into: &again)
        #expect(again.records[lane.logID]?.keys.min() == 111)
        #expect(again.records[lane.logID]?.count == 90)
        #expect(again.records[old.logID] == nil)
        #expect(try bench.checkpoint(lane.logID) == 201)
    }

    @Test("skip markers before the first record since a time are shipped again, and of skips alone")
    func reshipSkips() throws {
        let bench = try Bench()
        var configuration = smallConfiguration()
        configuration.segmentBytes = 1 << 20
        let lane = try bench.directory.openLane(0, configuration)
        let skips = try bench.directory.openLane(1, configuration)
        for (lane, text) in [(lane, "first"), (lane, "middle"), (skips, "middle")] {
            bench.time.advance(microseconds: 1_000_000)
            try lane.append(count: 4, text: text)
        }
        bench.time.advance(microseconds: 1_000_000)
        let since = bench.time.wallMicroseconds()
        try lane.append(count: 4, text: "last")
        for log in [lane.logID, skips.logID] {
            let path = "/data/log/\(log)/00000000000000000000.log"
            var bytes = try #require(bench.fileSystem.bytes(of: path))
            let place = try #require(
                bytes.indices.first { bytes[$0...].starts(with: Array("middle".utf8)) }
            )
            bytes[place] ^= 1
            bench.fileSystem.setBytes(bytes, of: path)
        }
        try bench.restart()
        // Offset 0 is the record of the log's start.
        var first = Arrivals()
        bench.acceptAll(into: &first)
        #expect(first.skips[lane.logID]?.keys.sorted() == [5, 6, 7, 8])
        #expect(first.skips[skips.logID]?.keys.sorted() == [1, 2, 3, 4])
        #expect(try bench.checkpoint(lane.logID) == 13)
        // The topic is lost; all that was appended since then is shipped again.
        bench.configuration.reshipFrom = since
        try bench.restart()
        var again = Arrivals()
        bench.acceptAll(into: &again)
        #expect(again.records[lane.logID]?.keys.sorted() == [9, 10, 11, 12])
        #expect(again.skips[lane.logID]?.keys.sorted() == [5, 6, 7, 8])
        #expect(again.skips[skips.logID]?.keys.sorted() == [1, 2, 3, 4])
        #expect(try bench.checkpoint(lane.logID) == 13)
        try lane.close()
        try skips.close()
    }

    @Test("a sink that cannot be opened is tried again with growing waits")
    func opening() throws {
        let bench = try Bench()
        let lane = try bench.directory.openLane(0, smallConfiguration())
        try lane.append(count: 1)
        var attempts = 0
        for _ in 0..<2_000 {
            for job in bench.driver.step().jobs {
                guard case .open = job else { continue }
                attempts += 1
                bench.driver.handle(.opened(SinkError(code: "down", message: "no broker")))
            }
            bench.time.advance(microseconds: 100_000)
        }
        #expect(attempts > 5)
        #expect(attempts < 30, "\(attempts)")
    }
}
