import ArgumentParser

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
        Terminal.output(Self.table(answer))
    }

    /// The CSV of an answer as aligned columns with units.
    static func table(_ csv: String) -> String {
        var lines = CSVReader.rows(csv)
        guard !lines.isEmpty else { return "no rows\n" }
        let header = lines.removeFirst()
        guard !lines.isEmpty else { return "no rows: nothing was recorded that matches\n" }
        let numeric = header.map(isMetric)
        let rows = lines.map { line in
            zip(header, line).map { name, value in shown(value, column: name) }
        }
        return Table.aligned(header, rows, numeric: numeric)
    }

    private static func isMetric(_ column: String) -> Bool {
        let names: Set<String> = [
            "requests", "errors", "client_errors", "server_errors", "error_rate", "aborted",
            "bytes_in", "bytes_out", "unique_keys", "unique_clients", "other_requests",
        ]
        return names.contains(column) || isDuration(column)
    }

    private static func isDuration(_ column: String) -> Bool {
        column.hasPrefix("latency_") || column.hasPrefix("upstream_")
    }

    private static func shown(_ value: String, column: String) -> String {
        if value.isEmpty { return "–" }
        guard isMetric(column), let number = Double(value) else { return value }
        if isDuration(column) { return Units.seconds(number) }
        if column == "error_rate" { return Units.share(number) }
        if column.hasPrefix("bytes_") { return Units.bytes(number) }
        return number.magnitude < 9e15 ? Units.count(Int64(number.rounded())) : value
    }
}

/// Reads RFC 4180 text.
enum CSVReader {
    /// The records with their fields.
    static func rows(_ text: String) -> [[String]] {
        var rows: [[String]] = []
        var row: [String] = []
        var field: [UInt8] = []
        var isQuoted = false
        var bytes = Array(text.utf8)[...]
        func end() { row.append(String(decoding: field, as: UTF8.self)); field = [] }
        while let byte = bytes.popFirst() {
            switch (byte, isQuoted) {
            case (UInt8(ascii: "\""), true):
                if bytes.first == UInt8(ascii: "\"") {
                    field.append(byte)
                    bytes = bytes.dropFirst()
                } else {
                    isQuoted = false
                }
            case (UInt8(ascii: "\""), false): isQuoted = true
            case (UInt8(ascii: ","), false): end()
            case (UInt8(ascii: "\n"), false):
                if field.last == UInt8(ascii: "\r") { field.removeLast() }
                end()
                rows.append(row)
                row = []
            default: field.append(byte)
            }
        }
        if !row.isEmpty || !field.isEmpty {
            end()
            rows.append(row)
        }
        return rows
    }
}
