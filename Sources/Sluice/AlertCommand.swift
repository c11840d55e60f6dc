import Aggregator
import ArgumentParser
import Console
import FileIO
import Foundation
import Postgres
import Query
import SluiceConfiguration

/// `sluice alert`.
struct AlertCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "alert",
        abstract: "Alert rules: what fires, and whether webhooks can be reached.",
        subcommands: [List.self, Test.self]
    )

    /// `sluice alert ls`.
    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "ls",
            abstract: "List the alert rules with their state, and applications over a quota.",
            discussion: """
                EXAMPLES:
                  sluice alert ls
                  sluice alert ls --format json
                """
        )

        @OptionGroup var options: ConfigurationOptions

        @Option(help: "Format of the list: table, json, csv or ndjson.")
        var format = OutputFormat.table

        mutating func run() async throws {
            try LogSetup.bootstrap()
            let settings = try options.load()
            let found = try await DatabaseAccess.with(settings) { uri in
                _ = try await Migrator().migrate(uri)
                return try await PostgresClient(uri).run { try AlertTable($0).list() }
            }
            var table = Table([
                "rule", "metric", "condition", "subject", "state", "since", "value", "checked_at",
                "owed", "error",
            ])
            for rule in settings.alertRules {
                let fixed: [Cell] = [
                    .text(rule.name), .text(rule.measure.name),
                    .text("\(rule.comparison.rawValue) \(rule.threshold)"),
                ]
                let states = found.filter { $0.rule == rule.name }
                if !states.contains(where: \.subject.isEmpty) {
                    let isQuota = rule.measure.name == "quota"
                    let state: Cell = isQuota && states.isEmpty ? .text("ok") : .none
                    if states.isEmpty {
                        let nothing = Array(repeating: Cell.none, count: 5)
                        table.rows.append(fixed + [.none, state] + nothing)
                    }
                }
                table.rows += states.map { state in
                    fixed + [
                        state.subject.isEmpty ? .none : .text(state.subject), .text(state.state),
                        .time(state.since), state.value.map { .text("\($0)") } ?? .none,
                        .time(state.checkedAt), .integer(state.owed),
                        state.error.map(Cell.text) ?? .none,
                    ]
                }
            }
            Terminal.show(table, format)
        }
    }

    /// `sluice alert test`.
    struct Test: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Send a signed event with status test to the webhooks of a rule.",
            discussion: """
                EXAMPLES:
                  sluice alert test error-rate
                """
        )

        @OptionGroup var options: ConfigurationOptions

        @Argument(help: "The rule.")
        var name: String

        @Option(help: "Format of the list: table, json, csv or ndjson.")
        var format = OutputFormat.table

        mutating func run() async throws {
            try LogSetup.bootstrap()
            let settings = try options.load()
            guard let rule = settings.alertRules.first(where: { $0.name == name }) else {
                throw CommandFailure.usage("the configuration has no alert \"\(name)\"")
            }
            let webhooks = settings.alertWebhooks.filter { rule.webhooks.contains($0.name) }
            guard !webhooks.isEmpty else {
                throw CommandFailure.usage("the alert \"\(name)\" notifies nobody")
            }
            let now = SystemTimeSource().wallMicroseconds()
            let event = AlertEvent.test(rule, at: now)
            let client = WebhookClient()
            var table = Table(["webhook", "result"])
            var failures = 0
            for webhook in webhooks {
                let answer = await client.send(
                    WebhookRequest(
                        webhook,
                        event: event.identifier,
                        body: event.body,
                        at: now / 1_000_000
                    )
                )
                if !answer.isSuccess { failures += 1 }
                table.rows.append([.text(webhook.name), .text(answer.error ?? "delivered")])
            }
            await client.close()
            Terminal.show(table, format)
            if failures > 0 {
                throw CommandFailure.failed("\(failures) of \(webhooks.count) were not delivered")
            }
        }
    }
}
