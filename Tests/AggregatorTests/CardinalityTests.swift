import Aggregator
import EventLog
import Testing

@Suite("Cardinality bound", .timeLimit(.minutes(5)), .serialized)
struct CardinalityTests {
    @Test(
        "a bucket keeps the same keys whatever the order of records and the size of rounds",
        arguments: zip([1, 3, 40], [51, 52, 54])
    )
    func deterministic(keysMax: Int, seed: Int) async throws {
        try await World.with { world in
            var scenario = Scenario(seed: UInt64(seed))
            // One hour of one day, so that buckets are crowded.
            for _ in 0..<3 {
                try scenario.writeLog(world, records: 60, span: 3_600_000_000, bad: false)
            }
            var configuration = world.configuration
            configuration.keysPerBucketMax = keysMax
            configuration.compactionRowsMax = [15, 30, 1_000][seed % 3]
            configuration.flushRecordsMax = 25
            try await world.fold(
                [world.aggregator(configuration), world.aggregator(configuration)],
                compacting: configuration
            )
            try scenario.check(world, keysMax: keysMax, "K = \(keysMax)")
        }
    }

    @Test("a new compactor goes on with what an earlier one has displaced")
    func resumed() async throws {
        try await World.with { world in
            var scenario = Scenario(seed: 60)
            var configuration = world.configuration
            configuration.keysPerBucketMax = 5
            configuration.compactionRowsMax = 40
            for _ in 0..<4 {
                try scenario.writeLog(world, records: 40, span: 600_000_000, bad: false)
                try await world.fold(
                    [world.aggregator(configuration)],
                    compacting: configuration
                )
            }
            try scenario.check(world, keysMax: 5)
        }
    }
}
