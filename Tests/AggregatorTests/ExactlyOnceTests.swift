import Aggregator
import EventLog
import FileIOTesting
import Postgres
import PostgresTesting
import Records
import Synchronization
import Testing
import Threads

@Suite("Exactly once", .timeLimit(.minutes(10)), .serialized)
struct ExactlyOnceTests {
    @Test("a copy of a log that ended earlier does not end the log itself")
    func copied() async throws {
        try await World.with { world in
            var scenario = Scenario(seed: 4_000)
            let open = try scenario.writeLog(world, records: 40, bad: false, closes: false)
            let lane = try #require(open)
            // The copy is folded first, its end too; then the original goes on.
            let copied = world.fileSystem.killClone()
            let copy = try LogDirectory(path: "/data", fileSystem: copied, time: world.time)
            _ = try copy.recover()
            let source = AggregatorSource.local(copy)
            let end = Int64(lane.nextOffset.rawValue)
            try await world.whileRunning([world.aggregator(world.configuration, source: source)]) {
                #expect(await world.waits("SELECT end_offset = \(end) FROM sluice.log"))
            }
            let request = SampleRequest.random(&scenario.random, around: Scenario.start, span: 1)
            try lane.append(eventTime: request.completedAt) { request.encode(into: &$0) }
            scenario.add(request)
            try lane.close()
            scenario.offsets += lane.nextOffset.rawValue - UInt64(end)
            try await world.fold([world.aggregator(world.configuration)])
            try scenario.check(world)
            let ended = try world.connect().query("SELECT end_offset FROM sluice.log")
            #expect(ended.int(0, 0) == Int64(lane.nextOffset.rawValue))
        }
    }

    @Test(
        "a copy with older segments than its durable mark takes no offset from the log itself",
        arguments: [0, 30],
        [false, true]
    )
    func copiedTorn(bytesMore: Int, isRecovered: Bool) async throws {
        try await World.with { world in
            var scenario = Scenario(seed: 5_000)
            let open = try scenario.writeLog(world, records: 40, bad: false, closes: false)
            let lane = try #require(open)
            let path = world.segment(of: lane.logID)
            let end = lane.nextOffset.rawValue
            let copiedBytes = (world.fileSystem.bytes(of: path) ?? []).count + bytesMore
            func appendMore() throws {
                for _ in 0..<20 {
                    let request = SampleRequest.random(
                        &scenario.random,
                        around: Scenario.start,
                        span: 1
                    )
                    try lane.append(eventTime: request.completedAt) { request.encode(into: &$0) }
                    scenario.add(request)
                }
                try lane.write()
            }
            try appendMore()
            // The segment was copied first; the mark when the log had gone on.
            let copied = world.fileSystem.killClone()
            let bytes = try #require(copied.bytes(of: path))
            copied.setBytes(Array(bytes.prefix(copiedBytes)), of: path)
            let copy = try LogDirectory(path: "/data", fileSystem: copied, time: world.time)
            if isRecovered {
                _ = try copy.recover()
                // Killed after it, and recovered again: nothing changes any more.
                let paths = copied.paths
                _ = try copy.recover()
                #expect(copied.paths == paths)
                #expect(copied.paths.contains(path + ".torn") == (bytesMore > 0))
            }
            let source = AggregatorSource.local(copy)
            try await world.whileRunning([world.aggregator(world.configuration, source: source)]) {
                let isThere =
                    isRecovered
                    ? "SELECT end_offset = \(lane.nextOffset) FROM sluice.log"
                    : "SELECT upper(folded) >= \(end) FROM sluice.source"
                #expect(await world.waits(isThere))
            }
            try appendMore()
            try lane.close()
            scenario.offsets = lane.nextOffset.rawValue
            try await world.fold([world.aggregator(world.configuration)])
            try scenario.check(world)
        }
    }

    @Test("a session that is killed before any step changes no row", arguments: FoldStep.allCases)
    func killed(step: FoldStep) async throws {
        try await World.with { world in
            var scenario = Scenario(seed: 1_000)
            for _ in 0..<2 { try scenario.writeLog(world, records: 40) }
            let countdown = Countdown(2)
            var hooks = AggregatorHooks()
            hooks.fold = { reached, backend in
                if reached == step, countdown.hits() { terminate(backend, world.uri) }
                return nil
            }
            var configuration = world.configuration
            configuration.flushRecordsMax = 20
            try await world.fold([world.aggregator(configuration, hooks: hooks)])
            #expect(countdown.isOver || step == .transportOffsets || step == .dimensions)
            try scenario.check(world)
        }
    }

