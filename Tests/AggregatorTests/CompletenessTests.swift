import Aggregator
import EventLog
import Postgres
import Records
import Testing

@Suite("Completeness of logs", .timeLimit(.minutes(5)), .serialized)
struct CompletenessTests {
    @Test("gaps are named with their exact offsets once they are a minute old")
    func gaps() async throws {
        try await World.with { world in
            var scenario = Scenario(seed: 7_000)
            let lane = try #require(
                try scenario.writeLog(world, records: 40, bad: false, closes: false)
            )
            try lane.close()
            try await world.fold([world.aggregator(world.configuration)])
            let connection = try world.connect()
            let log = lane.logID
            let end = Int64(lane.nextOffset.rawValue)
            #expect(try LogCompleteness.gaps(connection, limit: 10).isEmpty)
            // As if some offsets had never come, among them the last ones.
            try connection.execute(
                "UPDATE sluice.source SET folded = folded - '{[3,7),[\(end - 2),\(end))}'"
            )
            #expect(try LogCompleteness.gaps(connection, limit: 10).isEmpty, "too young")
            try connection.execute(
                """
                UPDATE sluice.log SET ended_at = now() - interval '2 minutes',
                    last_folded_at = now() - interval '2 minutes'
                """
            )
            let missing = [3..<7, (end - 2)..<end].map { OffsetGap(log: log, offsets: $0) }
            #expect(try LogCompleteness.gaps(connection, limit: 10) == missing)
            #expect(try LogCompleteness.gaps(connection, limit: 1) == [missing[0]])
        }
    }

    @Test("an open log can be retired once; an ended one need not be")
    func retire() async throws {
        try await World.with { world in
            var scenario = Scenario(seed: 7_100)
            let open = try #require(
                try scenario.writeLog(world, records: 5, bad: false, closes: false)
            )
            let ended = try #require(
                try scenario.writeLog(world, records: 5, bad: false, closes: false)
            )
            try ended.close()
            try await world.fold([world.aggregator(world.configuration)])
            let connection = try world.connect()
            #expect(try LogCompleteness.retire(open.logID, connection) == .retired)
            #expect(try LogCompleteness.retire(open.logID, connection) == .alreadyClosed)
            #expect(try LogCompleteness.retire(ended.logID, connection) == .alreadyClosed)
            let other = LogID(high: 1, low: 2)
            #expect(try LogCompleteness.retire(other, connection) == .unknown)
            try open.close()
        }
    }
}
