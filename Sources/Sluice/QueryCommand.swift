import ArgumentParser
import Console

/// `sluice query`.
struct QueryCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "query",
        abstract: "Ask the query API for usage: requests, errors, latencies, bytes.",
        discussion: """
            Every flag is the parameter of GET /v1/usage of the same name.

            EXAMPLES:
              sluice query --group-by api,route --metrics requests,errors,latency_p99
              sluice query --from 2015-05-17T00:00:00Z --to 2015-05-21T00:00:00Z \\
                --group-by status --granularity total
              sluice query --from -7d --granularity 1d --tz Europe/Berlin --filter api:eq:orders
              sluice query --filter status:in:500,502 --order -requests --limit 10 --format csv
            """
    )

    @OptionGroup var options: ConfigurationOptions
    @OptionGroup var server: ServerOptions

    @Option(
        parsing: .unconditional,
        help: "Begin: RFC 3339, or relative as -24h. Default: -24h."
    )
    var from: String?

    @Option(parsing: .unconditional, help: "End: RFC 3339, or relative as -1h. Default: now.")
    var to: String?

    @Option(help: "Bucket size: 1m 5m 15m 1h 1d 1w 1mo total auto.")
    var granularity: String?

    @Option(help: "IANA time zone of days, weeks and months. Default: UTC.")
    var tz: String?

    @Option(help: "Comma list, as requests,errors,error_rate,bytes_out,latency_p50,latency_p99.")
    var metrics: String?

    @Option(help: "Comma list of dimensions, as api,route,status.")
    var groupBy: String?

    @Option(help: "dimension:op:value with eq ne in nin prefix; repeatable, all must hold.")
    var filter: [String] = []

    @Option(
        parsing: .unconditional,
        help: "Comma list of columns; a minus sign in front sorts downwards."
    )
    var order: String?

    @Option(help: "Most rows; default 1,000, at most 10,000.")
    var limit: Int?

    @Option(help: "Compare with an earlier time; for servers that can.")
    var compare: String?

    @Option(help: "Format of the answer: table, json, csv or ndjson.")
    var format = OutputFormat.table

    mutating func run() async throws {
        let client = try server.resolve(options)
        var parameters: [(String, String)] = []
        let single = [
            ("from", from), ("to", to), ("granularity", granularity), ("tz", tz),
            ("metrics", metrics), ("group_by", groupBy), ("order", order),
            ("limit", limit.map(String.init)), ("compare", compare),
        ]
        for (name, value) in single {
            if let value { parameters.append((name, value)) }
        }
        parameters += filter.map { ("filter", $0) }
        // Tables are made from CSV because it keeps the order of columns.
        parameters.append(("format", format == .table ? "csv" : format.rawValue))
        let answer = try await client.get("/v1/usage", parameters)
        guard format == .table else {
            return Terminal.output(answer.hasSuffix("\n") ? answer : answer + "\n")
        }
        Terminal.output(UsageTable.text(answer, inBold: Terminal.bold))
    }
}
