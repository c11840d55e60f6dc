import Aggregator
import EventLog
import Postgres
import Records
import Testing

@Suite("Trust in messages", .timeLimit(.minutes(10)), .serialized)
struct KafkaTrustTests {
    /// Puts a record together as a lane does.
    static func bytes(
        _ log: LogID,
        _ offset: UInt64,
        org: String = "acme",
        kind: RecordKind = .request,
        declaring orgs: [String] = []
    ) -> [UInt8] {
        var encoder = RecordEncoder()
        encoder.put(.schemaVersion, 1)
        encoder.put(.logID, log)
        encoder.put(.offset, offset)
        encoder.put(.kind, UInt64(kind.rawValue))
        encoder.put(.completedAt, signed: 1_431_857_100_000_000)
        if kind == .request { encoder.put(.org, org) }
        for org in orgs { encoder.putTag(key: "orgs", value: org) }
        return encoder.bytes
    }

    static func record(_ log: LogID, _ offset: UInt64, org: String = "acme") -> ScriptedMessage {
        .record(log, offset, bytes(log, offset, org: org))
    }

    static func start(_ log: LogID, _ orgs: [String]) -> ScriptedMessage {
        .record(log, 0, bytes(log, 0, kind: .logStart, declaring: orgs))
    }

    /// Feeds messages, and compares what is folded and why something was parked.
    func check(
        _ messages: (LogID) -> [ScriptedMessage],
        folded: String,
        parked: [String],
        configure: (inout AggregatorConfiguration) -> Void = { _ in }
    ) async throws {
        try await World.with { world in
            let broker = ScriptedBroker(partitions: 1)
            var random = SplitMix(seed: 1)
            let log = LogID(random: &random)
            let all = messages(log)
            for message in all { broker.append(message, to: 0) }
            var configuration = world.configuration
            configure(&configuration)
            let aggregator = world.aggregator(configuration, source: broker.source)
            try await world.whileRunning([aggregator]) {
                #expect(
                    await world.waits(
                        "SELECT next_offset = \(all.count) FROM sluice.transport_offset"
                    )
                )
            }
            let source = try world.connect().query(
                "SELECT folded::text FROM sluice.source WHERE log_id = $1::text::uuid",
                [.text(log.description)]
            )
            #expect((source.rowCount == 1 ? source.text(0, 0) : "{}") == folded)
            let letters = try world.connect().query(
                "SELECT reason, log_id::text, \"offset\" FROM sluice.dead_letter ORDER BY id"
            )
            let reasons = (0..<letters.rowCount).map { letters.text($0, 0) ?? "" }
            #expect(reasons.sorted() == parked.sorted())
            let accounted = try world.connect().query(
                "SELECT coalesce(sum(dead_lettered), 0)::int8 FROM sluice.ledger"
            )
            let own = (0..<letters.rowCount).filter { letters.text($0, 1) == log.description }
            #expect(accounted.int(0, 0) == Int64(own.count))
        }
    }

    @Test(
        "requests of organisations that the log does not declare are parked; the genuine ones count"
    )
    func wrongOrg() async throws {
        try await check(
            { log in
                [
                    Self.start(log, ["acme", "globex"]), Self.record(log, 1),
                    Self.record(log, 2, org: "evil"), Self.record(log, 2, org: "globex"),
                    Self.record(log, 3, org: ""), Self.record(log, 4, org: "evil"),
                ]
            },
            folded: "{[0,4)}",
            parked: ["wrong_org", "wrong_org"]
        )
    }

    @Test("a log that declares nothing is bound to the organisation of its first request")
    func firstSight() async throws {
        try await check(
            { log in
                [
                    Self.start(log, []), Self.record(log, 1, org: ""), Self.record(log, 2),
                    Self.record(log, 3, org: "evil"), Self.record(log, 3),
                ]
            },
            folded: "{[0,4)}",
            parked: ["wrong_org"]
        )
    }

    @Test("records of a log whose first one has not come are taken, whatever they belong to")
    func unbound() async throws {
        try await check(
            { log in [Self.record(log, 7), Self.record(log, 8, org: "globex")] },
            folded: "{[7,9)}",
            parked: []
        )
    }

    @Test("garbage is parked, and the genuine record of the same offset counts")
    func garbage() async throws {
        try await check(
            { log in
                var random = SplitMix(seed: 2)
                let other = LogID(random: &random)
                var noHeaders = Self.record(log, 1)
                noHeaders.headers = []
                var badOffset = Self.record(log, 1)
                badOffset.headers[1].1 = "18446744073709551616"
                var otherKey = Self.record(log, 1)
                otherKey.key = Array(other.description.utf8)
                var tombstone = Self.record(log, 1)
                tombstone.value = nil
                var noReason = ScriptedMessage.skip(log, 1..<2, .damaged)
                noReason.headers[4].1 = "because"
                var backwards = ScriptedMessage.skip(log, 1..<2, .damaged)
                backwards.headers[3].1 = "1"
                var unknown = ScriptedMessage.skip(log, 1..<2, .damaged)
                unknown.headers[2].1 = "forget"
                return [
                    Self.start(log, ["acme"]), noHeaders, badOffset, otherKey, tombstone, noReason,
                    backwards, unknown,
                    .record(log, 1, [0xFF, 0x00, 0xFE]), .record(log, 1, []),
                    .record(log, 1, Self.bytes(other, 1)), .record(log, 1, Self.bytes(log, 2)),
                    Self.record(log, 1),
                ]
            },
            folded: "{[0,2)}",
            parked: [
                "unidentified", "unidentified", "identity_mismatch", "invalid_marker",
                "invalid_marker", "invalid_marker", "invalid_marker", "unidentified",
                "unidentified", "identity_mismatch", "identity_mismatch",
            ]
        )
    }

    @Test("a record cut short whose identity can be read takes its offset")
    func truncated() async throws {
        try await check(
            { log in
                let whole = Self.bytes(log, 1)
                return [
                    Self.start(log, ["acme"]), .record(log, 1, Array(whole.dropLast(2))),
                    Self.record(log, 2),
                ]
            },
            folded: "{[0,3)}",
            parked: ["malformed"]
        )
    }

    @Test("offsets far above the known end are parked, at the edge they count")
    func ahead() async throws {
        try await check(
            { log in
                [
                    Self.start(log, ["acme"]), Self.record(log, 101), Self.record(log, 203),
                    Self.record(log, UInt64(Int64.max)), Self.record(log, UInt64.max),
                    .skip(log, 1..<UInt64.max, .damaged), .end(log, 1 << 62),
                    Self.record(log, 202),
                ]
            },
            folded: "{[0,1),[101,102),[202,203)}",
            parked: [
                "offset_ahead", "offset_ahead", "offset_ahead", "offset_ahead", "offset_ahead",
            ],
            configure: { $0.offsetsAheadMax = 100 }
        )
    }

    @Test("a log in too many pieces takes only what makes no more of them")
    func fragmented() async throws {
        try await check(
            { log in
                [0, 2, 4, 6, 8, 10, 20, 7, 5, 30].map { Self.record(log, $0) }
            },
            folded: "{[0,1),[2,3),[4,9),[10,11),[30,31)}",
            parked: ["fragmented"],
            configure: {
                $0.rangesPerLogMax = 6; $0.flushRecordsMax = 1
            }
        )
    }

    @Test("a message larger than any record is parked, cut, and nothing else suffers")
    func large() async throws {
        try await check(
            { log in
                let large = Self.bytes(log, 1) + [UInt8](repeating: 0, count: 10 << 20)
                return [Self.start(log, ["acme"]), .record(log, 1, large), Self.record(log, 1)]
            },
            folded: "{[0,2)}",
            parked: ["too_large"]
        )
    }
}
