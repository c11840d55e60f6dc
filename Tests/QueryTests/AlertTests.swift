import Foundation
import Logging
import Postgres
import Query
import Records
import Synchronization
import Telemetry
import Testing

/// The decisions of alert rules, and signatures; without a database.
@Suite("Alert rules")
struct AlertRuleTests {
    @Test("nobody hears before it was wrong for long enough, then once, and once that it is over")
    func trace() {
        let second: Int64 = 1_000_000
        var state = AlertState(.normal, since: 0)
        func take(_ isMet: Bool, _ at: Int64) -> String {
            state.take(isMet: isMet, now: at * second, hold: .seconds(60))?.rawValue ?? "-"
        }
        #expect(take(false, 10) == "-")
        #expect(take(true, 20) == "-")
        #expect(state == AlertState(.pending, since: 20 * second))
        #expect(take(true, 79) == "-")
        #expect(take(false, 80) == "-")
        #expect(state.phase == .normal)
        #expect(take(true, 90) == "-")
        #expect(take(true, 150) == "firing")
        #expect(take(true, 151) == "-")
        #expect(take(true, 1_000) == "-")
        #expect(state == AlertState(.firing, since: 150 * second))
        #expect(take(false, 1_001) == "resolved")
        #expect(take(false, 1_002) == "-")
    }

    @Test(
        "without a time to wait for, it fires at once; a clock set back does not stop it for ever"
    )
    func clocks() {
        var state = AlertState(.normal, since: 0)
        #expect(state.take(isMet: true, now: 5, hold: .zero) == .firing)
        state = AlertState(.normal, since: 0)
        #expect(state.take(isMet: true, now: 1_000_000_000, hold: .seconds(60)) == nil)
        // Set back by a quarter of an hour: counted from then on.
        #expect(state.take(isMet: true, now: 100_000_000, hold: .seconds(60)) == nil)
        #expect(state.take(isMet: true, now: 160_000_000, hold: .seconds(60)) == .firing)
    }

    @Test("what is not known is on no side of the threshold")
    func comparison() {
        #expect(AlertRule.Comparison.above.isMet(0.06, 0.05))
        #expect(!AlertRule.Comparison.above.isMet(0.05, 0.05))
        #expect(AlertRule.Comparison.below.isMet(0, 1))
        #expect(!AlertRule.Comparison.above.isMet(nil, 0))
        #expect(!AlertRule.Comparison.below.isMet(nil, 0))
    }

    @Test("the signature is the HMAC-SHA256 of time, full stop and body")
    func signature() {
        let webhook = Webhook(name: "a", url: "http://localhost/", secret: "0123456789abcdef")
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac 0123456789abcdef
        #expect(
            webhook.signature(Array(#"{"a":1}"#.utf8), at: 1_700_000_000)
                == "t=1700000000,v1="
                + "9eb18f493f8ec135d9eb2dad817c369bb4e9cbfa818657897a7437c1cd8c3a23"
        )
    }
}

/// Alert rules over a real database.
@Suite("Alerts", .timeLimit(.minutes(15)))
struct AlertTests {
    private static let hook = Webhook(
        name: "ops",
        url: "http://localhost/hook",
        secret: "0123456789abcdef"
    )

    /// Takes what is sent, and answers as told.
    private final class Receiver: Sendable {
        private struct State {
            var requests: [WebhookRequest] = []
            var answer = WebhookAnswer.status(204)
        }

        private let state = Mutex(State())

        /// The statuses and rules of the events that came.
        var events: [String] {
            state.withLock { state in
                state.requests.map { request in
                    let object = try? JSONSerialization.jsonObject(with: Data(request.body))
                    let event = object as? [String: Any] ?? [:]
                    let application = (event["application"] as? String).map { " " + $0 } ?? ""
                    return "\(event["rule"] ?? "") \(event["status"] ?? "")" + application
                }
            }
        }

        var requests: [WebhookRequest] { state.withLock { $0.requests } }

        func answer(_ answer: WebhookAnswer) { state.withLock { $0.answer = answer } }

