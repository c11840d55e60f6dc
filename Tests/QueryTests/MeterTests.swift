import Foundation
import Logging
import Postgres
import Query
import Records
import Telemetry
import Testing

/// Periods of meters, without a database.
@Suite("Meter periods")
struct MeterPeriodTests {
    /// Seconds since the Unix epoch of an RFC 3339 time.
    private static func seconds(_ text: String) throws -> Int64 {
        guard case .instant(let time)? = TimeExpression(text) else {
            throw Problem(.invalidParameter, text)
        }
        return time / 1_000_000
    }

    @Test(
        "a period is the local day, week or month, whatever the clocks do",
        arguments: [
            ("day", "Europe/Berlin", "2026-03-29T12:00:00+02:00", "2026-03-29T00:00:00+01:00", 23),
            ("day", "Europe/Berlin", "2026-10-25T00:00:00+02:00", "2026-10-25T00:00:00+02:00", 25),
            (
                "week", "Europe/Berlin", "2026-03-29T23:59:59+02:00", "2026-03-23T00:00:00+01:00",
                167
            ),
            (
                "month", "Europe/Berlin", "2026-03-01T00:00:00+01:00", "2026-03-01T00:00:00+01:00",
                743
            ),
            ("month", "UTC", "2024-02-29T23:59:59Z", "2024-02-01T00:00:00Z", 29 * 24),
            ("week", "UTC", "2026-03-01T23:59:59Z", "2026-02-23T00:00:00Z", 168),
            // The clocks go forward at midnight: the day begins at one o'clock.
            (
                "day", "America/Santiago", "2026-09-06T12:00:00-03:00", "2026-09-06T01:00:00-03:00",
                23
            ),
            // The thirtieth of December 2011 is not there.
            (
                "month", "Pacific/Apia", "2011-12-31T12:00:00+14:00", "2011-12-01T00:00:00-10:00",
                720
            ),
        ]
    )
    func table(_ period: String, _ zone: String, _ at: String, _ start: String, _ hours: Int) throws
    {
        let kind = try #require(Meter.Period(rawValue: period))
        let found = try #require(kind.containing(try Self.seconds(at), zoneName: zone))
        #expect(found.start == (try Self.seconds(start)))
        #expect(found.end - found.start == Int64(hours) * 3_600)
    }

    @Test("half an hour of daylight saving makes days of 23.5 and 24.5 hours")
    func lordHowe() throws {
        let zone = "Australia/Lord_Howe"
        let autumn = try #require(
            Meter.Period.day.containing(
                try Self.seconds("2026-04-05T12:00:00+10:30"),
                zoneName: zone
            )
        )
        #expect(autumn.end - autumn.start == 88_200)
        let spring = try #require(
            Meter.Period.day.containing(
                try Self.seconds("2026-10-04T12:00:00+11:00"),
                zoneName: zone
            )
        )
        #expect(spring.end - spring.start == 84_600)
    }

    @Test("periods follow one another without hole or overlap, and each time lies in its own")
    func tiling() throws {
        let start = try Self.seconds("2025-01-01T00:00:00Z")
        let end = try Self.seconds("2027-01-01T00:00:00Z")
        for zone in [
            "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu",
            "America/Santiago", "Africa/Casablanca", "Pacific/Chatham",
        ] {
            for kind in Meter.Period.allCases {
                var at = start
                while at < end {
                    let period = try #require(kind.containing(at, zoneName: zone))
                    #expect(period.start <= at && at < period.end, "\(zone) \(kind) \(at)")
                    #expect(kind.containing(period.end - 1, zoneName: zone) == period)
                    let next = try #require(kind.containing(period.end, zoneName: zone))
                    #expect(next.start == period.end, "\(zone) \(kind) \(at)")
                    #expect(period.start % 900 == 0)
                    at = period.end
                }
            }
        }
    }

    @Test("what cannot be counted is named with its key")
    func problems() {
        func keys(_ meter: Meter) -> [String] { meter.problems.map(\.key) }
        #expect(keys(Meter(name: "a", aggregate: .count)).isEmpty)
        #expect(keys(Meter(name: "a", aggregate: .count, field: .bytesIn)) == ["field"])
        #expect(keys(Meter(name: "a", aggregate: .sum)) == ["aggregate"])
        #expect(keys(Meter(name: "a", aggregate: .max, field: .bytesOut)) == ["field"])
        #expect(
            keys(
                Meter(
                    name: "a",
                    aggregate: .count,
                    filters: ["api:eq:a", "nothing:eq:a", "api"],
                    zoneName: "Europe/Nowhere"
                )
            ) == ["timezone", "filter[1]", "filter[2]"]
        )
        let meter = Meter(name: "a", aggregate: .count, filters: ["method:eq:GET", "plan:eq:gold"])
        #expect(meter.dimensionsOfRecords == ["method"])
    }
}

