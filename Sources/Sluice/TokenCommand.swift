import Aggregator
import ArgumentParser
import Console
import FileIO
import Foundation
import Query

/// `sluice token`.
struct TokenCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "token",
        abstract: "Bearer tokens of the query API: create, list, revoke, audit.",
        subcommands: [Create.self, List.self, Revoke.self, Audit.self]
    )

    /// What a token may see, as written on the command line.
    enum ScopeName: String, CaseIterable, ExpressibleByArgument {
        case admin, org, application
    }

    /// `sluice token create`.
    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Create a token and print it, alone, on standard output.",
            discussion: """
                It is shown only this once; the database keeps its hash.

                EXAMPLES:
                  sluice token create --scope admin
                  sluice token create --scope org --org acme --expires 30d
                  TOKEN=$(sluice token create --scope application --org acme --application shop)
                """
        )

        @OptionGroup var options: ConfigurationOptions

        @Option(help: "What it may see: admin (everything), org, or application.")
        var scope: ScopeName

        @Option(help: "Organisation, for the scopes org and application.")
        var org: String?

        @Option(help: "Application, for the scope application.")
        var application: String?

        @Option(help: "End of validity: RFC 3339, or from now on as 12h or 30d. Default: never.")
        var expires: String?

        @Option(help: "Free text shown by `token ls`.")
        var description: String?

        mutating func validate() throws {
            _ = try tokenScope()
            _ = try expires.map { try Self.instant($0, now: SystemTimeSource().wallMicroseconds()) }
        }

        mutating func run() async throws {
            try LogSetup.bootstrap()
            let settings = try options.load()
            let scope = try tokenScope()
            let end = try expires.map {
                try Self.instant($0, now: SystemTimeSource().wallMicroseconds())
            }
            let description = description
            let secret = try await DatabaseAccess.with(settings) { uri in
                _ = try await Migrator().migrate(uri)
                return try await TokenStore(postgresURI: uri)
                    .create(scope: scope, description: description, expiresAt: end).secret
            }
            Terminal.output(secret + "\n")
        }

        private func tokenScope() throws -> TokenScope {
            switch scope {
            case .admin:
                if org != nil || application != nil {
                    throw ValidationError("the scope admin takes neither --org nor --application")
                }
                return .admin
            case .org:
                guard let org, !org.isEmpty else {
                    throw ValidationError("the scope org needs --org ORGANISATION")
                }
                if application != nil {
                    throw ValidationError("the scope org takes no --application; use that scope")
                }
                return .org(org)
            case .application:
                guard let org, !org.isEmpty, let application, !application.isEmpty else {
                    throw ValidationError("the scope application needs --org and --application")
                }
                return .application(org: org, application: application)
            }
        }

        /// Reads `30d` or an RFC 3339 time; microseconds since the epoch, in the future.
        static func instant(_ text: String, now: Int64) throws -> Int64 {
            let units: [Character: Int64] = [
                "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800,
            ]
            var end: Int64?
            if let unit = text.last.flatMap({ units[$0] }), let number = Int64(text.dropLast()),
                (1...1_000_000).contains(number)
            {
                end = now + number * unit * 1_000_000
            } else if let date = try? Date(text, strategy: .iso8601) {
                let seconds = date.timeIntervalSince1970
                if seconds.magnitude < 1e12 { end = Int64(seconds * 1_000_000) }
            }
            guard let end else {
                throw ValidationError(
                    "--expires: \"\(text)\" is no time; write 30d, 12h, or 2027-01-01T00:00:00Z"
                )
            }
            guard end > now else { throw ValidationError("--expires: \"\(text)\" is in the past") }
            return end
        }
    }

    /// `sluice token ls`.
    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "ls",
            abstract: "List all tokens without their secrets, oldest first.",
            discussion: """
                EXAMPLES:
                  sluice token ls
                  sluice token ls --format json
                """
        )

        @OptionGroup var options: ConfigurationOptions

        @Option(help: "Format of the list: table, json, csv or ndjson.")
        var format = OutputFormat.table

        mutating func run() async throws {
            try LogSetup.bootstrap()
            let settings = try options.load()
            let tokens = try await DatabaseAccess.with(settings) { uri in
                _ = try await Migrator().migrate(uri)
                return try await TokenStore(postgresURI: uri).list()
            }
            var table = Table(
                [
                    "id", "scope", "org", "application", "description", "created_at", "expires_at",
                    "revoked_at", "last_used_at",
                ])
            table.rows = tokens.map { token in
                var org = Cell.none
                var application = Cell.none
                switch token.scope {
                case .admin: break
                case .org(let name): org = .text(name)
                case .application(let owner, let name):
                    org = .text(owner)
                    application = .text(name)
                }
                return [
                    .text(token.id), .text(token.scope.name), org, application,
                    token.description.map(Cell.text) ?? .none, .time(token.createdAt),
                    token.expiresAt.map(Cell.time) ?? .none,
                    token.revokedAt.map(Cell.time) ?? .none,
                    token.lastUsedAt.map(Cell.time) ?? .none,
                ]
            }
            Terminal.show(table, format)
        }
    }

    /// `sluice token revoke`.
    struct Revoke: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "End the validity of a token; servers notice within seconds.",
            discussion: """
                EXAMPLES:
                  sluice token revoke tok_1f2e3d
                """
        )

        @OptionGroup var options: ConfigurationOptions

        @Argument(help: "Id of the token, as `token ls` shows it.")
        var id: String

        mutating func run() async throws {
            try LogSetup.bootstrap()
            let settings = try options.load()
            let id = id
            do {
                try await DatabaseAccess.with(settings) { uri in
                    _ = try await Migrator().migrate(uri)
                    try await TokenStore(postgresURI: uri).revoke(id: id)
                }
            } catch TokenStoreError.unknownToken(let id) {
                throw CommandFailure.failed(
                    "there is no token with the id \"\(id)\"; `sluice token ls` lists them"
                )
            }
        }
    }
}

extension Cell {
    /// A time in UTC, from microseconds since the Unix epoch.
    static func time(_ microseconds: Int64) -> Cell {
        let date = Date(timeIntervalSince1970: Double(microseconds) / 1_000_000)
        return .text(date.formatted(.iso8601))
    }
}