    @Test(
        "a step that fails, or a commit of which nobody hears, changes no row",
        arguments: zip(
            FoldStep.allCases + [.updateSources, .commit],
            (0..<17).map { $0 % 2 == 0 ? PostgresError.deadlock : .lost }
        )
    )
    func failing(step: FoldStep, error: PostgresError) async throws {
        try await World.with { world in
            var scenario = Scenario(seed: 2_000)
            try scenario.writeLog(world, records: 40)
            let countdown = Countdown(1)
            var hooks = AggregatorHooks()
            hooks.fold = { reached, _ in reached == step && countdown.hits() ? error : nil }
            var configuration = world.configuration
            configuration.flushRecordsMax = 20
            try await world.fold([world.aggregator(configuration, hooks: hooks)])
            try scenario.check(world)
        }
    }

    @Test(
        "an aggregator that stops anywhere, inside a COPY too, holds nobody up and changes no row",
        arguments: [FoldStep.begin, .copyDeltas, .copyOpen, .updateSources, .commit, .committed]
    )
    func zombie(step: FoldStep) async throws {
        try await World.with { world in
            var scenario = Scenario(seed: 3_000)
            for _ in 0..<2 { try scenario.writeLog(world, records: 40) }
            let gate = Gate()
            var hooks = AggregatorHooks()
            hooks.fold = { reached, _ in
                if reached == step { gate.enter() }
                return nil
            }
            var configuration = world.configuration
            configuration.flushRecordsMax = 30
            configuration.idleTransactionTimeout = .milliseconds(300)
            let zombie = world.aggregator(configuration, hooks: hooks)
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await zombie.run() }
                #expect(await gate.waitUntilOccupied())
                try await world.fold([world.aggregator(configuration)])
                try scenario.check(world, "while it sleeps")
                gate.open()
                group.cancelAll()
                try await group.waitForAll()
            }
            try await world.compact()
            try scenario.check(world, "after it woke up")
        }
    }

    @Test(
        "aggregators that fail at random among growing logs fold everything once",
        arguments: [7]
    )
    func chaos(seed: UInt64) async throws {
        try await World.with { world in
            let shared = Mutex(SplitMix(seed: seed))
            var hooks = AggregatorHooks()
            @Sendable func disturb(_ backend: Int32) -> PostgresError? {
                let choice = shared.withLock { $0.below(120) }
                switch choice {
                case 0: terminate(backend, world.uri)
                case 1: return .deadlock
                case 2: return .lost
                case 3...6:
                    let bell = Doorbell()
                    bell.wait(since: bell.count, timeoutNanoseconds: 30_000_000)
                default: break
                }
                return nil
            }
            hooks.fold = { _, backend in disturb(backend) }
            hooks.compaction = { _, backend in disturb(backend) }
            var scenario = Scenario(seed: seed)
            let all = (0..<3).map { index in
                var configuration = world.configuration
                configuration.flushRecordsMax = [5, 40, 1_000][index]
                configuration.compactionRowsMax = 50
                return world.aggregator(configuration, hooks: hooks)
            }
            try await world.whileRunning(all) {
                var lanes: [LaneWriter] = []
                for _ in 0..<12 {
                    if let lane = try scenario.writeLog(
                        world,
                        records: scenario.random.below(40),
                        closes: scenario.random.below(2) == 0
                    ) {
                        lanes.append(lane)
                    }
                    _ = await world.isFolded(
                        within: .milliseconds(scenario.random.below(200))
                    )
                }
                for lane in lanes { try lane.close() }
                #expect(await world.isFolded())
            }
            try await world.compact()
            try scenario.check(world, "seed \(seed)")
        }
    }

    @Test("rows only move into partitions that were committed before, so that no answer lacks them")
    func partitionsFirst() async throws {
        try await World.with { world in
            // A reader whose snapshot has the move must not have planned without the partition:
            // the transaction that moves rows attaches none.
            let attached = Mutex<[Int64?]>([])
            var hooks = AggregatorHooks()
            hooks.compaction = { step, backend in
                guard step == .commit else { return nil }
                let found = try? world.connect().query(
                    """
                    SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
                    WHERE l.pid = $1 AND c.relkind = 'p' AND l.mode IN
                        ('ShareUpdateExclusiveLock', 'ShareRowExclusiveLock', 'AccessExclusiveLock')
                    """,
                    [.int(Int64(backend))]
                )
                attached.withLock { $0.append(found?.int(0, 0)) }
                return nil
            }
            var scenario = Scenario(seed: 5_000)
            try scenario.writeLog(world, records: 60)
            let quiet = world.configuration
            try await world.whileRunning([world.aggregator(quiet, hooks: hooks)]) {
                #expect(await world.isFolded())
            }
            try await world.aggregator(quiet, hooks: hooks).compactAll()
            let rounds = attached.withLock { $0 }
            #expect(rounds.count >= scenario.models.count)
            #expect(rounds.allSatisfy { $0 == 0 }, "\(rounds)")
            try await world.compact()
            try scenario.check(world, "partition by partition")
        }
    }

    @Test("a database restored from a backup is filled again", arguments: [false, true])
    func restored(whileRunning: Bool) async throws {
        let database = try TestDatabase()
        defer { try? database.drop() }
        _ = try await Migrator().migrate(database.uri)
        let world = try World(database.uri)
        var scenario = Scenario(seed: 4_000)
        let lane = try #require(try scenario.writeLog(world, records: 60, closes: false))
        try await world.fold([world.aggregator(world.configuration)])

        // The backup, from before the second half.
        let admin = try PostgresConnection(
            database.superuserURI.replacing("@/\(database.name)?", with: "@/postgres?"),
            applicationName: "tests"
        )
        let backup = "\(database.name)_backup"
        try admin.execute("CREATE DATABASE \(backup) TEMPLATE \(database.name) OWNER sluice")
        func more() throws {
            for _ in 0..<60 {
                let request = SampleRequest.random(
                    &scenario.random,
                    around: Scenario.start,
                    span: 1_000_000_000
                )
                try lane.append(eventTime: request.completedAt) { request.encode(into: &$0) }
                scenario.add(request)
                scenario.offsets += 1
            }
            try lane.write()
        }
        func restore() throws {
            // Sessions that come back in between must not get in the way.
            try admin.execute("ALTER DATABASE \(database.name) ALLOW_CONNECTIONS false")
            try admin.query(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1",
                [.text(database.name)]
            )
            try admin.execute("ALTER DATABASE \(database.name) RENAME TO \(backup)_old")
            try admin.execute("ALTER DATABASE \(backup) RENAME TO \(database.name)")
            try admin.execute("DROP DATABASE \(backup)_old WITH (FORCE)")
        }
        if whileRunning {
            try await world.whileRunning([world.aggregator(world.configuration)]) {
                try more()
                #expect(await world.isFolded())
                try restore()
                #expect(await world.isFolded())
                try more()
                try lane.close()
                #expect(await world.isFolded())
            }
        } else {
            try more()
            try await world.fold([world.aggregator(world.configuration)])
            try restore()
            try lane.close()
            try await world.fold([world.aggregator(world.configuration)])
        }
        try await world.compact()
        try scenario.check(world)
    }

    @Test("a log whose folded set is in too many pieces is paused, and the others go on")
    func pieces() async throws {
        try await World.with { world in
            var scenario = Scenario(seed: 5_000)
            let paused = try #require(
                try scenario.writeLog(world, records: 40, bad: false, closes: false)
            )
            let pieces = (1..<12).map { "[\(3 * $0),\(3 * $0 + 1))" }.joined(separator: ",")
            try world.connect().query(
                """
                INSERT INTO sluice.source (generation, log_id, folded)
                VALUES (1, $1::text::uuid, $2::text::int8multirange)
                """,
                [.text(paused.logID.description), .text("{\(pieces)}")]
            )
            var other = Scenario(seed: 5_001)
            let lane = try #require(
                try other.writeLog(world, records: 40, bad: false, closes: false)
            )
            var configuration = world.configuration
            configuration.rangesPerLogMax = 10
            try await world.whileRunning([world.aggregator(configuration)]) {
                #expect(await world.isFolded(only: lane.logID))
            }
            let count = try world.connect().query(
                """
                SELECT sum(requests) FROM (
                    SELECT requests FROM sluice_g1.api_delta
                    UNION ALL SELECT requests FROM sluice_g1.api_1d) r
                """
            )
            #expect(count.int(0, 0) == Int64(other.requests))
            // With more patience it is filled: pieces are not folded again.
            try await world.fold([world.aggregator(world.configuration)])
        }
    }
}