/// Meters over a real database, against the records themselves.
@Suite("Meters", .timeLimit(.minutes(15)))
struct MeterTests {
    private static let zone = "Europe/Berlin"
    /// 2026-03-28T00:00:00+01:00, and four local days later; the second has 23 hours.
    private static let from: Int64 = 1_774_652_400
    private static let to: Int64 = from + 95 * 3_600
    private static let starts = [from, from + 86_400, from + 169_200, from + 255_600, to]

    private static func meters() -> [Meter] {
        func meter(
            _ name: String,
            _ aggregate: Meter.Aggregate,
            _ field: Meter.Field? = nil,
            _ filters: [String] = []
        ) -> Meter {
            Meter(
                name: name,
                aggregate: aggregate,
                field: field,
                filters: filters,
                period: .day,
                zoneName: zone,
                firstDay: 20_540
            )
        }
        return [
            meter("calls", .count), meter("gold", .count, nil, ["plan:eq:gold", "api:nin:öre"]),
            meter("traffic", .sum, .bytesOut), meter("work", .sum, .latency),
            meter("slowest", .max, .latency), meter("keys", .unique, .key),
            meter("failures", .count, nil, ["status_class:in:4xx,5xx"]),
        ]
    }

    /// What a meter counts of some records, said as plainly as possible.
    private static func quantity(_ name: String, _ records: [RequestRecord]) -> Int64 {
        let latencies = records.compactMap(\.durationUS).map { Int64($0) }
        switch name {
        case "calls": return Int64(records.count)
        case "gold": return Int64(records.count { $0.plan == "gold" && $0.api != "öre" })
        case "traffic": return records.reduce(0) { $0 + Int64($1.responseBytes) }
        case "work": return latencies.reduce(0, +)
        case "slowest": return latencies.max() ?? 0
        case "keys": return Int64(Set(records.map(\.keyID)).subtracting([""]).count)
        default: return Int64(records.count { (400...599).contains($0.status ?? 0) })
        }
    }

    /// Whom a row belongs to, and which period.
    private struct Place: Hashable {
        var start: Int64
        var org: String
        var application: String
    }

    private static func expected(_ name: String, _ records: [RequestRecord]) -> [Place: Int64] {
        var groups: [Place: [RequestRecord]] = [:]
        for record in records {
            let second = record.completedAt / 1_000_000
            guard let index = starts.lastIndex(where: { $0 <= second }) else { continue }
            let place = Place(
                start: starts[index],
                org: record.org,
                application: record.application
            )
            groups[place, default: []].append(record)
        }
        return groups.mapValues { quantity(name, $0) }.filter { $0.value != 0 }
    }

    /// The rows of a meter: place, revision, quantity and correction.
    private static func rows(
        _ name: String,
        _ connection: PostgresConnection
    ) throws -> [(place: Place, revision: Int64, quantity: Int64, correction: Int64)] {
        let found = try connection.query(
            """
            SELECT extract(epoch FROM starts_at)::int8, coalesce(org, ''),
              coalesce(application, ''), revision::int8, quantity, correction
            FROM sluice.meter_amount WHERE meter = $1::text ORDER BY 1, 2, 3, 4
            """,
            [.text(name)]
        )
        return (0..<found.rowCount).map { row in
            (
                Place(
                    start: found.int(row, 0) ?? 0,
                    org: found.text(row, 1) ?? "",
                    application: found.text(row, 2) ?? ""
                ), found.int(row, 3) ?? 0, found.int(row, 4) ?? 0, found.int(row, 5) ?? 0
            )
        }
    }

    private static func closer(_ fixture: Fixture, _ meters: [Meter]) -> MeterCloser {
        var logger = Logger(label: "meter.tests")
        logger.logLevel = .critical
        return MeterCloser(
            meters,
            postgresURI: fixture.uri,
            metrics: MetricsRegistry(),
            logger: logger
        )
    }

