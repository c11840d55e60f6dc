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

    @Test("a gap that is accepted is lost for good, with who and why, and the ledger balances")
    func acceptedGap() async throws {
        try await World.with { world in
            var scenario = Scenario(seed: 7_050)
            let lane = try #require(
                try scenario.writeLog(world, records: 40, bad: false, closes: false)
            )
            try lane.close()
            try await world.fold([world.aggregator(world.configuration)])
            let connection = try world.connect()
            let log = lane.logID
            let folded = Int64(lane.nextOffset.rawValue)
            // As if offsets had never come, and never been counted.
            try connection.execute(
                """
                UPDATE sluice.source SET folded = folded - '{[3,7)}';
                UPDATE sluice.ledger SET folded = folded - 4;
                UPDATE sluice.log SET ended_at = now() - interval '2 minutes',
                    last_folded_at = now() - interval '2 minutes'
                """
            )
            func accept(_ offsets: Range<Int64>) throws -> GapAcceptance {
                try GapAcceptance.accept(
                    OffsetGap(log: log, offsets: offsets),
                    reason: "a disk",
                    by: "somebody",
                    connection
                )
            }
            #expect(try LedgerBalance(connection).isBalanced == false)
            for wrong in [2..<7, 3..<8, 0..<1, folded..<(folded + 1)] as [Range<Int64>] {
                #expect(try accept(wrong) == .noGap)
            }
            let nowhere = OffsetGap(log: LogID(high: 1, low: 2), offsets: 0..<1)
            let none = try GapAcceptance.accept(nowhere, reason: "?", by: "?", connection)
            #expect(none == .noGap)
            #expect(try connection.query("TABLE sluice.accepted_gap").rowCount == 0)
            #expect(try accept(3..<5) == .accepted(2))
            #expect(try accept(3..<5) == .noGap)
            let left = OffsetGap(log: log, offsets: 5..<7)
            #expect(try LogCompleteness.gaps(connection, limit: 10) == [left])
            #expect(try accept(5..<7) == .accepted(2))
            let balance = try LedgerBalance(connection)
            #expect(balance.isBalanced && balance.pending == 0 && balance.accounted == folded)
            let noted = try connection.query(
                """
                SELECT sum(next_offset - first_offset)::int8, min(reason), min(accepted_by),
                    (SELECT sum(lost)::int8 FROM sluice.ledger) FROM sluice.accepted_gap
                """
            )
            #expect(noted.int(0, 0) == 4 && noted.int(0, 3) == 4)
            #expect(noted.text(0, 1) == "a disk" && noted.text(0, 2) == "somebody")
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

    @Test("balance and gaps are what a naive program counts", arguments: [7_200, 7_201])
    func property(seed: UInt64) async throws {
        try await World.with { world in
            var random = SplitMix(seed: seed)
            let connection = try world.connect()
            var model = LedgerBalance()
            var gaps: [OffsetGap] = []
            for number in 1...150 {
                let log = LogID(high: seed, low: UInt64(number))
                var folded = (0..<40).map { _ in Int.random(in: 0..<8, using: &random) > 0 }
                if Bool.random(using: &random) { folded.removeLast(20) }
                let covered = folded.count { $0 }
                let extra = Int.random(in: 0..<10, using: &random) == 0 ? 1 : 0
                let top = (folded.lastIndex(of: true) ?? -1) + 1
                let end =
                    Bool.random(using: &random) ? top + Int.random(in: 0...3, using: &random) : nil
                let next =
                    Bool.random(using: &random) ? Int.random(in: 0...top, using: &random) : nil
                let (isOld, wasRead) = (Bool.random(using: &random), Bool.random(using: &random))
                let ranges = folded.enumerated().filter(\.element).map {
                    "[\($0.offset),\($0.offset + 1))"
                }
                let set = ranges.joined(separator: ",")
                try connection.execute(
                    """
                    INSERT INTO sluice.source VALUES (1, '\(log)', '{\(set)}');
                    INSERT INTO sluice.ledger (generation, log_id, hour, folded, damaged)
                    VALUES (1, '\(log)', '2025-01-01', \(covered / 2 + extra), 0),
                        (1, '\(log)', '2025-01-02', 0, \(covered - covered / 2));
                    INSERT INTO sluice.log (log_id, heartbeat_at, next_offset, end_offset, ended_at,
                        first_seen_at, last_folded_at)
                    VALUES ('\(log)', now() - interval '\(isOld ? 61 : 30) s',
                        \(next.map(String.init) ?? "NULL"), \(end.map(String.init) ?? "NULL"),
                        now() - interval '\(isOld ? 61 : 30) s', now(),
                        now() - interval '\(wasRead ? 10 : 70) s')
                    """
                )
                let known = max(isOld ? max(end ?? 0, next ?? 0) : 0, wasRead ? 0 : top)
                var missing: [Int] = []
                for offset in 0..<known where offset >= folded.count || !folded[offset] {
                    missing.append(offset)
                    let value = Int64(offset)
                    if let last = gaps.last, last.log == log, last.offsets.upperBound == value {
                        gaps[gaps.count - 1] = OffsetGap(
                            log: log,
                            offsets: last.offsets.lowerBound..<(value + 1)
                        )
                    } else {
                        gaps.append(OffsetGap(log: log, offsets: value..<(value + 1)))
                    }
                }
                let appended = max(top, end ?? 0, next ?? 0)
                model.logCount += 1
                model.unbalancedCount += extra > 0 || !missing.isEmpty ? 1 : 0
                model.appended += Int64(appended)
                model.accounted += Int64(covered + extra)
                model.pending += Int64(appended - covered)
                model.missing += Int64(missing.count)
                model.unaccounted += Int64(extra)
            }
            #expect(try LedgerBalance(connection) == model, "seed \(seed)")
            #expect(try LogCompleteness.gaps(connection, limit: 10_000) == gaps, "seed \(seed)")
        }
    }

    @Test("a gap in a log that goes on is reported once heartbeats are a minute past it")
    func live() async throws {
        try await World.with { world in
            var scenario = Scenario(seed: 7_300)
            let lane = try #require(
                try scenario.writeLog(world, records: 20, bad: false, closes: false)
            )
            try lane.heartbeat()
            let aggregator = world.aggregator(world.configuration)
            try await world.fold([aggregator])
            let connection = try world.connect()
            let noted = try connection.query("SELECT noted_offset FROM sluice.log").int(0, 0)
            #expect(noted != nil)
            try connection.execute("UPDATE sluice.source SET folded = folded - '{[3,7)}'")
            #expect(try LogCompleteness.gaps(connection, limit: 10).isEmpty, "too young")
            // As if the note had been taken a minute before the next heartbeat.
            try connection.execute("UPDATE sluice.log SET noted_at = noted_at - interval '61 s'")
            try lane.heartbeat()
            try lane.close()
            try await world.fold([world.aggregator(world.configuration)])
            // The aggregator has folded them again: nobody took them but us.
            try connection.execute("UPDATE sluice.source SET folded = folded - '{[3,7)}'")
            let gap = OffsetGap(log: lane.logID, offsets: 3..<7)
            #expect(try LogCompleteness.gaps(connection, limit: 10) == [gap])
            let row = try connection.query(
                "SELECT settled_offset = $1 FROM sluice.log",
                [.int(noted ?? -1)]
            )
            #expect(row.bool(0, 0) == true)
        }
    }
}