        func take(_ request: WebhookRequest) -> WebhookAnswer {
            state.withLock { state in
                state.requests.append(request)
                return state.answer
            }
        }
    }

    private static func checker(
        _ fixture: Fixture,
        _ rules: [AlertRule],
        _ receiver: Receiver,
        attemptsMax: Int = 3
    ) -> AlertChecker {
        var logger = Logger(label: "alert.tests")
        logger.logLevel = .critical
        var retries = AlertChecker.Retries()
        retries.delay = .zero
        retries.attemptsMax = attemptsMax
        return AlertChecker(
            rules,
            webhooks: [hook],
            postgresURI: fixture.uri,
            retries: retries,
            metrics: MetricsRegistry(),
            logger: logger
        ) { request in receiver.take(request) }
    }

    /// Records that completed a minute ago by the database's clock.
    private static func records(
        _ count: Int,
        status: UInt32,
        application: String = "shop",
        _ owner: PostgresConnection
    ) throws -> [RequestRecord] {
        let now = try owner.query("SELECT now()").timestamp(0, 0) ?? 0
        return (0..<count).map { _ in
            var record = RequestRecord(kind: .request)
            record.completedAt = now - 60_000_000
            record.org = "acme"
            record.application = application
            record.api = "orders"
            record.status = status
            record.durationUS = 250_000
            return record
        }
    }

    @Test("a rule fires once over restarts, is resolved once, and each event is told")
    func lifecycle() async throws {
        try await Fixture.with { fixture in
            let owner = try PostgresConnection(fixture.uri, applicationName: "owner")
            let receiver = Receiver()
            let rules = [
                AlertRule(
                    name: "errors",
                    measure: .metric(.errorRate),
                    filters: ["api:eq:orders"],
                    window: .seconds(1_800),
                    threshold: 0.5,
                    webhooks: ["ops"]
                ),
                AlertRule(
                    name: "slow",
                    measure: .metric(.latencyP99),
                    window: .seconds(1_800),
                    threshold: 1,
                    webhooks: ["ops"]
                ),
                AlertRule(
                    name: "silent",
                    measure: .metric(.requests),
                    window: .seconds(1_800),
                    comparison: .below,
                    threshold: 1
                ),
            ]
            func round() async throws -> [String] {
                // A new checker each time, as after a restart.
                let checker = Self.checker(fixture, rules, receiver)
                let round = try await checker.check()
                #expect(round.problems.isEmpty && !round.isBusy)
                try await checker.deliver()
                return round.events
            }
            #expect(try await round() == ["silent firing"])
            try fixture.insert(try Self.records(4, status: 500, owner), asDeltas: true)
            #expect(try await round() == ["errors firing", "silent resolved"])
            #expect(try await round().isEmpty)
            #expect(receiver.events == ["errors firing"])
            try fixture.insert(try Self.records(6, status: 200, owner), asDeltas: true)
            #expect(try await round() == ["errors resolved"])
            #expect(try await round().isEmpty)
            #expect(receiver.events == ["errors firing", "errors resolved"])
            let request = try #require(receiver.requests.first)
            let header = request.headers.first { $0.name == Webhook.signatureHeader }?.value ?? ""
            let time = Int64(header.dropFirst(2).prefix { $0 != "," }) ?? 0
            #expect(header == Self.hook.signature(request.body, at: time))
            let listed = try AlertTable(owner).list()
            #expect(listed.map(\.rule) == ["errors", "silent", "slow"])
            #expect(listed.allSatisfy { $0.state == "ok" && $0.owed == 0 })
            #expect(listed.first?.value == 0.4)
        }
    }

