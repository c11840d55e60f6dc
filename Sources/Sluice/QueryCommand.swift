import ArgumentParser
import Console
import Threads
import UnixSignals

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
              sluice query --from -1h --granularity 1m --compare previous --watch 10s

            On a terminal, tables come with bars and sparklines. --watch asks again and again until
            Ctrl-C, which then is the way to end it: exit code 0.
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

    @Option(
        parsing: .unconditional,
        help: "Compare with an earlier time: previous, or a distance as -7d."
    )
    var compare: String?

    @Option(help: "Rows of nothing where nothing was: none or zero.")
    var fill: String?

    @Option(help: "Format of the answer: table, json, csv or ndjson.")
    var format = OutputFormat.table

    @Option(
        defaultAsFlag: "2s",
        help: ArgumentHelp(
            "Ask again every interval (2s unless given) until Ctrl-C: a terminal is drawn over, "
                + "elsewhere answers follow one another.",
            valueName: "interval"
        )
    )
    var watch: String?

    @Option(help: "Colours, bars and sparklines of tables: auto (on terminals), always or never.")
    var draw = DrawChoice.auto

    mutating func run() async throws {
        let client = try server.resolve(options)
        guard let interval = try interval() else {
            return Terminal.output(try await answer(client))
        }
        try await repeated(every: interval, client)
    }

    /// Names what is wrong with the arguments before anything else is looked for, as a token.
    func validate() throws { _ = try interval() }

    /// Seconds between two answers; nil for one answer.
    private func interval() throws -> Double? {
        guard let watch else { return nil }
        guard let seconds = DurationText.seconds(watch), (0.1...86_400).contains(seconds) else {
            throw ValidationError("--watch: \"\(watch)\" is no interval; write 500ms, 2s or 5m")
        }
        return seconds
    }

    /// The text to be shown: one answer.
    private func answer(_ client: QueryClient) async throws -> String {
        var parameters: [(String, String)] = []
        let single = [
            ("from", from), ("to", to), ("granularity", granularity), ("tz", tz),
            ("metrics", metrics), ("group_by", groupBy), ("order", order),
            ("limit", limit.map(String.init)), ("compare", compare), ("fill", fill),
        ]
        for (name, value) in single {
            if let value { parameters.append((name, value)) }
        }
        parameters += filter.map { ("filter", $0) }
        // Tables are made from CSV because it keeps the order of columns.
        parameters.append(("format", format == .table ? "csv" : format.rawValue))
        let answer = try await client.get("/v1/usage", parameters)
        guard format == .table else { return answer.hasSuffix("\n") ? answer : answer + "\n" }
        let drawing = Terminal.drawing(draw)
        return UsageTable(answer, drawing: drawing, width: Terminal.columns).text
    }

    /// Shows answers until a signal comes; the last one stays on the screen.
    private func repeated(every seconds: Double, _ client: QueryClient) async throws {
        let command = self
        if Terminal.canRedraw { TerminalDevice.enter(takesWholeScreen: false) }
        defer { TerminalDevice.leave() }
        try await withThrowingTaskGroup(of: Void.self) { group in
            let signals = await UnixSignalsSequence(trapping: .sigint, .sigterm, .sighup)
            group.addTask { for await _ in signals { return } }
            group.addTask { try await command.ask(every: seconds, client) }
            try await group.next()
            group.cancelAll()
        }
    }

    /// Asks and shows until cancelled; only the first answer must come.
    private func ask(every seconds: Double, _ client: QueryClient) async throws {
        var shown = 0
        var isFirst = true
        let drawing = Drawing(isUnicode: true, hasColour: false)
        while !Task.isCancelled {
            var text: String
            do {
                text = try await answer(client)
            } catch let failure as CommandFailure {
                if Task.isCancelled { return }
                if isFirst || failure.code == 2 { throw failure }
                text = "sluice: \(failure)\n"
                if !Terminal.canRedraw {
                    Terminal.write(text)
                    text = ""
                }
            }
            if Terminal.canRedraw {
                let rows = TerminalDevice.size()?.rows ?? 24
                let next = Redraw.inPlace(
                    text,
                    over: shown,
                    rows: rows,
                    Terminal.drawing(.auto) ?? drawing
                )
                Terminal.output(next.text)
                shown = next.lines
            } else {
                Terminal.output(isFirst || format != .table || text.isEmpty ? text : "\n" + text)
            }
            isFirst = false
            try? await Task.sleep(for: .seconds(seconds))
        }
    }
}
