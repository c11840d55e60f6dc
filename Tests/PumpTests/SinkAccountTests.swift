import EventLog
import FileIO
import FileIOTesting
import Pump
import Records
import Sinks
import Testing

@Suite("Accounts of sinks")
struct SinkAccountTests {
    /// The account of a log, as `sluice status` reads it.
    private func account(_ bench: Bench, _ log: LogID) throws -> SinkAccount {
        let all = try SinkAccount.all(of: bench.pumped.consumer, in: bench.directory)
        return try #require(all.first { $0.log == log }).account
    }

    @Test(
        "whatever is refused, repeated, damaged or killed, the account balances and counts once",
        arguments: [1, 2, 3, 4, 5, 6] as [UInt64],
        [true, false]
    )
    func balances(seed: UInt64, isTransport: Bool) throws {
        var random = Seeded(seed)
        let bench = try Bench(isTransport: isTransport, seed: seed) { configuration, pumped in
            configuration.checkpointInterval = .milliseconds(50)
            pumped.batchRecordsMax = 7
        }
        var configuration = smallConfiguration()
        configuration.segmentBytes = 1 << 20
        let lane = try bench.directory.openLane(0, configuration)
        try lane.append(count: 20, text: "first")
        try lane.append(count: 5, text: "damaged")
        try lane.append(count: 35, text: "last")
        let path = "/data/log/\(lane.logID)/00000000000000000000.log"
        var bytes = try #require(bench.fileSystem.bytes(of: path))
        let place = try #require(
            bytes.indices.first { bytes[$0...].starts(with: Array("damaged".utf8)) }
        )
        bytes[place] ^= 1
        bench.fileSystem.setBytes(bytes, of: path)
        try bench.restart()
        // Every tenth record is refused for good, whenever it comes.
        for _ in 0..<400 {
            bench.step()
            bench.time.advance(microseconds: 100_000)
            while !bench.pending.isEmpty {
                let index = Int(random.next() % UInt64(bench.pending.count))
                let (id, batch) = bench.pending.remove(at: index)
                var result = DeliveryResult()
                for case .records(let records) in batch.items {
                    batch.forEachRecord(in: records) { offset, _ in
                        if offset.rawValue % 10 == 3 {
                            result.add(offset, .rejected(.rejected))
                        } else if random.next() % 4 == 0 {
                            result.add(offset, .retry)
                        }
                    }
                }
                bench.driver.handle(.delivered(id, result))
                if random.next() % 16 == 0 { break }
            }
            #expect(try account(bench, lane.logID).unaccounted == 0)
            if random.next() % 20 == 0 { try bench.restart(seed: random.next()) }
        }
        let found = try account(bench, lane.logID)
        // One more than was appended here: the record of the log's start.
        #expect(found.appended == 61)
        #expect(found.pending == 0)
        #expect(found.skipped == 5)
        // Of 3, 13, …, 53 the one at 23 is damaged.
        #expect(found.deadLettered == 5)
        #expect(found.delivered == 51)
        try lane.close()
    }

    @Test("a checkpoint without a tally, and a log that is sent again, are counted from there on")
    func earlier() throws {
        let bench = try Bench()
        let lane = try bench.directory.openLane(0, smallConfiguration())
        try lane.append(count: 6)
        let since = bench.time.wallMicroseconds() + 1
        bench.time.advance(microseconds: 10)
        try lane.append(count: 4)
        let store = try bench.directory.checkpoints(consumer: bench.pumped.consumer)
        try store.store(lane.logID, Offset(8))
        try bench.restart()
        var arrivals = Arrivals()
        bench.acceptAll(into: &arrivals)
        var found = try account(bench, lane.logID)
        #expect(found.earlier == 8 && found.delivered == 3 && found.pending == 0)
        bench.configuration.reshipFrom = since
        try bench.restart()
        bench.acceptAll(into: &arrivals)
        found = try account(bench, lane.logID)
        #expect(found.earlier == 7 && found.delivered == 4 && found.unaccounted == 0)
        try lane.close()
    }
}
