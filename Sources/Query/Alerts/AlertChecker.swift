package import Logging
import Postgres
package import Telemetry

/// What came of checking all rules once.
package struct AlertRound: Equatable, Sendable {
    /// Events, as `rule firing`, in order.
    package var events: [String] = []
    /// Rules that could not be checked, as sentences.
    package var problems: [String] = []
    /// Whether another process is at it, so that nothing was checked.
    package var isBusy = false
}

/// Checks alert rules, one process at a time, and tells webhooks what happened.
///
/// State, event and the deliveries owed are written in one transaction, so that a restart at any
/// instant neither tells twice that something fires nor forgets to. A delivery itself is made at
/// least once: killed between sending and noting it, the event is sent again with the same id.
package final class AlertChecker: Sendable {
    /// How deliveries that fail are tried again.
    package struct Retries: Sendable {
        /// Wait before the second attempt; doubled for each further one.
        package var delay = Duration.seconds(1)
        /// Longest wait. Chosen.
        package var delayMax = Duration.seconds(600)
        /// Attempts after which an event is given up; chosen: about two hours.
        package var attemptsMax = 20

        /// The defaults.
        package init() {}
    }

    /// Key of the advisory lock: "alerts" in ASCII.
    private static let lockKey: Int64 = 0x616C_6572_7473

    /// Most deliveries to one webhook in one round; chosen.
    private static let deliveriesMax = 100

    /// Rounds between two deletions of old events.
    private static let roundsPerDeletion = 1_000

    private let rules: [AlertRule]
    private let webhooks: [String: Webhook]
    private let retries: Retries
    private let send: WebhookSender
    private let client: PostgresClient
    private let engine = UsageEngine()
    private let logger: Logger
    private let fired: Counter
    private let failures: Counter
    private let delivered: Counter
    private let refused: Counter
    private let abandoned: Counter

    /// A checker of `rules` over the database at `postgresURI`, as the owner of its tables.
    package init(
        _ rules: [AlertRule],
        webhooks: [Webhook],
        postgresURI: String,
        retries: Retries = Retries(),
        metrics: MetricsRegistry,
        logger: Logger,
        send: @escaping WebhookSender
    ) {
        self.rules = rules
        self.webhooks = Dictionary(webhooks.map { ($0.name, $0) }) { first, _ in first }
        self.retries = retries
        self.send = send
        self.logger = logger
        client = PostgresClient(
            postgresURI,
            options: PostgresConnectionOptions(
                applicationName: "sluice alerts",
                connectTimeoutSeconds: 5,
                statementTimeoutMilliseconds: 60_000
            )
        ) { connection in
            try connection.execute("SET jit = off; SET work_mem = '32MB'")
        }
        fired = metrics.counter(
            "alert_events_total",
            help: "Alerts that began to fire or were resolved."
        )
        failures = metrics.counter(
            "alert_check_failures_total",
            help: "Alert rules that could not be checked."
        )
        let attempts = "Attempts to tell a webhook of an alert, by result."
        func result(_ name: String) -> Counter {
            metrics.counter("alert_deliveries_total", help: attempts, labels: [("result", name)])
        }
        delivered = result("delivered")
        refused = result("failed")
        abandoned = result("given_up")
    }

    /// Makes a round now and then until cancelled.
    package func run(every interval: Duration) async {
        guard !rules.isEmpty else { return }
        let work = PeriodicWork(failure: "alerts not checked", failures: failures, logger: logger)
        await work.run(every: interval) { rounds in
            if rounds % Self.roundsPerDeletion == 0 { try await deleteOld() }
            _ = try await check()
            try await deliver()
        }
        await client.close()
    }

    /// Checks every rule once, and notes what is to be told.
    package func check() async throws -> AlertRound {
        let round = try await client.run { connection in try self.check(connection) }
        fired.add(UInt64(round.events.count))
        for event in round.events { logger.notice("alert", metadata: ["event": "\(event)"]) }
        for problem in round.problems {
            failures.add()
            logger.error("alert_check_failed", metadata: ["problem": "\(problem)"])
        }
        return round
    }

    private func check(_ connection: PostgresConnection) throws(PostgresError) -> AlertRound {
        var round = AlertRound()
        let isDone = try connection.doAlone(Self.lockKey) { () throws(PostgresError) in
            try connection.query(
                "DELETE FROM sluice.alert_state WHERE NOT rule = ANY ($1::text[])",
                [.textArray(rules.map(\.name))]
            )
            for rule in rules {
                do throws(QueryFailure) {
                    round.events += try check(rule, AlertTable(connection))
                } catch {
                    connection.rollback()
                    if case .database(let cause) = error, !connection.isAlive { throw cause }
                    round.problems.append("alert \(rule.name): \(error.problem.detail)")
                }
            }
        }
        round.isBusy = !isDone
        return round
    }

    /// Measures, and writes down what follows; in one transaction.
    private func check(
        _ rule: AlertRule,
        _ table: AlertTable
    ) throws(QueryFailure) -> [String] {
        try table.transaction { () throws(QueryFailure) in
            let now = try table.now()
            let values = try measure(rule, now, table)
            var states = try table.states(of: rule.name)
            var told: [String] = []
            for subject in Set(values.keys).union(states.keys).sorted() {
                let value = values[subject] ?? nil
                let isMet = rule.comparison.isMet(value, rule.threshold)
                var state = states[subject] ?? AlertState(.normal, since: now)
                let event = state.take(isMet: isMet, now: now, hold: rule.hold)
                states[subject] = state
                // Of thousands of applications those that are well need no row.
                if subject.isEmpty || state.phase != .normal {
                    try table.store(rule.name, subject, state, value, now)
                } else {
                    try table.remove(rule.name, subject)
                }
                guard let event else { continue }
                let id = try table.nextEvent()
                let alert = AlertEvent(
                    id: "\(id)",
                    status: event.rawValue,
                    rule: rule,
                    owner: subject.isEmpty ? nil : MeterOwner(subject: subject),
                    value: value,
                    at: now
                )
                try table.insert(alert, number: id, subject)
                told.append(
                    "\(rule.name) \(event.rawValue)" + (subject.isEmpty ? "" : " \(subject)")
                )
            }
            return told
        }
    }

    /// What a rule measures: by subject, the empty one for the rule as a whole.
    private func measure(
        _ rule: AlertRule,
        _ now: Int64,
        _ table: AlertTable
    ) throws(QueryFailure) -> [String: Double?] {
        let freshness = try Freshness(table.connection)
        switch rule.measure {
        case .freshness:
            return ["": freshness.completeTo.map { max(0, Double(now - $0) / 1_000_000) }]
        case .lag: return ["": try table.pendingRecords()]
        case .metric(let metric):
            var request = UsageRequest(
                Meter(name: rule.name, aggregate: .count),
                from: (now - rule.window.microseconds) / 1_000_000,
                to: now / 1_000_000
            )
            request.metrics = [metric]
            for text in rule.filters {
                do throws(Problem) {
                    request.filters.append(try Filter(text))
                } catch { throw .problem(error) }
            }
            let rows = RowList()
            _ = try engine.read(request, freshness, table.connection, into: rows)
            let value = rows.rows.first?.metrics.first ?? metric.value(of: GroupMeasures())
            return ["": value.measured]
        case .quota(let meter, let limit):
            guard
                let period = meter.period.containing(now / 1_000_000, zoneName: meter.zoneName)
            else { return [:] }
            let count = try engine.count(meter, period, freshness, table.connection)
            let scale = meter.unit == "seconds" ? 1_000_000.0 : 1
            var values: [String: Double?] = [:]
            for (owner, quantity) in count.quantities where owner.application != nil {
                values[owner.subject] = Double(quantity) / scale / limit
            }
            return values
        }
    }

    /// Makes the deliveries that are due; returns how many succeeded. Each webhook hears events in
    /// order: one that could not be told of an event hears of no later one before.
    @discardableResult
    package func deliver() async throws -> Int {
        var successes = 0
        var failed: Set<String> = []
        for _ in 0..<Self.deliveriesMax {
            let excluded = failed
            let due = try await client.run { connection in
                try AlertTable(connection).claim(excluding: excluded)
            }
            if due.isEmpty { break }
            let results = try await withThrowingTaskGroup(of: (String, Bool).self) { group in
                for delivery in due {
                    group.addTask { (delivery.webhook, try await self.deliver(delivery)) }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            successes += results.count { $0.1 }
            failed.formUnion(results.filter { !$0.1 }.map(\.0))
        }
        return successes
    }

    /// Makes one delivery and notes what came of it; whether it arrived.
    private func deliver(_ delivery: OwedDelivery) async throws -> Bool {
        let answer: WebhookAnswer
        if let webhook = webhooks[delivery.webhook] {
            answer = await send(
                WebhookRequest(
                    webhook,
                    event: "\(delivery.event)",
                    body: delivery.body,
                    at: delivery.now / 1_000_000
                )
            )
        } else {
            answer = .failed("the configuration has no such webhook any more")
        }
        let isGivenUp = !answer.isSuccess && delivery.attempts >= retries.attemptsMax
        try await client.run { [retries] connection in
            try AlertTable(connection).note(delivery, answer, retries, isGivenUp: isGivenUp)
        }
        guard !answer.isSuccess else {
            delivered.add()
            return true
        }
        (isGivenUp ? abandoned : refused).add()
        logger.log(
            level: isGivenUp ? .error : .warning,
            isGivenUp ? "alert_given_up" : "alert_not_delivered",
            metadata: [
                "webhook": "\(delivery.webhook)", "event": "\(delivery.event)",
                "attempt": "\(delivery.attempts)", "error": "\(answer.error ?? "")",
            ]
        )
        return false
    }

    private func deleteOld() async throws {
        _ = try await client.run { connection in
            try connection.query(
                "DELETE FROM sluice.alert_event WHERE at < now() - interval '90 days'"
            )
        }
    }
}

extension Value {
    /// The number, nil if this is none.
    var measured: Double? {
        switch self {
        case .integer(let number): Double(number)
        case .number(let number): number
        case .null, .text: nil
        }
    }
}

extension MeterOwner {
    /// The owner as the subject of an alert: organisation and application, apart by a slash.
    var subject: String {
        func escaped(_ text: String) -> String {
            text.replacing("%", with: "%25").replacing("/", with: "%2F")
        }
        return escaped(org ?? "") + "/" + escaped(application ?? "")
    }

    /// The owner that a subject names.
    init(subject: String) {
        let parts = subject.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
            .map { $0.replacing("%2F", with: "/").replacing("%25", with: "%") }
        func part(_ index: Int) -> String? {
            parts.indices.contains(index) && !parts[index].isEmpty ? String(parts[index]) : nil
        }
        self.init(org: part(0), application: part(1))
    }
}
