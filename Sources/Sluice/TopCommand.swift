import ArgumentParser
import Console
import Foundation
import Threads
import UnixSignals

/// `sluice top`.
struct TopCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "top",
        abstract: "Watch traffic live: requests, errors and latencies by API, route, application …",
        discussion: """
            Asks the query API again and again. Keys: g groups by something else, s sorts by the
            next column, w widens the window, p pauses, ? explains all, q quits (exit code 0).

            EXAMPLES:
              sluice top
              sluice top --by status --sort error_rate --window 15m --filter api:eq:orders
              sluice top --once --by api,route --limit 10      one frame, for scripts
            """
    )

    @OptionGroup var options: ConfigurationOptions
    @OptionGroup var server: ServerOptions

    @Option(help: "Comma list of dimensions to group by at first.")
    var by: String?

    @Option(help: "Sort by requests, errors, error_rate, latency_p50, latency_p99 or bytes_out.")
    var sort = TopSort.requests

    @Option(help: "How far back the numbers go, from 1m to 24h.")
    var window = "5m"

    @Option(help: "Time between two questions.")
    var interval = "2s"

    @Option(help: "dimension:op:value with eq ne in nin prefix; repeatable, all must hold.")
    var filter: [String] = []

    @Option(help: "Most groups; 200 unless given, 20 with --once.")
    var limit: Int?

    @Flag(help: "Print one frame and end; for scripts, and where there is no terminal.")
    var once = false

    @Option(help: "Colours and graphs with --once: auto (on terminals), always or never.")
    var draw = DrawChoice.auto

    mutating func run() async throws {
        guard let window = DurationText.seconds(window), (60...86_400).contains(window) else {
            throw ValidationError("--window: \"\(self.window)\" is not from 1m to 24h")
        }
        guard let seconds = DurationText.seconds(interval), (0.2...3_600).contains(seconds) else {
            throw ValidationError("--interval: \"\(interval)\" is not from 200ms to 1h")
        }
        guard (1...10_000).contains(limit ?? 1) else {
            throw ValidationError("--limit is from 1 to 10000")
        }
        let server = try server.resolve(options)
        guard once || Terminal.canRedraw else {
            throw CommandFailure.usage(
                "standard output is no terminal that can be drawn on; sluice top --once prints one "
                    + "frame, and sluice query is made for programs"
            )
        }
        let client = TopClient(
            client: server,
            filters: filter,
            limit: limit ?? (once ? 20 : 200)
        )
        var groupings = try await client.groupings()
        if let by {
            let wanted = by.split(separator: ",").map(String.init)
            groupings.removeAll { $0 == wanted }
            groupings.insert(wanted, at: 0)
        }
        guard !groupings.isEmpty else {
            throw CommandFailure.failed("the query API names no dimension to group by; give --by")
        }
        let model = TopModel(
            server: client.client.base,
            groupings: groupings,
            sort: sort,
            window: Int(window),
            interval: seconds,
            filters: filter
        )
        if once { return try await printOnce(model, client) }
        try await TopScreen(model, client).run()
    }

    private func printOnce(_ model: TopModel, _ client: TopClient) async throws {
        var model = model
        for case .ask(let question) in model.start() {
            let now = TopScreen.now
            _ = model.handle(.answer(question.number, try await client.answer(question, now: now)))
        }
        let drawing = Terminal.drawing(draw)
        let frame = TopFrame(
            model,
            drawing: drawing ?? Drawing(isUnicode: true, hasColour: false),
            columns: Terminal.columns,
            now: TopScreen.now
        )
        Terminal.output(
            frame.linesOfOnce().map { line in
                var line = line
                while line.last == " " { line.removeLast() }
                return line + "\n"
            }.joined()
        )
    }
}

extension TopSort: ExpressibleByArgument {}

/// The terminal of `sluice top`, from taking it over to giving it back.
struct TopScreen {
    private var model: TopModel
    private let client: TopClient
    private let drawing: Drawing

    /// A screen that shows `model`.
    init(_ model: TopModel, _ client: TopClient) {
        self.model = model
        self.client = client
        drawing =
            Terminal.drawing(.auto) ?? Drawing(isUnicode: false, hasColour: false)
    }

    /// Seconds since the Unix epoch.
    static var now: Int64 { Int64(Date().timeIntervalSince1970) }

    /// Shows and asks until someone wants it to end.
    consuming func run() async throws {
        let (events, source) = AsyncStream.makeStream(
            of: TopModel.Event.self,
            bufferingPolicy: .bufferingNewest(1_024)
        )
        TerminalDevice.enter(takesWholeScreen: true)
        defer { TerminalDevice.leave() }
        await withTaskGroup(of: Void.self) { group in
            let signals = await UnixSignalsSequence(
                trapping: .sigint,
                .sigterm,
                .sighup,
                .sigwinch
            )
            group.addTask { await Self.watch(signals, source) }
            Self.readKeys(source)
            if let size = TerminalDevice.size() {
                _ = model.handle(.resized(rows: size.rows, columns: size.columns))
            }
            var actions = model.start()
            var next = events.makeAsyncIterator()
            loop: while true {
                for action in actions {
                    switch action {
                    case .draw: draw()
                    case .ask(let question): ask(question, source, &group)
                    case .wait(let number):
                        let interval = model.interval
                        group.addTask {
                            try? await Task.sleep(for: .seconds(interval))
                            source.yield(.due(number))
                        }
                    case .quit: break loop
                    }
                }
                guard let event = await next.next() else { break }
                actions = model.handle(event)
            }
            TerminalDevice.leave()
            group.cancelAll()
        }
    }

    private func draw() {
        let frame = TopFrame(model, drawing: drawing, columns: model.size.columns, now: Self.now)
        Terminal.output(Redraw.wholeScreen(frame.lines(rows: model.size.rows)))
    }

    private func ask(
        _ question: TopQuestion,
        _ source: AsyncStream<TopModel.Event>.Continuation,
        _ group: inout TaskGroup<Void>
    ) {
        let client = client
        group.addTask {
            do {
                let answer = try await client.answer(question, now: Self.now)
                source.yield(.answer(question.number, answer))
            } catch {
                source.yield(.failure(question.number, "\(error)"))
            }
        }
    }

    /// Turns signals into events.
    private static func watch(
        _ signals: UnixSignalsSequence,
        _ source: AsyncStream<TopModel.Event>.Continuation
    ) async {
        for await signal in signals {
            if signal == .sigwinch {
                if let size = TerminalDevice.size() {
                    source.yield(.resized(rows: size.rows, columns: size.columns))
                }
            } else {
                source.yield(.ended)
            }
        }
    }

    /// Reads keys on a thread that lives as long as the process; none if standard input is none.
    private static func readKeys(_ source: AsyncStream<TopModel.Event>.Continuation) {
        guard isatty(STDIN_FILENO) == 1 else { return }
        _ = NamedThread(name: "keys") {
            while true {
                let bytes = FileHandle.standardInput.availableData
                if bytes.isEmpty {
                    source.yield(.ended)
                    return
                }
                for key in Key.keys(Array(bytes)) { source.yield(.key(key)) }
            }
        }
    }
}
