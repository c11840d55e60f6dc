import Aggregator
import EventLog
import Records
import Testing

@Suite("Fold and compaction", .timeLimit(.minutes(5)))
struct FoldTests {
    @Test("one aggregator folds logs to what a naive program computes", arguments: [1, 2, 3])
    func single(seed: UInt64) async throws {
        try await World.with { world in
            var scenario = Scenario(seed: seed)
            for _ in 0..<3 { try scenario.writeLog(world, records: 400) }
            try await world.fold([world.aggregator(world.configuration)])
            try scenario.check(world)
        }
    }
}
