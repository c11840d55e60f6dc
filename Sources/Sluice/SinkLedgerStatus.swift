import Console
import EventLog
import Pump
import Query
import SluiceConfiguration

/// The ledgers of this node's sinks, from the checkpoints in the data directory.
enum SinkLedgerStatus {
    /// Most lines of the logs that are not simply delivered; chosen.
    private static let rowsMax = 100
    private static let parts: [(name: String, count: any KeyPath<SinkAccount, UInt64> & Sendable)] =
        [
            ("appended", \.appended), ("earlier", \.earlier), ("delivered", \.delivered),
            ("filtered", \.filtered), ("sampled_out", \.sampledOut),
            ("dead_lettered", \.deadLettered), ("skipped", \.skipped), ("pending", \.pending),
        ]

    /// One line per sink over all logs, and one for each log that is not simply delivered.
    static func sections(
        _ settings: Settings,
        _ data: DataDirectory
    ) async throws -> [(name: String, table: Table)] {
        let directory = try data.logs()
        return try await blocking("status") {
            let columns = parts.map(\.name) + ["unaccounted"]
            var totals = Table(["sink", "balance"] + columns)
            var logs = Table(["sink", "log"] + columns)
            for sink in settings.pump.sinks {
                var sum = SinkAccount()
                for (log, account) in try SinkAccount.all(of: sink.consumer, in: directory) {
                    sum = sum + account
                    guard account.delivered &+ account.earlier != account.appended,
                        logs.rows.count < rowsMax
                    else { continue }
                    logs.rows.append([.text(sink.name), .text("\(log)")] + cells(account))
                }
                let balance = sum.unaccounted == 0 ? "balanced" : "NOT BALANCED"
                totals.rows.append([.text(sink.name), .text(balance)] + cells(sum))
            }
            return [("sink_ledger", totals)]
                + (logs.rows.isEmpty ? [] : [("sink_ledger_logs", logs)])
        }
    }

    /// The same for the query API of this node; nil if it has no sinks.
    static func source(
        _ settings: Settings,
        _ logs: LogDirectory
    ) -> (@Sendable () async throws -> [SinkLedger])? {
        let sinks = settings.pump.sinks.map { ($0.name, $0.consumer) }
        guard !sinks.isEmpty else { return nil }
        return {
            try await blocking("sinks") {
                try sinks.flatMap { name, consumer in
                    try SinkAccount.all(of: consumer, in: logs).map { log, account in
                        SinkLedger(
                            sink: name,
                            log: log,
                            counts: parts.map {
                                ($0.name, Int64(clamping: account[keyPath: $0.count]))
                            } + [("unaccounted", account.unaccounted)]
                        )
                    }
                }
            }
        }
    }

    private static func cells(_ account: SinkAccount) -> [Cell] {
        parts.map { .integer(Int64(clamping: account[keyPath: $0.count])) }
            + [.integer(account.unaccounted)]
    }
}
