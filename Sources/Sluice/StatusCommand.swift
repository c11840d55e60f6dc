import Aggregator
import ArgumentParser
import Console
import Foundation
import Postgres
import Records
import SluiceConfiguration

/// `sluice status`.
struct StatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Show what runs, how far behind it is, and whether the ledger balances.",
        discussion: """
            EXAMPLES:
              sluice status
              sluice status --data /var/lib/sluice --format json
              sluice status --retire efbf7e2e-fa83-8f90-b6eb-5c9acf34b631
              sluice status --accept-gap efbf7e2e-fa83-8f90-b6eb-5c9acf34b631:120-180 \
                --reason "disk of gw-3 is gone"
            """
    )

    @OptionGroup var options: ConfigurationOptions

    @Option(help: "Format of the report: table, json, csv or ndjson.")
    var format = OutputFormat.table

    @Option(
        help: "Do not wait for this log any more in complete_to: its node is gone for good.",
        transform: { text in
            guard let log = LogID(text) else {
                throw ValidationError("\"\(text)\" is no log id; `sluice status` shows them")
            }
            return log
        }
    )
    var retire: LogID?

    @Option(
        help:
            "Nobody will ever have these offsets of a gap, FIRST-NEXT as shown: count as lost.",
        transform: { text in
            guard let gap = Self.gap(text) else {
                throw ValidationError(
                    "\"\(text)\" is not LOG:FIRST-NEXT, offsets from FIRST to before NEXT"
                )
            }
            return gap
        }
    )
    var acceptGap: OffsetGap?

    @Option(help: "Why the gap is accepted; kept with it.")
    var reason: String?

    mutating func validate() throws {
        guard (acceptGap == nil) == (reason ?? "").isEmpty else {
            throw ValidationError("--accept-gap and --reason go together")
        }
    }

    /// Reads `LOG:FIRST-NEXT`.
    private static func gap(_ text: String) -> OffsetGap? {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, let log = LogID(String(parts[0])) else { return nil }
        let ends = parts[1].split(separator: "-", omittingEmptySubsequences: false)
        guard ends.count == 2, let first = Int64(ends[0]), let next = Int64(ends[1]), first >= 0,
            first < next
        else { return nil }
        return OffsetGap(log: log, offsets: first..<next)
    }

    mutating func run() async throws {
        if let acceptGap, let reason {
            return try await Self.accept(acceptGap, reason, try options.load())
        }
        if let retire { return try await Self.retire(retire, try options.load()) }
        let report = try await StatusReport.make(try options.load())
        Terminal.output(report.text(format))
    }

    /// Counts the offsets of a gap as lost.
    private static func accept(
        _ gap: OffsetGap,
        _ reason: String,
        _ settings: Settings
    ) async throws {
        try LogSetup.bootstrap()
        let operatorName = ProcessInfo.processInfo.userName
        let outcome = try await DatabaseAccess.with(settings) { uri in
            try await blocking("status") {
                let connection = try PostgresConnection(uri, applicationName: "sluice status")
                return try GapAcceptance.accept(gap, reason: reason, by: operatorName, connection)
            }
        }
        guard case .accepted(let count) = outcome else {
            throw CommandFailure.failed(
                "\(gap) is not, or not all of it, a gap; `sluice status` lists the gaps"
            )
        }
        Terminal.output(
            "\(count) offsets of \(gap) are counted as lost; records of them that come later "
                + "do not count\n"
        )
    }

    /// Takes a log out of the set that `complete_to` waits for.
    private static func retire(_ log: LogID, _ settings: Settings) async throws {
        try LogSetup.bootstrap()
        let outcome = try await DatabaseAccess.with(settings) { uri in
            try await blocking("status") {
                let connection = try PostgresConnection(uri, applicationName: "sluice status")
                return try LogCompleteness.retire(log, connection)
            }
        }
        switch outcome {
        case .retired:
            Terminal.output(
                "log \(log) is retired: complete_to does not wait for it; records of it that come "
                    + "later still count\n"
            )
        case .alreadyClosed:
            Terminal.output("log \(log) has ended or was retired before: nothing to do\n")
        case .unknown:
            throw CommandFailure.failed(
                "no aggregator has seen a log \(log); `sluice status` and /v1/ledger list them"
            )
        }
    }
}
