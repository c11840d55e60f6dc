import Console
import EmbeddedPostgres
import EventLog
import FileIO
import Foundation
import Logging
import Postgres
import Records
import SluiceConfiguration

/// What `sluice status` knows, as named tables.
struct StatusReport: Sendable {
    /// The tables with their headings, in the order of the data flow.
    var sections: [(name: String, table: Table)] = []

    /// Looks at the data directory and, if it answers, at the database.
    static func make(_ settings: Settings) async throws -> StatusReport {
        let data = DataDirectory(settings.data)
        guard data.exists else {
            throw CommandFailure.failed(
                "there is no data directory \"\(data.path)\"; name it with --data, or start "
                    + "`sluice up`"
            )
        }
        var report = StatusReport()
        report.sections.append(("processes", processes(data)))
        report.sections.append(("logs", try await logs(data)))
        report.sections += await database(settings, data)
        return report
    }

    /// The report in a format.
    func text(_ format: OutputFormat) -> String {
        switch format {
        case .table:
            return sections.map { name, table in
                let body = table.rows.isEmpty ? "none\n" : table.text(.table, inBold: Terminal.bold)
                return Terminal.bold(name.uppercased()) + "\n" + body
            }.joined(separator: "\n")
        case .json:
            let members = sections.map { "\(JSONText.quoted($0.name)):\($0.table.text(.json))" }
            return "{" + members.joined(separator: ",") + "}\n"
        case .ndjson:
            return sections.map { name, table in
                var named = Table(["section"] + table.columns)
                named.rows = table.rows.map { [.text(name)] + $0 }
                return named.text(.ndjson)
            }.joined()
        case .csv:
            var long = Table(["section", "row", "name", "value"])
            for (name, table) in sections {
                for (number, row) in table.rows.enumerated() {
                    for (column, cell) in zip(table.columns, row) {
                        long.rows.append(
                            [
                                .text(name), .integer(Int64(number)), .text(column),
                                .text(cell.plain),
                            ])
                    }
                }
            }
            return long.text(.csv)
        }
    }

    private static func processes(_ data: DataDirectory) -> Table {
        var table = Table(["pid", "roles", "gateway", "query_api"])
        table.rows = ProcessRegistry(data).running().map { process in
            [
                .text("\(process.pid)"), .text(process.roles.joined(separator: ", ")),
                process.gateway.map(Cell.text) ?? .none, process.serve.map(Cell.text) ?? .none,
            ]
        }
        return table
    }

    /// Logs that are open or not yet consumed; the others as one line.
    private static func logs(_ data: DataDirectory) async throws -> Table {
        let directory = try data.logs()
        return try await blocking("status") {
            let checkpoints = try directory.checkpoints(consumer: "aggregator")
            var table = Table(["log", "node", "lane", "state", "next_offset", "checkpoint", "lag"])
            var finished: (count: Int64, records: UInt64) = (0, 0)
            for log in try directory.logs() {
                let next = log.endOffset ?? log.durableOffset
                let done = min(checkpoints.load(log.id), next)
                if log.isEnded, done == next {
                    finished.count += 1
                    finished.records += next.rawValue
                    continue
                }
                table.rows.append([
                    .text("\(log.id)"), .text(log.node),
                    log.lane.map { .integer(Int64($0)) } ?? .none,
                    .text(log.isEnded ? "ended" : "open"), .offset(next), .offset(done),
                    .integer(Int64(clamping: next.rawValue - done.rawValue)),
                ])
            }
            if finished.count > 0 {
                let total = Cell.integer(Int64(clamping: finished.records))
                table.rows.append([
                    .text("\(finished.count) ended logs"), .none, .none, .text("consumed"), total,
                    total, .integer(0),
                ])
            }
            return table
        }
    }

    private static func database(
        _ settings: Settings,
        _ data: DataDirectory
    ) async -> [(name: String, table: Table)] {
        let uri: String
        var kind = "configured"
        switch settings.postgres {
        case .uri(let secret): uri = secret.reveal()
        case .embedded:
            kind = "embedded"
            uri = EmbeddedCluster(EmbeddedClusterConfiguration(dataDirectory: data.path)).uri
        }
        var state = Table(["postgres", "state", "schema_version", "complete_to", "behind"])
        do {
            let answer = try await blocking("status") { try DatabaseStatus(uri) }
            let now = SystemTimeSource().wallMicroseconds()
            let behind = answer.completeTo.map { Cell.seconds(Double(max(0, now - $0)) / 1e6) }
            state.rows = [
                [
                    .text(kind), .text("up"), .integer(answer.schemaVersion),
                    answer.completeTo.map(Cell.time) ?? .none, behind ?? .none,
                ]
            ]
            return [
                ("database", state), ("ledger", answer.ledger),
                ("dead_letters", answer.deadLetters),
            ]
        } catch {
            let reason = (error as? PostgresError)?.message ?? "\(error)"
            state.rows = [[.text(kind), .text("down: \(reason)"), .none, .none, .none]]
            return [("database", state)]
        }
    }
}

/// What the database says of itself, read over one connection of its own.
private struct DatabaseStatus: Sendable {
    var schemaVersion: Int64
    var completeTo: Int64?
    var ledger: Table
    var deadLetters: Table

    private static let counters = [
        "folded", "dead_lettered", "expired", "damaged", "filtered", "sampled", "too_large",
        "rejected",
    ]

    /// Asks the database at `uri`; blocking.
    init(_ uri: String) throws {
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

        ledger = Table(["logs", "accounted"] + Self.counters)
        let sums = Self.counters.map { "coalesce(sum(\($0)), 0)::bigint" }
        let totals = try connection.query(
            """
            SELECT count(DISTINCT log_id), \(sums.joined(separator: ", ")) FROM sluice.ledger
            WHERE generation = (SELECT id FROM sluice.generation WHERE state = 'active')
            """
        )
        let counts = Self.counters.indices.map { totals.int(0, 1 + $0) ?? 0 }
        ledger.rows = [
            [.integer(totals.int(0, 0) ?? 0), .integer(counts.reduce(0, +))]
                + counts.map { .integer($0) }
        ]

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
    }
}
