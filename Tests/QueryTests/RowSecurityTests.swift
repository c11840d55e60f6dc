import Foundation
import Postgres
import PostgresTesting
import Query
import Records
import Rollups
import Testing

/// What the database itself shows to the role of the query API, whatever SQL is sent.
@Suite("Row-level security", .timeLimit(.minutes(15)))
struct RowSecurityTests {
    /// A fixture with records of two organisations and several applications in every table.
    private static func withRecords(
        _ body: (Fixture, PostgresConnection, PostgresConnection) async throws -> Void
    ) async throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        Attachment.record("\(seed)", named: "seed")
        let model = RecordModel(
            seed: seed,
            count: 300,
            from: AccessTests.from,
            to: AccessTests.to
        )
        try await Fixture.with { fixture in
            try fixture.insert(Array(model.records.prefix(150)), asDeltas: false)
            try fixture.insert(Array(model.records.dropFirst(150)), asDeltas: true)
            let owner = try PostgresConnection(fixture.uri, applicationName: "owner")
            try owner.execute(
                """
                INSERT INTO sluice.log (log_id, node) VALUES (gen_random_uuid(), 'n');
                INSERT INTO sluice.ledger (generation, log_id, hour, folded)
                  VALUES (1, gen_random_uuid(), now(), 1);
                INSERT INTO sluice.dead_letter (log_id, "offset", reason, record)
                  VALUES (gen_random_uuid(), 1, 'x', '\\x00');
                """
            )
            let reader = try PostgresConnection(fixture.uri, applicationName: "reader")
            try await body(fixture, owner, reader)
        }
    }

    /// Tables of ours with the given privilege of the reader role, without partitions.
    private static func tables(
        _ owner: PostgresConnection,
        where condition: String
    ) throws -> [String] {
        let found = try owner.query(
            """
            SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c
            JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE (n.nspname = 'sluice' OR n.nspname ~ '^sluice_g[0-9]+$')
              AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND \(condition) ORDER BY 1
            """
        )
        return (0..<found.rowCount).compactMap { found.text($0, 0) }
    }

    private static func count(_ table: String, _ connection: PostgresConnection) throws -> Int64 {
        try connection.query("SELECT count(*) FROM \(table)").int(0, 0) ?? -1
    }

    private static func identifier(
        _ name: String,
        _ value: String,
        _ connection: PostgresConnection
    ) throws -> Int64 {
        let found = try connection.query(
            "SELECT id::bigint FROM sluice.dimension WHERE name = $1::text AND value = $2::text",
            [.text(name), .text(value)]
        )
        return found.int(0, 0) ?? -1
    }

    @Test("a statement without any WHERE shows the scope's rows and no others, in every table")
    func everyTable() async throws {
        try await Self.withRecords { _, owner, reader in
            let acme = try Self.identifier("org", "acme", owner)
            let shop = try Self.identifier("application", "shop", owner)
            let rollups = try Self.tables(
                owner,
                where: "n.nspname = 'sluice_g1' AND NOT c.relispartition "
                    + "AND c.relname ~ '_(delta|1m|15m|1h|1d)$'"
            )
            #expect(rollups.count == RollupDefinition.builtIn.reduce(0) { $0 + 1 + $1.tiers.count })
            let scopes: [(TokenScope?, String)] = [
                (nil, "false"), (.admin, "true"), (.org("acme"), "org = \(acme)"),
                (.org("nobody"), "false"), (.org("__other__"), "false"),
                (
                    .application(org: "acme", application: "shop"),
                    "org = \(acme) AND application = \(shop)"
                ),
                (.application(org: "acme", application: "nothing"), "false"),
                (.application(org: "nobody", application: "shop"), "false"),
            ]
            for (scope, condition) in scopes {
                try Self.begin(scope, reader)
                for table in rollups {
                    let hasApplication = table.contains("consumer_")
                    let isApplication = scope?.application != nil
                    let filter = isApplication && !hasApplication ? "false" : condition
                    let seen = try Self.count(table, reader)
                    let wanted = try Self.count("\(table) WHERE \(filter)", owner)
                    #expect(seen == wanted, "\(table) as \(scope.map { "\($0)" } ?? "nobody")")
                    if scope == .org("acme") { #expect(wanted > 0) }
                }
                for table in ["sluice.log", "sluice.ledger", "sluice.dead_letter"] {
                    #expect(try Self.count(table, reader) == (scope == .admin ? 1 : 0))
                }
                reader.rollback()
            }
        }
    }

    /// Begins as the query API does; without a scope, as a mistake would.
    private static func begin(_ scope: TokenScope?, _ reader: PostgresConnection) throws {
        if scope == .org("__other__") {
            try reader.begin("READ ONLY; SET LOCAL ROLE sluice_reader")
            try reader.query("SELECT sluice.enter('org', '__other__', null)")
        } else if let scope {
            try reader.beginReading(as: scope)
        } else {
            try reader.begin("READ ONLY; SET LOCAL ROLE sluice_reader")
        }
    }

    @Test("names of other organisations and applications are not in the dictionary that is shown")
    func dictionary() async throws {
        try await Self.withRecords { (_, _, reader) async throws in
            func names(_ name: String, _ scope: TokenScope) throws -> [String] {
                try reader.beginReading(as: scope)
                defer { reader.rollback() }
                let found = try reader.query(
                    "SELECT value FROM sluice.dimension WHERE name = $1::text ORDER BY value",
                    [.text(name)]
                )
                return (0..<found.rowCount).compactMap { found.text($0, 0) }
            }
            let shop = TokenScope.application(org: "acme", application: "shop")
            #expect(try names("org", .admin) == ["acme", "globex"])
            #expect(try names("org", .org("acme")) == ["acme"])
            #expect(try names("org", shop) == ["acme"])
            #expect(try names("application", .admin).count == 3)
            #expect(try names("application", shop) == ["shop"])
            #expect(try names("api", shop).count == 4)
        }
    }

    @Test("the settings end with the transaction, and the next one sees nothing without its own")
    func settingsEnd() async throws {
        try await Self.withRecords { _, _, reader in
            try reader.execute("SET ROLE sluice_reader")
            try reader.beginReading(as: .admin)
            #expect(try Self.count("sluice_g1.api_1m", reader) > 0)
            reader.rollback()
            #expect(try Self.count("sluice_g1.api_1m", reader) == 0)
            #expect(try Self.count("sluice.dimension", reader) == 0)
            try reader.begin("READ ONLY")
            #expect(try Self.count("sluice_g1.api_delta", reader) == 0)
            reader.rollback()
        }
    }

    @Test("the reader role owns nothing, writes nothing, and reads no tokens, views or partitions")
    func privileges() async throws {
        try await Self.withRecords { fixture, owner, reader in
            let role = try owner.query(
                """
                SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolcanlogin OR rolbypassrls
                  OR rolreplication,
                  EXISTS (SELECT FROM pg_class WHERE relowner = r.oid)
                    OR EXISTS (SELECT FROM pg_proc WHERE proowner = r.oid)
                    OR EXISTS (SELECT FROM pg_namespace WHERE nspowner = r.oid)
                FROM pg_roles r WHERE rolname = $1::text
                """,
                [.text(ReaderRole.name)]
            )
            #expect(role.bool(0, 0) == false)
            #expect(role.bool(0, 1) == false)
            let writable = try Self.tables(
                owner,
                where: """
                    has_table_privilege('sluice_reader', c.oid,
                      'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
                    """
            )
            #expect(writable.isEmpty)
            // Without row-level security: only what belongs to nobody. Some views read as who asks.
            let open = try Self.tables(
                owner,
                where: "has_table_privilege('sluice_reader', c.oid, 'SELECT') "
                    + "AND NOT (c.relrowsecurity AND c.relkind IN ('r', 'p')) "
                    + "AND NOT coalesce(c.reloptions @> '{security_invoker=true}', false)"
            )
            let allowed = ["generation", "log_state", "migration", "rollup", "rollup_tier"]
            #expect(open == allowed.map { "sluice." + $0 })
            let partitions = try Self.tables(
                owner,
                where: "c.relispartition AND has_table_privilege('sluice_reader', c.oid, 'SELECT')"
            )
            #expect(partitions.isEmpty)
            for sql in [
                "SELECT * FROM sluice.token", "SELECT * FROM sluice.token_use",
                "SELECT * FROM sluice.usage", "SELECT * FROM sluice_g1.api_1m_rest",
                "SELECT * FROM sluice.transport_offset", "SELECT sluice.make_views(1)",
                "INSERT INTO sluice_g1.api_delta SELECT * FROM sluice_g1.api_delta",
                "DELETE FROM sluice.ledger", "ALTER TABLE sluice.ledger DISABLE ROW LEVEL SECURITY",
            ] {
                // Not read-only, so that privileges decide.
                try reader.begin("; SET LOCAL ROLE sluice_reader")
                #expect(sqlState(sql, reader) == "42501", "\(sql)")
                reader.rollback()
            }
            // An unprotected table is refused rather than shown.
            try owner.execute("CREATE TABLE sluice.novelty (org integer)")
            try reader.beginReading(as: .admin)
            #expect(sqlState("SELECT * FROM sluice.novelty", reader) == "42501")
            reader.rollback()
            _ = fixture
        }
    }

    /// The SQLSTATE with which a statement is refused.
    private func sqlState(_ sql: String, _ connection: PostgresConnection) -> String? {
        do throws(PostgresError) {
            try connection.execute(sql)
            return nil
        } catch { return error.sqlState }
    }

    @Test("a later generation and a table with names instead of ids are protected by the functions")
    func later() async throws {
        try await Self.withRecords { _, owner, reader in
            try owner.execute(
                """
                CREATE SCHEMA sluice_g2;
                CREATE TABLE sluice_g2.consumer_delta (LIKE sluice_g1.consumer_delta);
                INSERT INTO sluice_g2.consumer_delta SELECT * FROM sluice_g1.consumer_delta;
                CREATE TABLE sluice.sample (org text, application text, path text)
                  PARTITION BY LIST (path);
                CREATE TABLE sluice.sample_1 PARTITION OF sluice.sample DEFAULT;
                INSERT INTO sluice.sample VALUES ('acme', 'shop', '1'), ('acme', 'mobile', '2'),
                  ('globex', 'shop', '3'), (NULL, NULL, '4'), ('', '', '5');
                SELECT sluice.protect_generation(2), sluice.protect('sluice.sample');
                SELECT sluice.protect_generation(2), sluice.protect('sluice.sample');
                """
            )
            for (scope, count) in [
                (TokenScope.admin, 5), (.org("acme"), 2),
                (.application(org: "acme", application: "shop"), 1), (.org("initech"), 0),
            ] {
                try reader.beginReading(as: scope)
                #expect(try Self.count("sluice.sample", reader) == count)
                let filter = scope == .admin ? "" : " WHERE org = -1"
                if scope.application == nil, scope.org != "acme" {
                    let wanted = try Self.count("sluice_g2.consumer_delta" + filter, owner)
                    #expect(try Self.count("sluice_g2.consumer_delta", reader) == wanted)
                }
                #expect(sqlState("SELECT * FROM sluice.sample_1", reader) == "42501")
                reader.rollback()
            }
        }
    }

    @Test("partitions outside the range asked for are not read under the policies")
    func pruning() async throws {
        try await Fixture.with { fixture in
            let owner = try PostgresConnection(fixture.uri, applicationName: "owner")
            try owner.execute(
                """
                DROP TABLE sluice_g1.api_1m_rest;
                CREATE TABLE sluice_g1.api_1m_p20260101 PARTITION OF sluice_g1.api_1m
                  FOR VALUES FROM ('2026-01-01') TO ('2026-01-02');
                CREATE TABLE sluice_g1.api_1m_p20260102 PARTITION OF sluice_g1.api_1m
                  FOR VALUES FROM ('2026-01-02') TO ('2026-01-03');
                """
            )
            for scope in [TokenScope.admin, .org("acme")] {
                try owner.beginReading(as: scope)
                defer { owner.rollback() }
                let plan = try owner.query(
                    """
                    EXPLAIN SELECT sum(requests) FROM sluice_g1.api_1m
                    WHERE bucket >= $1::timestamptz AND bucket < $2::timestamptz
                      AND org = ANY ($3::int8[])
                    """,
                    [
                        .timestamp(1_767_312_000_000_000), .timestamp(1_767_315_600_000_000),
                        .intArray([1]),
                    ]
                )
                let text = (0..<plan.rowCount).compactMap { plan.text($0, 0) }.joined()
                #expect(text.contains("api_1m_p20260102"))
                #expect(!text.contains("api_1m_p20260101"))
            }
        }
    }
}
