import Aggregator
import ArgumentParser
import Console
import FileIO
import Foundation
import Records

/// `sluice dlq`.
struct DeadLetterCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "dlq",
        abstract: "Dead letters: records that could not be counted or delivered.",
        subcommands: [List.self, Show.self, Redrive.self, Drop.self]
    )

    /// Which letters are meant.
    struct Selection: ParsableArguments {
        @Option(help: "Only letters of this consumer: aggregator, or sink-NAME.")
        var consumer: String?

        @Option(help: "Letters of this sink of the pump, which lie in the data directory.")
        var sink: String?

        @Option(help: "Only letters with this reason, as `dlq ls` shows it.")
        var reason: String?

        @Option(help: "Only letters of this log, by its id.")
        var log: String?

        /// The filter that these options describe.
        func filter(_ ids: [Int64] = []) throws -> DeadLetterFilter {
            var filter = DeadLetterFilter()
            filter.consumer = consumer
            filter.reason = reason
            if let log {
                guard let id = LogID(log) else {
                    throw ValidationError("--log: \"\(log)\" is no log id; `dlq ls` shows them")
                }
                filter.log = id
            }
            filter.ids = ids
            return filter
        }

        /// The letters of the sink that these options name, and the choice among them.
        func letters(
            _ options: ConfigurationOptions,
            _ sink: String,
            _ ids: [Int64] = []
        ) throws -> (SinkLetters, SinkLetters.Choice) {
            guard consumer == nil else {
                throw ValidationError("--sink and --consumer exclude each other")
            }
            try LogSetup.bootstrap()
            let filter = try filter(ids)
            var choice = SinkLetters.Choice(ids: Set(ids.map { UInt64(clamping: $0) }))
            choice.reason = reason
            choice.log = filter.log
            return (try SinkLetters(try options.load(), sink: sink), choice)
        }

        /// Whether nothing restricts the letters.
        var isEmpty: Bool { consumer == nil && reason == nil && log == nil }
    }

    /// Calls `body` with the dead letters of the configured database.
    static func with<Value: Sendable>(
        _ options: ConfigurationOptions,
        _ body: @escaping @Sendable (DeadLetterStore) throws -> Value
    ) async throws -> Value {
        try LogSetup.bootstrap()
        return try await DatabaseAccess.with(try options.load()) { uri in
            _ = try await Migrator().migrate(uri)
            return try await blocking("dlq") { try body(try DeadLetterStore(uri)) }
        }
    }

    /// `sluice dlq ls`.
    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "ls",
            abstract: "List dead letters, oldest first.",
            discussion: """
                EXAMPLES:
                  sluice dlq ls
                  sluice dlq ls --reason schema_newer --limit 1000 --format csv
                  sluice dlq ls --sink archive
                """
        )

        @OptionGroup var options: ConfigurationOptions
        @OptionGroup var selection: Selection

        @Option(help: "Only letters after this id: the last one of the page before.")
        var after: Int64 = 0

        @Option(help: "Most letters listed.")
        var limit = 100

        @Option(help: "Format of the list: table, json, csv or ndjson.")
        var format = OutputFormat.table

        mutating func validate() throws {
            guard (1...1_000_000).contains(limit) else {
                throw ValidationError("--limit must be between 1 and 1000000")
            }
        }

        mutating func run() async throws {
            if let sink = selection.sink {
                let (letters, choice) = try selection.letters(options, sink)
                let last = UInt64(clamping: after)
                let table = try await letters.list(choice, after: last, limit: limit)
                return Terminal.show(table, format)
            }
            let filter = try selection.filter()
            let (after, limit) = (after, limit)
            let letters = try await DeadLetterCommand.with(options) {
                try $0.list(filter, after: after, limit: limit)
            }
            var table = Table(DeadLetterCommand.columns)
            table.rows = letters.map(DeadLetterCommand.row)
            Terminal.show(table, format)
        }
    }

    /// `sluice dlq show`.
    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show one dead letter: its record if it decodes, and its bytes.",
            discussion: """
                EXAMPLES:
                  sluice dlq show 17
                  sluice dlq show 17 --format json
                """
        )

        @OptionGroup var options: ConfigurationOptions

        @Option(help: "The letter is one of this sink of the pump.")
        var sink: String?

        @Argument(help: "Id of the letter, as `dlq ls` shows it.")
        var id: Int64

        @Option(help: "Format: table, json, csv or ndjson.")
        var format = OutputFormat.table

        mutating func run() async throws {
            let id = id
            if let sink {
                try LogSetup.bootstrap()
                let letters = try SinkLetters(try options.load(), sink: sink)
                return Self.present(try await letters.show(UInt64(clamping: id)), format)
            }
            var filter = DeadLetterFilter()
            filter.ids = [id]
            let found = try await DeadLetterCommand.with(options) {
                [filter] (store) -> (StoredDeadLetter, [UInt8])? in
                guard let letter = try store.list(filter, limit: 1).first,
                    let record = try store.record(of: id)
                else { return nil }
                return (letter, record)
            }
            guard let (letter, record) = found else {
                throw CommandFailure.failed(
                    "there is no dead letter with the id \(id); `sluice dlq ls` lists them"
                )
            }
            var decoded = Cell.none
            if let value = try? RequestRecord(decoding: record.span.raw) {
                decoded = .text(value.json())
            }
            let hex = record.map { byte in
                (byte < 16 ? "0" : "") + String(byte, radix: 16)
            }
            var table = Table(DeadLetterCommand.columns + ["record", "hex"])
            table.rows = [DeadLetterCommand.row(letter) + [decoded, .text(hex.joined())]]
            Self.present(table, format)
        }

        /// Shows the one row of a table, for people one value a line.
        private static func present(_ table: Table, _ format: OutputFormat) {
            guard format == .table else { return Terminal.show(table, format) }
            var tall = Table(["name", "value"])
            tall.rows = zip(table.columns, table.rows[0]).map { [.text($0), .text($1.shown)] }
            Terminal.show(tall, format)
        }
    }

    /// `sluice dlq redrive`.
    struct Redrive: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Count records of dead letters after all: after an upgrade, for example.",
            discussion: """
                A record and its dead letter change places in one transaction, so it counts once,
                whatever is interrupted. What still cannot be counted stays, with the reason of
                today. Messages that were not trusted (reasons such as wrong_org) are left alone:
                their genuine records count when they arrive.

                EXAMPLES:
                  sluice dlq redrive --reason schema_newer
                  sluice dlq redrive 17 18
                  sluice dlq redrive --all
                  sluice dlq redrive --sink archive --all
                """
        )

        @OptionGroup var options: ConfigurationOptions
        @OptionGroup var selection: Selection

        @Argument(help: "Ids of letters, as `dlq ls` shows them.")
        var ids: [Int64] = []

        @Flag(help: "All letters of the aggregator.")
        var all = false

        @Option(help: "Format of the summary: table, json, csv or ndjson.")
        var format = OutputFormat.table

        mutating func validate() throws {
            try DeadLetterCommand.requireChoice(ids, selection, all)
            if let consumer = selection.consumer, consumer != DeadLetterStore.aggregator {
                throw ValidationError(
                    "--consumer: only letters of the aggregator; a sink's with --sink NAME"
                )
            }
        }

        mutating func run() async throws {
            if let sink = selection.sink {
                let (letters, choice) = try selection.letters(options, sink, ids)
                return Terminal.show(try await letters.redrive(choice), format)
            }
            var filter = try selection.filter(ids)
            filter.consumer = DeadLetterStore.aggregator
            let latest = SystemTimeSource().wallMicroseconds() + 3_600_000_000
            let result = try await DeadLetterCommand.with(options) { [filter] store in
                let bar = ProgressBar("redriving", total: try store.count(filter))
                defer { bar.finish() }
                return try store.redrive(filter, latest: latest) { bar.update($0) }
            }
            var table = Table(["outcome", "reason", "records"])
            table.rows = [[.text("folded"), .none, .integer(Int64(result.folded))]]
            for (reason, count) in result.kept.sorted(by: { $0.key < $1.key }) {
                table.rows.append([.text("kept"), .text(reason), .integer(Int64(count))])
            }
            if result.taken > 0 {
                table.rows.append([.text("taken"), .none, .integer(Int64(result.taken))])
            }
            Terminal.show(table, format)
        }
    }

    /// `sluice dlq drop`.
    struct Drop: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Give dead letters up for good; the ledger counts them as dropped.",
            discussion: """
                EXAMPLES:
                  sluice dlq drop --reason unparsed
                  sluice dlq drop 17
                  sluice dlq drop --sink archive --reason too_large
                """
        )

        @OptionGroup var options: ConfigurationOptions
        @OptionGroup var selection: Selection

        @Argument(help: "Ids of letters, as `dlq ls` shows them.")
        var ids: [Int64] = []

        @Flag(help: "All letters of all consumers.")
        var all = false

        @Option(help: "Format of the summary: table, json, csv or ndjson.")
        var format = OutputFormat.table

        mutating func validate() throws {
            try DeadLetterCommand.requireChoice(ids, selection, all)
        }

        mutating func run() async throws {
            if let sink = selection.sink {
                let (letters, choice) = try selection.letters(options, sink, ids)
                return Terminal.show(try await letters.drop(choice), format)
            }
            let filter = try selection.filter(ids)
            let dropped = try await DeadLetterCommand.with(options) { try $0.drop(filter) }
            var table = Table(["outcome", "records"])
            table.rows = [[.text("dropped"), .integer(Int64(dropped))]]
            Terminal.show(table, format)
        }
    }

    /// Refuses to touch everything by mistake.
    private static func requireChoice(
        _ ids: [Int64],
        _ selection: Selection,
        _ all: Bool
    ) throws {
        guard all || !ids.isEmpty || !selection.isEmpty else {
            throw ValidationError("say which letters: ids, a filter, or --all")
        }
    }

    private static let columns = [
        "id", "consumer", "log", "offset", "reason", "detail", "bytes", "appended_at", "parked_at",
    ]

    private static func row(_ letter: StoredDeadLetter) -> [Cell] {
        [
            .integer(letter.id), .text(letter.consumer), .text("\(letter.log)"),
            .integer(letter.offset), .text(letter.reason),
            letter.detail.map(Cell.text) ?? .none, .bytes(letter.byteCount),
            letter.appendedAt.map(Cell.time) ?? .none, .time(letter.parkedAt),
        ]
    }
}
