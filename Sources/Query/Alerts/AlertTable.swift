package import Postgres

/// A delivery that is due and has been claimed.
struct OwedDelivery: Sendable {
    /// The event.
    var event: Int64
    /// Who is told.
    var webhook: String
    /// Attempts, this one included.
    var attempts: Int
    /// The event's JSON.
    var body: [UInt8]
    /// The database's time, microseconds since the Unix epoch.
    var now: Int64
}

/// A row of `sluice alert ls`.
package struct ListedAlert: Equatable, Sendable {
    /// The rule.
    package var rule: String
    /// The application under a quota; empty for the rule as a whole.
    package var subject: String
    /// `ok`, `pending` or `firing`.
    package var state: String
    /// Since when, microseconds since the Unix epoch.
    package var since: Int64
    /// What was measured last.
    package var value: Double?
    /// When.
    package var checkedAt: Int64
    /// Deliveries that are still owed.
    package var owed: Int64
    /// Why the last attempt of these failed.
    package var error: String?
}

/// The tables of alerts, read and written over one connection.
package struct AlertTable {
    /// The connection; its thread does everything.
    let connection: PostgresConnection

    /// How long a claimed delivery is nobody else's; longer than an attempt may take.
    private static let claimSeconds = 60

    /// Tables over `connection`.
    package init(_ connection: PostgresConnection) { self.connection = connection }

    /// Does `body` in a transaction that sees one snapshot.
    func transaction<T>(_ body: () throws(QueryFailure) -> T) throws(QueryFailure) -> T {
        try connection.transaction(MeterCloser.snapshot, mapping: QueryFailure.database, body)
    }

    @discardableResult
    private func query(
        _ sql: String,
        _ parameters: [PostgresValue] = []
    ) throws(QueryFailure) -> PostgresResult {
        do throws(PostgresError) {
            return try connection.query(sql, parameters)
        } catch { throw .database(error) }
    }

    /// The database's time, microseconds since the Unix epoch: the same for all processes.
    func now() throws(QueryFailure) -> Int64 { try query("SELECT now()").timestamp(0, 0) ?? 0 }

    /// Records that are known to be in logs and not counted yet.
    func pendingRecords() throws(QueryFailure) -> Double? {
        try query("SELECT sum(appended - covered)::float8 FROM sluice.log_account").double(0, 0)
    }

    /// The states of a rule, by subject.
    func states(of rule: String) throws(QueryFailure) -> [String: AlertState] {
        let found = try query(
            "SELECT subject, state, since FROM sluice.alert_state WHERE rule = $1::text",
            [.text(rule)]
        )
        var states: [String: AlertState] = [:]
        for row in 0..<found.rowCount {
            guard let subject = found.text(row, 0),
                let phase = found.text(row, 1).flatMap(AlertState.Phase.init)
            else { continue }
            states[subject] = AlertState(phase, since: found.timestamp(row, 2) ?? 0)
        }
        return states
    }

    /// Keeps a state.
    func store(
        _ rule: String,
        _ subject: String,
        _ state: AlertState,
        _ value: Double?,
        _ now: Int64
    ) throws(QueryFailure) {
        try query(
            """
            INSERT INTO sluice.alert_state (rule, subject, state, since, value, checked_at)
            VALUES ($1::text, $2::text, $3::text, $4, $5, $6)
            ON CONFLICT (rule, subject) DO UPDATE SET state = EXCLUDED.state,
              since = EXCLUDED.since, value = EXCLUDED.value, checked_at = EXCLUDED.checked_at
            """,
            [
                .text(rule), .text(subject), .text(state.phase.rawValue), .timestamp(state.since),
                value.map { .double($0) } ?? .null, .timestamp(now),
            ]
        )
    }

    /// Forgets a subject that is well.
    func remove(_ rule: String, _ subject: String) throws(QueryFailure) {
        try query(
            "DELETE FROM sluice.alert_state WHERE rule = $1::text AND subject = $2::text",
            [.text(rule), .text(subject)]
        )
    }

    /// The number of the next event.
    func nextEvent() throws(QueryFailure) -> Int64 {
        try query("SELECT nextval(pg_get_serial_sequence('sluice.alert_event', 'id'))")
            .int(0, 0) ?? 0
    }

    /// Keeps an event and the deliveries that it owes.
    func insert(
        _ event: AlertEvent,
        number: Int64,
        _ subject: String
    ) throws(QueryFailure) {
        try query(
            """
            INSERT INTO sluice.alert_event (id, rule, subject, status, at, body)
            OVERRIDING SYSTEM VALUE VALUES ($1, $2::text, $3::text, $4::text, $5, $6::text)
            """,
            [
                .int(number), .text(event.rule.name), .text(subject), .text(event.status),
                .timestamp(event.at), .text(String(decoding: event.body, as: UTF8.self)),
            ]
        )
        try query(
            """
            INSERT INTO sluice.alert_delivery (event_id, webhook, next_at)
            SELECT $1, w, $3 FROM unnest($2::text[]) w
            """,
            [.int(number), .textArray(event.rule.webhooks), .timestamp(event.at)]
        )
    }

    /// Takes of each webhook the oldest delivery that is owed, if it is due, so that nobody else
    /// makes it meanwhile. What came later waits: a webhook hears events in order.
    ///
    /// - Parameter excluded: Webhooks that are left alone.
    func claim(excluding excluded: Set<String>) throws(QueryFailure) -> [OwedDelivery] {
        let found = try query(
            """
            WITH owed AS (
              SELECT DISTINCT ON (webhook) event_id, webhook FROM sluice.alert_delivery
              WHERE delivered_at IS NULL AND given_up_at IS NULL AND NOT webhook = ANY ($1::text[])
              ORDER BY webhook, event_id
            ), claimed AS (
              UPDATE sluice.alert_delivery d SET attempts = attempts + 1,
                next_at = now() + interval '\(Self.claimSeconds) seconds'
              FROM owed WHERE d.event_id = owed.event_id AND d.webhook = owed.webhook
                AND d.next_at <= now() AND d.delivered_at IS NULL AND d.given_up_at IS NULL
              RETURNING d.event_id, d.webhook, d.attempts
            )
            SELECT c.event_id, c.webhook, c.attempts::int8, e.body, now()
            FROM claimed c JOIN sluice.alert_event e ON e.id = c.event_id ORDER BY 1, 2
            """,
            [.textArray(excluded.sorted())]
        )
        return (0..<found.rowCount).map { row in
            OwedDelivery(
                event: found.int(row, 0) ?? 0,
                webhook: found.text(row, 1) ?? "",
                attempts: Int(found.int(row, 2) ?? 0),
                body: Array((found.text(row, 3) ?? "").utf8),
                now: found.timestamp(row, 4) ?? 0
            )
        }
    }

    /// Notes what came of an attempt; a failed one is repeated after a wait that doubles, with
    /// jitter between half and one and a half of it.
    func note(
        _ delivery: OwedDelivery,
        _ answer: WebhookAnswer,
        _ retries: AlertChecker.Retries,
        isGivenUp: Bool
    ) throws(QueryFailure) {
        var status = PostgresValue.null
        if case .status(let number) = answer { status = .int(Int64(number)) }
        try query(
            """
            UPDATE sluice.alert_delivery SET status = $3, error = $4::text,
              delivered_at = CASE WHEN $5 THEN now() END,
              given_up_at = CASE WHEN $6 THEN now() END,
              next_at = now() + least($7, $8 * power(2, least(attempts, 40) - 1))
                * (0.5 + random()) * interval '1 microsecond'
            WHERE event_id = $1 AND webhook = $2::text
            """,
            [
                .int(delivery.event), .text(delivery.webhook), status,
                answer.error.map { .text(String($0.prefix(500)).replacing("\0", with: " ")) }
                    ?? .null,
                .bool(answer.isSuccess), .bool(isGivenUp),
                .double(Double(retries.delayMax.microseconds)),
                .double(Double(retries.delay.microseconds)),
            ]
        )
    }

    /// Everything that is known, rule by rule.
    package func list() throws(QueryFailure) -> [ListedAlert] {
        let found = try query(
            """
            SELECT s.rule, s.subject, s.state, s.since, s.value, s.checked_at,
              (SELECT count(*) FROM sluice.alert_delivery d JOIN sluice.alert_event e
                ON e.id = d.event_id WHERE e.rule = s.rule AND e.subject = s.subject
                AND d.delivered_at IS NULL AND d.given_up_at IS NULL),
              (SELECT d.error FROM sluice.alert_delivery d JOIN sluice.alert_event e
                ON e.id = d.event_id WHERE e.rule = s.rule AND e.subject = s.subject
                AND d.delivered_at IS NULL ORDER BY e.id DESC LIMIT 1)
            FROM sluice.alert_state s ORDER BY s.rule COLLATE "C", s.subject COLLATE "C"
            """
        )
        return (0..<found.rowCount).map { row in
            ListedAlert(
                rule: found.text(row, 0) ?? "",
                subject: found.text(row, 1) ?? "",
                state: found.text(row, 2) ?? "",
                since: found.timestamp(row, 3) ?? 0,
                value: found.double(row, 4),
                checkedAt: found.timestamp(row, 5) ?? 0,
                owed: found.int(row, 6) ?? 0,
                error: found.text(row, 7)
            )
        }
    }
}