    @Test("a webhook that fails is told again in order, until it is given up")
    func retries() async throws {
        try await Fixture.with { fixture in
            let receiver = Receiver()
            let rule = AlertRule(
                name: "silent",
                measure: .metric(.requests),
                window: .seconds(1_800),
                comparison: .below,
                threshold: 1,
                webhooks: ["ops"]
            )
            let owner = try PostgresConnection(fixture.uri, applicationName: "owner")
            let checker = Self.checker(fixture, [rule], receiver, attemptsMax: 4)
            receiver.answer(.failed("connection refused"))
            #expect(try await checker.check().events == ["silent firing"])
            #expect(try await checker.deliver() == 0)
            try fixture.insert(try Self.records(1, status: 200, owner), asDeltas: true)
            #expect(try await checker.check().events == ["silent resolved"])
            receiver.answer(.status(500))
            #expect(try await checker.deliver() == 0)
            #expect(try AlertTable(owner).list().first?.owed == 2)
            receiver.answer(.status(200))
            #expect(try await checker.deliver() == 2)
            #expect(try await checker.deliver() == 0)
            #expect(
                receiver.events == [
                    "silent firing", "silent firing", "silent firing", "silent resolved",
                ]
            )
            let ids = receiver.requests.map {
                $0.headers.first { $0.name == "Sluice-Event" }?.value
            }
            #expect(ids[0] == ids[1] && ids[1] == ids[2] && ids[2] != ids[3])

            // Somebody who never answers is given up after the last attempt.
            receiver.answer(.status(503))
            try owner.execute("TRUNCATE sluice_g1.summary_delta, sluice_g1.total_delta")
            #expect(try await checker.check().events == ["silent firing"])
            for _ in 0..<6 { #expect(try await checker.deliver() == 0) }
            #expect(receiver.events.count == 4 + 4)
            let given = try owner.query(
                "SELECT attempts::int8 FROM sluice.alert_delivery WHERE given_up_at IS NOT NULL"
            )
            #expect(given.rowCount == 1 && given.int(0, 0) == 4)
        }
    }

    @Test("a quota is watched for each application, freshness and lag for all together")
    func measures() async throws {
        try await Fixture.with { fixture in
            let owner = try PostgresConnection(fixture.uri, applicationName: "owner")
            let receiver = Receiver()
            let meter = Meter(name: "calls", aggregate: .count, period: .month)
            let rules = [
                AlertRule(
                    name: "quota",
                    measure: .quota(meter, limit: 10),
                    threshold: 0.8,
                    webhooks: ["ops"]
                ),
                AlertRule(
                    name: "stale",
                    measure: .freshness,
                    threshold: 300,
                    webhooks: ["ops"]
                ),
                AlertRule(name: "behind", measure: .lag, threshold: 99, webhooks: ["ops"]),
            ]
            let checker = Self.checker(fixture, rules, receiver)
            func round() async throws -> [String] {
                let round = try await checker.check()
                #expect(round.problems.isEmpty)
                return round.events
            }
            // Counted in the middle of this month, whatever the day is.
            let time =
                try owner.query(
                    "SELECT date_trunc('month', now(), 'UTC') + interval '1 minute'"
                ).timestamp(0, 0) ?? 0
            func insert(_ count: Int, _ application: String) throws {
                var records = try Self.records(count, status: 200, application: application, owner)
                for index in records.indices { records[index].completedAt = time }
                try fixture.insert(records, asDeltas: true)
            }
            #expect(try await round().isEmpty)
            try insert(8, "shop")
            try insert(9, "a/b")
            #expect(try await round() == ["quota firing acme/a%2Fb"])
            try insert(1, "shop")
            #expect(try await round() == ["quota firing acme/shop"])
            try owner.execute(
                """
                INSERT INTO sluice.log (log_id, heartbeat_at, last_folded_at, next_offset)
                VALUES (gen_random_uuid(), now() - interval '10 minutes', now(), 100)
                """
            )
            #expect(try await round() == ["stale firing", "behind firing"])
            try owner.execute("UPDATE sluice.log SET heartbeat_at = now(), next_offset = 10")
            #expect(try await round() == ["stale resolved", "behind resolved"])
            try await checker.deliver()
            #expect(
                Set(receiver.events) == [
                    "quota firing a/b", "quota firing shop", "stale firing", "behind firing",
                    "stale resolved", "behind resolved",
                ]
            )
            // A month without requests.
            try owner.execute("TRUNCATE sluice_g1.consumer_delta")
            #expect(
                try await round() == ["quota resolved acme/a%2Fb", "quota resolved acme/shop"]
            )
        }
    }
}
