import Aggregator
import ArgumentParser
import Console
import FileIO
import Foundation
import Query

extension TokenCommand {
    /// `sluice token audit`.
    struct Audit: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show which token asked what and when, latest first.",
            discussion: """
                Kept as long as serve.audit_retain says (30 days unless configured). Requests
                refused for want of a valid token or for their number are not in it.

                EXAMPLES:
                  sluice token audit
                  sluice token audit --token 1f2e3d4c5b6a --since 7d --format csv
                """
        )

        @OptionGroup var options: ConfigurationOptions

        @Option(help: "Id of one token, as `token ls` shows it. Default: all tokens.")
        var token: String?

        @Option(help: "How far back: a time such as 90m, 24h or 7d.")
        var since = "24h"

        @Option(help: "Most uses shown.")
        var limit = 100

        @Option(help: "Format of the list: table, json, csv or ndjson.")
        var format = OutputFormat.table

        mutating func validate() throws {
            _ = try distance()
            guard (1...1_000_000).contains(limit) else {
                throw ValidationError("--limit: between 1 and 1000000")
            }
        }

        /// Microseconds back in time.
        private func distance() throws -> Int64 {
            let units: [Character: Int64] = [
                "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800,
            ]
            guard let unit = since.last.flatMap({ units[$0] }),
                let number = Int64(since.dropLast()),
                (1...1_000_000).contains(number)
            else {
                throw ValidationError("--since: \"\(since)\" is no time; write 90m, 24h or 7d")
            }
            return number * unit * 1_000_000
        }

        mutating func run() async throws {
            try LogSetup.bootstrap()
            let settings = try options.load()
            let from = SystemTimeSource().wallMicroseconds() - (try distance())
            let (token, limit) = (token, limit)
            let uses = try await DatabaseAccess.with(settings) { uri in
                _ = try await Migrator().migrate(uri)
                return try await TokenStore(postgresURI: uri)
                    .uses(of: token, since: from, limit: limit)
            }
            var table = Table([
                "used_at", "token", "address", "method", "path", "status", "seconds", "question",
            ])
            table.rows = uses.map { use in
                [
                    .time(use.usedAt), .text(use.tokenID), use.address.map(Cell.text) ?? .none,
                    .text(use.method), .text(use.path), .integer(Int64(use.status)),
                    .seconds(Double(use.microseconds) / 1e6),
                    use.question.map(Cell.text) ?? .none,
                ]
            }
            Terminal.show(table, format)
        }
    }
}
