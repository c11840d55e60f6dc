import Logging
import Postgres
import Synchronization
import Telemetry

/// One use of a token.
package struct TokenUse: Equatable, Sendable {
    /// When it was, microseconds since the Unix epoch.
    package var usedAt: Int64
    /// The token.
    package var tokenID: String
    /// Address of the client, or of the proxy before it.
    package var address: String?
    /// Method of the request.
    package var method: String
    /// Path of the request.
    package var path: String
    /// Query string or body, shortened.
    package var question: String?
    /// Status of the answer.
    package var status: Int
    /// Time until the answer, or until its first byte if it is streamed.
    package var microseconds: Int64
}

/// Remembers who asked what and when: notes are written to `sluice.token_use` behind the answers,
/// and deleted after the retention.
///
/// Bounded: what cannot be noted because too much waits is counted, never waited for.
package final class TokenAudit: Sendable {
    /// Most notes that wait to be written; chosen: a few seconds of a busy server.
    private static let pendingMax = 20_000

    /// Longest question that is kept; chosen.
    static let questionBytesMax = 2_048

    /// Most notes kept whatever their age, about 1 GB; chosen.
    private static let storedMax = 5_000_000

    /// Time between two writes, and writes between two deletions.
    private static let interval = Duration.seconds(1)
    private static let writesPerDeletion = 600

    private let pending = Mutex<[TokenUse]>([])
    private let client: PostgresClient
    private let retention: Duration
    private let dropped: Counter
    private let logger: Logger

    /// An audit in the database of `configuration`, with a connection made when first needed.
    init(_ configuration: QueryConfiguration, metrics: MetricsRegistry, logger: Logger) {
        client = PostgresClient(
            configuration.postgresURI,
            options: PostgresConnectionOptions(
                applicationName: "sluice audit",
                connectTimeoutSeconds: 5,
                statementTimeoutMilliseconds: 60_000
            )
        )
        retention = configuration.auditRetention
        dropped = metrics.counter(
            "query_audit_dropped_total",
            help: "Uses of tokens that could not be noted in the audit."
        )
        self.logger = logger
    }

    /// Notes a use, to be written within seconds.
    func note(_ use: TokenUse) {
        guard retention > .zero else { return }
        let isNoted = pending.withLock { pending in
            guard pending.count < Self.pendingMax else { return false }
            pending.append(use)
            return true
        }
        if !isNoted { dropped.add() }
    }

    /// Writes notes and deletes old ones until cancelled; then writes the last ones and returns.
    func run() async {
        guard retention > .zero else { return }
        var writes = 0
        while !Task.isCancelled {
            if writes % Self.writesPerDeletion == 0 { await expire() }
            writes += 1
            try? await Task.sleep(for: Self.interval)
            await flush()
        }
        await client.close()
    }

    /// Writes what waits; keeps it for the next time if the database is away.
    package func flush() async {
        let uses = pending.withLock { pending in
            let uses = pending
            pending = []
            return uses
        }
        guard !uses.isEmpty else { return }
        do {
            try await client.run { connection in
                try connection.transaction { () throws(PostgresError) in
                    try Self.insert(uses, connection)
                }
            }
        } catch {
            logger.warning(
                "token audit not written",
                metadata: ["notes": "\(uses.count)", "error": "\(error)"]
            )
            // What the database refuses for what it says would be refused again.
            let isWorthTrying = (error as? PostgresError)?.isRetriable ?? true
            let lost = pending.withLock { pending in
                let room = isWorthTrying ? max(0, Self.pendingMax - pending.count) : 0
                let kept = uses.suffix(room)
                pending = kept + pending
                return uses.count - kept.count
            }
            if lost > 0 { dropped.add(UInt64(lost)) }
        }
    }

    /// Text as PostgreSQL takes it: of bounded length and without the character 0.
    private static func storable(_ text: String) -> String {
        let short =
            text.utf8.count > questionBytesMax
            ? String(decoding: text.utf8.prefix(questionBytesMax), as: UTF8.self) + "…" : text
        return short.replacing("\0", with: "\u{FFFD}")
    }

    private static func insert(
        _ uses: [TokenUse],
        _ connection: PostgresConnection
    ) throws(PostgresError) {
        try connection.query(
            """
            INSERT INTO sluice.token_use
              (used_at, token_id, address, method, path, question, status, duration_us)
            SELECT * FROM unnest($1::timestamptz[], $2::text[], $3::text[], $4::text[], $5::text[],
              $6::text[], $7::int8[], $8::int8[])
            """,
            [
                .timestamps(uses.map(\.usedAt)), .textArray(uses.map(\.tokenID)),
                .textArray(uses.map(\.address)), .textArray(uses.map(\.method)),
                .textArray(uses.map { storable($0.path) }),
                .textArray(uses.map { $0.question.map(storable) }),
                .intArray(uses.map { Int64($0.status) }), .intArray(uses.map(\.microseconds)),
            ]
        )
        var latest: [String: Int64] = [:]
        for use in uses { latest[use.tokenID] = max(latest[use.tokenID] ?? 0, use.usedAt) }
        // Locked in order, so that two servers cannot wait for each other; to the minute, so that
        // a busy token is not written every second.
        try connection.query(
            """
            WITH used AS (
              SELECT t.id, u.at FROM sluice.token t
              JOIN unnest($1::text[], $2::timestamptz[]) u (id, at) USING (id)
              WHERE coalesce(t.last_used_at, '-infinity') < u.at - interval '1 minute'
              ORDER BY t.id FOR UPDATE OF t
            )
            UPDATE sluice.token t SET last_used_at = used.at FROM used WHERE t.id = used.id
            """,
            [.textArray(Array(latest.keys)), .timestamps(Array(latest.values))]
        )
    }

    /// Deletes notes past the retention, and the oldest beyond the largest number kept.
    package func expire() async {
        let seconds = retention.components.seconds
        do {
            _ = try await client.run { connection in
                try connection.query(
                    """
                    DELETE FROM sluice.token_use
                    WHERE used_at < now() - $1::int8 * interval '1 second'
                      OR id <= (SELECT max(id) FROM sluice.token_use) - \(Self.storedMax)
                    """,
                    [.int(seconds)]
                )
            }
        } catch {
            logger.warning("token audit not shortened", metadata: ["error": "\(error)"])
        }
    }
}
