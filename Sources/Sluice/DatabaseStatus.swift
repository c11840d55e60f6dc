import Console
import EmbeddedPostgres
import FileIO
import Postgres
import SluiceConfiguration

/// What came of asking the database.
struct DatabaseAnswer: Sendable {
    /// Its part of the report.
    var sections: [(name: String, table: Table)]

    /// How far each log is folded without a gap, by its id; nil if the database did not answer.
    var folded: [String: UInt64]?

    /// The next offset of each partition of a Kafka topic; nil if the database did not answer.
    var positions: [KafkaPosition]?

    /// Asks the configured database, or the embedded one if it runs.
    static func ask(_ settings: Settings, _ data: DataDirectory) async -> DatabaseAnswer {
        let isEmbedded = settings.postgres == .embedded
        let uri = data.databaseURI(settings)
        var state = Table(["postgres", "state", "schema_version", "complete_to", "behind"])
        let kind = Cell.text(isEmbedded ? "embedded" : "configured")
        do {
            let answer = try await blocking("status") {
                try DatabaseStatus(
                    uri,
                    topic: settings.transport == .kafka ? settings.kafka.topic : nil
                )
            }
            let now = SystemTimeSource().wallMicroseconds()
            let behind = answer.completeTo.map { Cell.seconds(Double(max(0, now - $0)) / 1e6) }
            state.rows = [
                [
                    kind, .text("up"), .integer(answer.schemaVersion),
                    answer.completeTo.map(Cell.time) ?? .none, behind ?? .none,
                ]
            ]
            var sections = [("database", state)]
            if let ledger = answer.ledger {
                sections.append(("ledger", ledger.totals))
                if !ledger.logs.rows.isEmpty { sections.append(("ledger_logs", ledger.logs)) }
                sections.append(("gaps", ledger.gaps))
                if !ledger.accepted.rows.isEmpty {
                    sections.append(("accepted_gaps", ledger.accepted))
                }
            }
            sections.append(("dead_letters", answer.deadLetters))
            return DatabaseAnswer(
                sections: sections,
                folded: answer.folded,
                positions: answer.positions
            )
        } catch {
            // The first line says it; what libpq adds in others is advice.
            let text = (error as? PostgresError)?.message ?? "\(error)"
            let reason = text.prefix { !$0.isNewline }
            state.rows = [[kind, .text("down: \(reason)"), .none, .none, .none]]
            return DatabaseAnswer(sections: [("database", state)])
        }
    }
}

/// Where the aggregators stand in a partition.
struct KafkaPosition: Sendable {
    /// The cluster that the position belongs to.
    var clusterID: String
    /// The partition.
    var partition: Int32
    /// The next offset to consume.
    var nextOffset: Int64
}

extension DataDirectory {
    /// The connection string of the configured database, or of the embedded one.
    func databaseURI(_ settings: Settings) -> String {
        switch settings.postgres {
        case .uri(let secret): secret.reveal()
        case .embedded: EmbeddedCluster(EmbeddedClusterConfiguration(dataDirectory: path)).uri
        }
    }
}

/// What the database says of itself, read over one connection of its own.
struct DatabaseStatus: Sendable {
    var schemaVersion: Int64
    var completeTo: Int64?
    var ledger: LedgerStatus?
    var deadLetters: Table
    var folded: [String: UInt64] = [:]
    var positions: [KafkaPosition] = []

    /// Asks the database at `uri`, and about the positions in `topic` if one is given; blocking.
    init(_ uri: String, topic: String?) throws {
        let connection = try PostgresConnection(uri, applicationName: "sluice status")
        let version = try connection.query("SELECT max(version)::bigint FROM sluice.migration")
        schemaVersion = version.int(0, 0) ?? 0
        let freshness = try connection.query(
            """
            SELECT CASE WHEN count(*) = 0 THEN NULL
              ELSE coalesce(min(coalesce(heartbeat_at, started_at, first_seen_at)) FILTER (
                WHERE ended_at IS NULL AND end_offset IS NULL AND retired_at IS NULL
                  AND greatest(heartbeat_at, last_folded_at) > now() - interval '24 hours'), now())
              END FROM sluice.log
            """
        )
        completeTo = freshness.timestamp(0, 0)

        // A database that is not migrated yet says nothing of its ledger.
        ledger =
            schemaVersion >= LedgerStatus.schemaVersion ? try LedgerStatus(connection) : nil

        deadLetters = Table(["reason", "records", "latest"])
        let letters = try connection.query(
            """
            SELECT reason, count(*), max(created_at) FROM sluice.dead_letter
            GROUP BY reason ORDER BY 2 DESC, 1 LIMIT 50
            """
        )
        deadLetters.rows = (0..<letters.rowCount).map { row in
            [
                .text(letters.text(row, 0) ?? ""), .integer(letters.int(row, 1) ?? 0),
                letters.timestamp(row, 2).map(Cell.time) ?? .none,
            ]
        }
        guard let topic else { return }
        try readPositions(connection, topic)
    }

    /// What the aggregators have taken from Kafka.
    private mutating func readPositions(
        _ connection: PostgresConnection,
        _ topic: String
    ) throws {
        let sources = try connection.query(
            """
            SELECT log_id::text, upper(first)::bigint FROM sluice.source
            CROSS JOIN LATERAL (SELECT unnest(folded) AS first LIMIT 1) AS ranges
            WHERE generation = (SELECT id FROM sluice.generation WHERE state = 'active')
              AND lower(first) = 0
            """
        )
        for row in 0..<sources.rowCount {
            guard let log = sources.text(row, 0), let end = sources.int(row, 1) else { continue }
            folded[log] = UInt64(clamping: end)
        }
        let offsets = try connection.query(
            """
            SELECT cluster_id, partition, next_offset FROM sluice.transport_offset
            WHERE topic = $1::text ORDER BY cluster_id, partition
            """,
            [.text(topic)]
        )
        positions = (0..<offsets.rowCount).map { row in
            KafkaPosition(
                clusterID: offsets.text(row, 0) ?? "",
                partition: Int32(clamping: offsets.int(row, 1) ?? 0),
                nextOffset: offsets.int(row, 2) ?? 0
            )
        }
    }
}