    /// Whether a pass finds nothing to do.
    private static func isIdle(_ closer: MeterCloser) async throws -> Bool {
        let pass = try await closer.pass()
        return pass.revisions.isEmpty && pass.problems.isEmpty && !pass.isBusy
    }

    /// Lets everything be counted up to a time (Unix seconds), by an open log's heartbeat.
    private static func complete(to time: Int64, _ owner: PostgresConnection) throws {
        try owner.query(
            """
            INSERT INTO sluice.log (log_id, heartbeat_at, last_folded_at)
            VALUES ('00000000-0000-4000-8000-000000000001', $1, now())
            ON CONFLICT (log_id) DO UPDATE SET heartbeat_at = $1, last_folded_at = now()
            """,
            [.timestamp(time * 1_000_000)]
        )
    }

    @Test("closed periods equal the records, corrections the late ones; what was billed stays")
    func revisions() async throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        Attachment.record("\(seed)", named: "seed")
        let model = RecordModel(seed: seed, count: 600, from: Self.from, to: Self.to)
        let (early, late) = (Array(model.records.prefix(400)), Array(model.records.dropFirst(400)))
        try await Fixture.with { fixture in
            let owner = try PostgresConnection(fixture.uri, applicationName: "owner")
            let closer = Self.closer(fixture, Self.meters())
            try fixture.insert(early, asDeltas: false)
            try owner.execute(
                """
                INSERT INTO sluice.source (generation, log_id, folded)
                VALUES (1, '00000000-0000-4000-8000-000000000001', '{[0,400)}')
                """
            )
            // One second is missing of the third day's grace.
            try Self.complete(to: Self.starts[3] + 3_599, owner)
            let first = try await closer.pass()
            #expect(first.problems.isEmpty && !first.isBusy)
            #expect(first.revisions.count == 2 * Self.meters().count)
            #expect(first.revisions.allSatisfy { $0.revision == 1 })
            try Self.complete(to: Self.to + 3_600, owner)
            #expect(try await closer.pass().revisions.count == 2 * Self.meters().count)
            #expect(try await Self.isIdle(closer))
            var billed: [String: [Place: Int64]] = [:]
            for meter in Self.meters() {
                let rows = try Self.rows(meter.name, owner)
                billed[meter.name] = Dictionary(
                    uniqueKeysWithValues: rows.map { ($0.place, $0.quantity) }
                )
                #expect(billed[meter.name] == Self.expected(meter.name, early), "\(meter.name)")
                #expect(rows.allSatisfy { $0.revision == 1 && $0.correction == 0 })
            }
            let digest =
                "SELECT md5(string_agg(a::text, '|' ORDER BY a::text)) FROM sluice.meter_amount a "
                + "WHERE revision = 1"
            let before = try owner.query(digest).text(0, 0)

            // Late records come, in two lots.
            for (lot, records) in [late.prefix(100), late.dropFirst(100)].enumerated() {
                try fixture.insert(Array(records), asDeltas: true)
                try owner.execute(
                    "UPDATE sluice.source SET folded = '{[0,\(lot == 0 ? 500 : 600))}'"
                )
                let pass = try await closer.pass()
                #expect(pass.problems.isEmpty)
                #expect(pass.revisions.count { $0.meter == "calls" } == 4)
                #expect(pass.revisions.allSatisfy { $0.revision > 1 })
                #expect(try await Self.isIdle(closer))
            }
            #expect(try owner.query(digest).text(0, 0) == before)
            for meter in Self.meters() {
                let wanted = Self.expected(meter.name, model.records)
                var latest: [Place: Int64] = [:]
                var corrections: [Place: Int64] = [:]
                for row in try Self.rows(meter.name, owner) {
                    latest[row.place] = row.quantity
                    corrections[row.place, default: 0] += row.correction
                    #expect(row.revision == 1 || row.correction != 0)
                }
                #expect(latest == wanted, "\(meter.name)")
                for (place, quantity) in wanted {
                    let first = billed[meter.name]?[place] ?? 0
                    #expect(corrections[place] == quantity - first, "\(meter.name) \(place)")
                }
            }
            // Which records each revision has counted can be read back.
            let sizes = try owner.query(
                """
                SELECT r.revision::int8, max(upper(s.folded)) FROM sluice.meter_revision r
                JOIN LATERAL (
                  SELECT folded FROM sluice.meter_source s WHERE s.revision_id <= r.id
                  ORDER BY s.revision_id DESC LIMIT 1) s ON true
                WHERE r.meter = 'calls' GROUP BY 1 ORDER BY 1
                """
            )
            #expect((0..<sizes.rowCount).map { sizes.int($0, 1) } == [400, 500, 600])
        }
    }

    @Test("what was billed can be neither changed nor removed")
    func immutable() async throws {
        try await Fixture.with { fixture in
            let owner = try PostgresConnection(fixture.uri, applicationName: "owner")
            let model = RecordModel(seed: 1, count: 50, from: Self.from, to: Self.to)
            try fixture.insert(model.records, asDeltas: true)
            try Self.complete(to: Self.to + 3_600, owner)
            #expect(try await Self.closer(fixture, Self.meters()).pass().problems.isEmpty)
            for table in ["meter_amount", "meter_revision", "meter_definition"] {
                for sql in [
                    "UPDATE sluice.\(table) SET meter = 'x'", "DELETE FROM sluice.\(table)",
                    "TRUNCATE sluice.\(table) CASCADE",
                ] {
                    #expect(throws: PostgresError.self, "\(sql)") { try owner.execute(sql) }
                }
            }
        }
    }

    @Test("a closed period keeps its definition; period and zone of a meter cannot change")
    func definitions() async throws {
        try await Fixture.with { fixture in
            let owner = try PostgresConnection(fixture.uri, applicationName: "owner")
            let model = RecordModel(seed: 2, count: 200, from: Self.from, to: Self.to)
            try fixture.insert(Array(model.records.prefix(100)), asDeltas: true)
            try Self.complete(to: Self.starts[2] + 3_600, owner)
            var meter = Self.meters()[0]
            _ = try await Self.closer(fixture, [meter]).pass()
            meter.filters = ["plan:eq:gold"]
            try fixture.insert(Array(model.records.dropFirst(100)), asDeltas: true)
            try Self.complete(to: Self.to + 3_600, owner)
            let pass = try await Self.closer(fixture, [meter]).pass()
            #expect(pass.problems.isEmpty)
            var latest: [Place: Int64] = [:]
            for row in try Self.rows("calls", owner) { latest[row.place] = row.quantity }
            let all = Self.expected("calls", model.records)
            let gold = Self.expected("calls", model.records.filter { $0.plan == "gold" })
            let changed = Self.starts[2]
            #expect(
                latest
                    == all.filter { $0.key.start < changed }
                    .merging(gold.filter { $0.key.start >= changed }) { first, _ in first }
            )
            meter.zoneName = "UTC"
            let refused = try await Self.closer(fixture, [meter, Self.meters()[1]]).pass()
            #expect(refused.problems.count == 1)
            #expect(refused.problems.first?.contains("cannot change") == true)
            // The other meter is not held up.
            #expect(refused.revisions.count == 4)
        }
    }

    @Test("only one process closes at a time, and dropped rollups are no corrections")
    func exclusive() async throws {
        try await Fixture.with { fixture in
            let owner = try PostgresConnection(fixture.uri, applicationName: "owner")
            let model = RecordModel(seed: 3, count: 100, from: Self.from, to: Self.to)
            try fixture.insert(model.records, asDeltas: true)
            try Self.complete(to: Self.to + 3_600, owner)
            let lock: Int64 = 0x6D65_7465_7273
            try owner.query("SELECT pg_advisory_lock($1)", [.int(lock)])
            let closer = Self.closer(fixture, Self.meters())
            #expect(try await closer.pass().isBusy)
            try owner.query("SELECT pg_advisory_unlock($1)", [.int(lock)])
            #expect(try await closer.pass(["calls"]).revisions.count == 4)
            let count = "SELECT count(*) FROM sluice.meter_amount"
            let before = try owner.query(count).int(0, 0)
            try owner.execute("TRUNCATE sluice_g1.total_delta, sluice_g1.consumer_delta")
            let pass = try await closer.pass(["calls"])
            #expect(pass.revisions.isEmpty)
            #expect(pass.problems.first?.contains("fewer requests") == true)
            #expect(try owner.query(count).int(0, 0) == before)
        }
    }

    @Test("each token sees its own amounts and no meter that is not its own")
    func scopes() async throws {
        try await Fixture.with { fixture in
            let owner = try PostgresConnection(fixture.uri, applicationName: "owner")
            let model = RecordModel(seed: 4, count: 200, from: Self.from, to: Self.to)
            try fixture.insert(model.records, asDeltas: true)
            try Self.complete(to: Self.to + 3_600, owner)
            var theirs = Self.meters()[0]
            theirs.name = "theirs"
            theirs.filters = ["org:eq:globex"]
            let pass = try await Self.closer(fixture, Self.meters() + [theirs]).pass()
            #expect(pass.problems.isEmpty)
            let api = fixture.api()
            func get(_ path: String, _ query: String, _ bearer: String) async throws -> Answer {
                try Answer(
                    await api.respond(
                        APIRequest("GET", path, query: query, authorization: bearer)
                    )
                )
            }
            let admin = try await fixture.authorization(.admin)
            let acme = try await fixture.authorization(.org("acme"))
            let shop = try await fixture.authorization(
                .application(org: "acme", application: "shop")
            )
            func names(_ bearer: String) async throws -> [String] {
                let list = try await get("/v1/meters", "", bearer).object["meters"]
                return (list as? [[String: Any]])?.compactMap { $0["name"] as? String } ?? []
            }
            #expect(try await names(admin).count == 8)
            for bearer in [acme, shop] {
                #expect(try await names(bearer) == Self.meters().map(\.name).sorted())
                #expect(try await get("/v1/meters/theirs", "", bearer).status == 404)
                let list = try await get("/v1/meters", "", bearer).object["meters"]
                #expect((list as? [[String: Any]])?.contains { $0["filter"] != nil } == false)
            }
            let calls = try await get("/v1/meters/calls", "", admin).rows
            #expect(calls.count == Self.expected("calls", model.records).count)
            let mine = try await get("/v1/meters/calls", "revision=all", acme).rows
            #expect(!mine.isEmpty && mine.allSatisfy { $0["org"] as? String == "acme" })
            let own = try await get("/v1/meters/work", "", shop).rows
            let mineAlone = model.records.filter { $0.org == "acme" && $0.application == "shop" }
            #expect(own.count == Self.expected("work", mineAlone).count)
            for row in own {
                #expect(row["application"] as? String == "shop")
                #expect(row["org"] as? String == "acme")
                #expect(row["unit"] as? String == "seconds")
            }
            let total = own.compactMap { $0["quantity"] as? Double }.reduce(0, +)
            let wanted = Self.quantity("work", mineAlone)
            #expect(abs(total - Double(wanted) / 1e6) < 1e-6)
            for query in ["x=1", "revision=0", "revision=first", "from=yesterday", "format=xml"] {
                #expect(try await get("/v1/meters/calls", query, shop).status == 400, "\(query)")
            }
            #expect(try await get("/v1/meters/nothing", "", admin).status == 404)
            #expect(try await get("/v1/meters/", "", admin).status == 404)
            #expect(try await get("/v1/meters", "x=1", admin).status == 400)
        }
    }

    @Test("open periods show what each token's applications have used so far, and what is left")
    func open() async throws {
        try await Fixture.with { fixture in
            let owner = try PostgresConnection(fixture.uri, applicationName: "owner")
            let records = RecordModel(seed: 6, count: 400, from: Self.from, to: Self.starts[3])
                .records
            try fixture.insert(records, asDeltas: true)
            let now = Double(Self.starts[2] + 36_000)
            fixture.clock.advance(seconds: now - Double(Fixture.now) / 1e6)
            var theirs = Self.meters()[0]
            theirs.name = "theirs"
            theirs.filters = ["org:eq:globex"]
            var uncounted = Self.meters()[0]
            uncounted.name = "uncounted"
            uncounted.filters = ["method:eq:GET"]
            let meters = Self.meters() + [theirs, uncounted]
            let api = fixture.api {
                $0.meters = meters
                $0.quotas = ["calls": 10, "work": 0.5]
            }
            func list(_ query: String, _ bearer: String) async throws -> Answer {
                try Answer(
                    await api.respond(
                        APIRequest("GET", "/v1/meters", query: query, authorization: bearer)
                    )
                )
            }
            let scopes: [(TokenScope, (RequestRecord) -> Bool)] = [
                (.admin, { _ in true }), (.org("acme"), { $0.org == "acme" }),
                (
                    .application(org: "acme", application: "shop"),
                    { $0.org == "acme" && $0.application == "shop" }
                ),
            ]
            /// All open periods of all meters against the records that the scope may see.
            func check(_ periods: Set<Int64>) async throws {
                for (scope, isOwn) in scopes {
                    let answer = try await list("open=true", try await fixture.authorization(scope))
                    #expect(answer.status == 200)
                    var seen: Set<String> = []
                    for meter in try #require(answer.object["meters"] as? [[String: Any]]) {
                        let name = try #require(meter["name"] as? String)
                        seen.insert(name)
                        #expect(meter["quota"] as? Double == ["calls": 10, "work": 0.5][name])
                        guard let open = meter["open"] as? [[String: Any]] else { continue }
                        guard name != "theirs" else { continue }
                        let found = try Self.places(open, meter["unit"] as? String == "seconds")
                        let wanted = Self.expected(name, records.filter(isOwn))
                        #expect(
                            found == wanted.filter { periods.contains($0.key.start) },
                            "\(name) of \(scope)"
                        )
                    }
                    let own = Set(Self.meters().map(\.name))
                    let all = own.union(["theirs", "uncounted"])
                    #expect(seen == (scope == .admin ? all : own), "\(scope)")
                }
            }
            // Before anything is closed, meters are known by what was used.
            try await check([Self.starts[2]])
            try Self.complete(to: Self.starts[1] + 3_600, owner)
            #expect(try await Self.closer(fixture, Self.meters()).pass().problems.isEmpty)
            try await check([Self.starts[1], Self.starts[2]])
            let admin = try await fixture.authorization(.admin)
            for query in ["open=yes", "open=", "filter=api:eq:x", "open=true&open=true"] {
                #expect(try await list(query, admin).status == 400, "\(query)")
            }
            let plain = try await list("", admin).object["meters"] as? [[String: Any]]
            #expect(plain?.contains { $0["open"] != nil || $0["quota"] != nil } == false)
        }
    }

    /// Quantities of open periods by place; checks what is left of the quota of `calls`.
    private static func places(
        _ open: [[String: Any]],
        _ isDuration: Bool
    ) throws -> [Place: Int64] {
        var places: [Place: Int64] = [:]
        for period in open {
            let text = try #require(period["period_start"] as? String)
            let start = try #require(ISO8601DateFormatter().date(from: text))
            for row in try #require(period["rows"] as? [[String: Any]]) {
                let quantity = try #require(row["quantity"] as? Double)
                let place = Place(
                    start: Int64(start.timeIntervalSince1970),
                    org: row["org"] as? String ?? "",
                    application: row["application"] as? String ?? ""
                )
                places[place] = Int64((quantity * (isDuration ? 1e6 : 1)).rounded())
                if let left = row["left"] as? Double {
                    #expect(!place.application.isEmpty)
                    #expect(left == max(0, (isDuration ? 0.5 : 10) - quantity))
                }
            }
        }
        return places
    }

    @Test("the CSV has a line per application and period, with the zone's own offsets")
    func export() async throws {
        try await Fixture.with { fixture in
            let owner = try PostgresConnection(fixture.uri, applicationName: "owner")
            var record = RequestRecord(kind: .request)
            record.completedAt = (Self.starts[1] + 10) * 1_000_000
            record.org = "acme"
            record.application = "a,b"
            record.api = "orders"
            record.durationUS = 1_500_000
            try fixture.insert([record], asDeltas: true)
            try Self.complete(to: Self.to + 3_600, owner)
            _ = try await Self.closer(fixture, Self.meters()).pass()
            let reply = await fixture.api().respond(
                APIRequest(
                    "GET",
                    "/v1/meters/work",
                    query: "format=csv&from=2026-03-29&to=2026-03-30&tz=Europe/Berlin",
                    authorization: try await fixture.authorization(.admin)
                )
            )
            let lines = String(decoding: reply.body, as: UTF8.self)
                .split(separator: "\r\n").map(String.init)
            let header =
                "application,org,meter,period_start,period_end,tz,revision,quantity,unit,"
                + "correction,estimate,made_at"
            #expect(lines.first == header)
            #expect(lines.count == 2)
            #expect(
                lines.last?.hasPrefix(
                    "\"a,b\",acme,work,2026-03-29T00:00:00+01:00,2026-03-30T00:00:00+02:00,"
                        + "Europe/Berlin,1,1.500000,seconds,0.000000,no,"
                ) == true
            )
        }
    }
}
