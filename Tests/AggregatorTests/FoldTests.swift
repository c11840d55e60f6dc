import Aggregator
import EventLog
import FileIOTesting
import Postgres
import Records
import Rollups
import Testing

@Suite("Fold and compaction", .timeLimit(.minutes(10)), .serialized)
struct FoldTests {
    @Test("any number of aggregators fold logs to what a naive program computes", arguments: 1...3)
    func model(aggregators: Int) async throws {
        try await World.with { world in
            let seed = UInt64(100 + aggregators)
            var scenario = Scenario(seed: seed)
            for _ in 0..<4 {
                try scenario.writeLog(world, records: 50 + scenario.random.below(150))
            }
            let all = (0..<aggregators).map { index in
                var configuration = world.configuration
                // Batches of very different sizes.
                configuration.flushRecordsMax = [7, 60, 100_000][index]
                return world.aggregator(configuration)
            }
            try await world.fold(all)
            try scenario.check(world, "seed \(seed)")
        }
    }

    @Test("logs that grow, end and appear meanwhile are followed", arguments: [11])
    func growing(seed: UInt64) async throws {
        try await World.with { world in
            var scenario = Scenario(seed: seed)
            var open: [LaneWriter] = []
            for _ in 0..<2 {
                if let lane = try scenario.writeLog(world, records: 40, closes: false) {
                    open.append(lane)
                }
            }
            try await world.whileRunning([world.aggregator(world.configuration)]) {
                for round in 0..<6 {
                    for lane in open {
                        let before = lane.nextOffset.rawValue
                        for _ in 0..<20 {
                            let request = SampleRequest.random(
                                &scenario.random,
                                around: Scenario.start,
                                span: 1_000_000_000
                            )
                            try lane.append(eventTime: request.completedAt) {
                                request.encode(into: &$0)
                            }
                            scenario.add(request)
                        }
                        try lane.write()
                        scenario.offsets += lane.nextOffset.rawValue - before
                    }
                    try scenario.writeLog(world, records: 20)
                    if round == 3 { try open.removeLast().close() }
                    #expect(await world.isFolded())
                }
            }
            try await world.compact()
            try scenario.check(world, "seed \(seed)")
        }
    }

    @Test("each tier is the sum of the finer one, and histograms hold as many as counted")
    func tiers() async throws {
        try await World.with { world in
            var scenario = Scenario(seed: 21)
            // Across a month, a year and a leap day.
            for start: Int64 in [1_451_606_100_000_000, 1_456_703_700_000_000, 100_000_000] {
                let lane = try #require(
                    try scenario.writeLog(world, records: 0, bad: false, closes: false)
                )
                for _ in 0..<150 {
                    let request = SampleRequest.random(
                        &scenario.random,
                        around: start,
                        span: 2 * 86_400_000_000
                    )
                    try lane.append(eventTime: start) { request.encode(into: &$0) }
                    scenario.add(request)
                }
                scenario.offsets += 150
                try lane.close()
            }
            try await world.fold([world.aggregator(world.configuration)])
            try scenario.check(world)
            let connection = try world.connect()
            for definition in RollupDefinition.builtIn {
                for tier in definition.tiers {
                    let table = try readTable(definition, tier, connection)
                    #expect(table.values.reduce(0) { $0 + $1.sums[0] } == 450)
                    for row in table.values {
                        #expect(try LatencyHistogram.total(row.latency.span) == row.sums[6])
                        #expect(try LatencyHistogram.total(row.upstream.span) == row.sums[10])
                    }
                }
            }
        }
    }

    @Test("damaged offsets are accounted for and the rest is folded")
    func damage() async throws {
        try await World.with { world in
            var scenario = Scenario(seed: 31)
            try scenario.writeLog(world, records: 0, bad: false)
            let lane = try #require(
                try scenario.writeLog(world, records: 0, bad: false, closes: false)
            )
            var third = 0
            for round in 0..<6 {
                for _ in 0..<10 {
                    let request = SampleRequest.random(
                        &scenario.random,
                        around: Scenario.start,
                        span: 1_000_000_000
                    )
                    try lane.append(eventTime: request.completedAt) { request.encode(into: &$0) }
                    // The third batch will be damaged.
                    if round != 2 { scenario.add(request) }
                    scenario.offsets += 1
                }
                if round == 2 {
                    let before = world.fileSystem.bytes(of: world.segment(of: lane.logID))
                    third = try #require(before).count
                }
                try lane.write()
            }
            try lane.close()
            world.damage(lane.logID, from: third)
            try await world.fold([world.aggregator(world.configuration)])
            try scenario.check(world)
            let damaged = try world.connect().query("SELECT sum(damaged) FROM sluice.ledger")
            #expect(damaged.int(0, 0) == 10)
        }
    }

    @Test("the registry of logs knows node, region, heartbeat and end")
    func registry() async throws {
        try await World.with { world in
            var scenario = Scenario(seed: 41)
            let lane = try #require(
                try scenario.writeLog(world, records: 5, bad: false, closes: false)
            )
            try lane.heartbeat()
            try lane.close()
            try await world.fold([world.aggregator(world.configuration)])
            let found = try world.connect().query(
                """
                SELECT node LIKE 'gw-_', region, started_at IS NOT NULL,
                    heartbeat_at >= started_at, next_offset, end_offset, ended_at IS NOT NULL
                FROM sluice.log WHERE log_id = $1::text::uuid
                """,
                [.text(lane.logID.description)]
            )
            try #require(found.rowCount == 1)
            #expect(found.bool(0, 0) == true && found.text(0, 1) == "eu")
            #expect(found.bool(0, 2) == true && found.bool(0, 3) == true)
            #expect(found.int(0, 4) == Int64(lane.nextOffset.rawValue) - 1)
            #expect(found.int(0, 5) == Int64(lane.nextOffset.rawValue))
            #expect(found.bool(0, 6) == true)
            // Everything is consumed: the checkpoint says so.
            let checkpoints = try world.directory.checkpoints(consumer: "aggregator")
            #expect(checkpoints.load(lane.logID) == lane.nextOffset)
        }
    }
}
