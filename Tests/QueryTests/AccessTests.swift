import Foundation
import Query
import Records
import Rollups
import Testing

/// Who may see what.
@Suite("Access", .timeLimit(.minutes(15)))
struct AccessTests {
    static let from: Int64 = 1_773_100_000
    static let to: Int64 = 1_773_140_000
    static let range = "from=2026-03-09T00:00:00Z&to=2026-03-11T00:00:00Z&granularity=total"

    /// The problem's kind in an answer.
    static func kind(_ reply: APIReply) throws -> String? {
        let type = try Answer(reply).object["type"] as? String
        return type?.replacingOccurrences(of: "urn:sluice:problem:", with: "")
    }

    @Test("every endpoint with data refuses requests without a valid token")
    func unauthorized() async throws {
        try await Fixture.with { fixture in
            let api = fixture.api()
            let store = TokenStore(postgresURI: fixture.uri)
            let revoked = try await store.create(scope: .admin)
            try await store.revoke(id: revoked.token.id)
            let wellFormed = "sluice_" + String(repeating: "A", count: 43)
            let headers: [String?] = [
                nil, "", "Bearer", "Bearer ", "Bearer x", "Basic YTpi", "Bearer " + wellFormed,
                wellFormed, "Bearer \(wellFormed) x", "Bearer \(revoked.secret)",
                "Bearer " + String(repeating: "x", count: 100_000), "Bearer sluice_' OR 1=1 --",
            ]
            for path in ["/v1/usage", "/v1/meta", "/v1/ledger", "/v1/meters", "/v1/meters/a"] {
                for header in headers {
                    let reply = await api.respond(APIRequest("GET", path, authorization: header))
                    #expect(reply.status == 401, "\(path) \(header ?? "-")")
                    #expect(try Self.kind(reply) == "unauthorized")
                    let challenge = reply.headers.first { $0.name == "WWW-Authenticate" }?.value
                    #expect(challenge?.hasPrefix("Bearer realm=\"sluice\"") == true)
                    #expect(challenge?.contains("invalid_token") == (header != nil))
                }
            }
        }
    }

    @Test("a revoked or expired token stops working within seconds")
    func lifetime() async throws {
        try await Fixture.with { fixture in
            let api = fixture.api()
            let store = TokenStore(postgresURI: fixture.uri)
            let (secret, token) = try await store.create(scope: .admin, description: "test")
            let expiring = try await fixture.authorization(
                .admin,
                expiresAt: fixture.clock.now + 5_000_000
            )
            let bearer = "bearer " + secret
            #expect(try await api.usage(Self.range, bearer).status == 200)
            #expect(try await api.usage(Self.range, expiring).status == 200)
            try await store.revoke(id: token.id)
            fixture.clock.advance(seconds: 2.1)
            #expect(try await api.usage(Self.range, bearer).status == 401)
            #expect(try await api.usage(Self.range, expiring).status == 200)
            fixture.clock.advance(seconds: 2.9)
            #expect(try await api.usage(Self.range, expiring).status == 401)
            let listed = try await store.list()
            #expect(listed.count == 2)
            #expect(listed.first { $0.id == token.id }?.revokedAt != nil)
            #expect(listed.first { $0.id == token.id }?.description == "test")
            await #expect(throws: TokenStoreError.unknownToken("nobody")) {
                try await store.revoke(id: "nobody")
            }
        }
    }

    @Test("the store keeps no secret, knows of admins, and refuses scopes that bind to nothing")
    func store() async throws {
        try await Fixture.with { fixture in
            let store = TokenStore(postgresURI: fixture.uri)
            #expect(try await store.hasAdminToken() == false)
            _ = try await store.create(scope: .org("acme"))
            #expect(try await store.hasAdminToken() == false)
            let (secret, token) = try await store.create(scope: .admin)
            #expect(try await store.hasAdminToken() == true)
            #expect(secret.hasPrefix("sluice_") && secret.utf8.count == 50)
            #expect(!secret.contains(token.id))
            try await store.revoke(id: token.id)
            #expect(try await store.hasAdminToken() == false)
            for scope in [
                TokenScope.org(""), .org("__other__"), .application(org: "acme", application: ""),
                .application(org: "", application: "shop"),
                .application(org: "acme", application: "__other__"),
            ] {
                await #expect(throws: TokenStoreError.self) { try await store.create(scope: scope) }
            }
        }
    }

    @Test("a token sees its own organisation and application only, whatever it asks")
    func isolation() async throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        Attachment.record("\(seed)", named: "seed")
        let model = RecordModel(seed: seed, count: 600, from: Self.from, to: Self.to)
        try await Fixture.with { fixture in
            try fixture.insert(Array(model.records.prefix(300)), asDeltas: false)
            try fixture.insert(Array(model.records.dropFirst(300)), asDeltas: true)
            let api = fixture.api()
            let org = try await fixture.authorization(.org("acme"))
            let shop = try await fixture.authorization(
                .application(org: "acme", application: "shop")
            )
            let ofOrg = model.records.filter { $0.org == "acme" }
            let ofShop = ofOrg.filter { $0.application == "shop" }
            let questions = [
                "", "&group_by=org", "&filter=org:eq:globex", "&filter=org:ne:acme",
                "&filter=org:in:globex,acme,", "&filter=org:prefix:", "&filter=org:eq:",
                "&filter=org:eq:__other__", "&group_by=org,api", "&filter=org:nin:x",
                "&group_by=application&filter=application:ne:shop", "&group_by=key,application",
            ]
            for question in questions {
                for (token, records) in [(org, ofOrg), (shop, ofShop)] {
                    let query = Self.range + question + "&metrics=requests,unique_clients,bytes_out"
                    let answer = try await api.usage(query, token)
                    #expect(answer.status == 200, "\(question)")
                    let request = try UsageRequest(UsageParameters(query: query), now: Fixture.now)
                    let wanted = records.filter { record in
                        request.filters.allSatisfy { RecordModel.matches($0, record) }
                    }
                    let sum = answer.rows.reduce(0) { $0 + (($1["requests"] as? Int) ?? 0) }
                    #expect(sum == wanted.count, "\(question)")
                    for row in answer.rows {
                        if let name = row["org"] { #expect(name as? String == "acme") }
                    }
                }
            }
            let applications = try await api.usage(Self.range + "&group_by=application", shop)
            #expect(applications.rows.compactMap { $0["application"] as? String } == ["shop"])
            // No rollup has the application and these: any answer would show others.
            for dimension in ["method", "status", "region", "outcome", "country"] {
                let reply = await api.respond(
                    APIRequest(
                        "GET",
                        "/v1/usage",
                        query: Self.range + "&group_by=" + dimension,
                        authorization: shop
                    )
                )
                #expect(reply.status == 400, "\(dimension)")
                #expect(try Self.kind(reply) == "not-covered")
            }
        }
    }

    /// The rollups as `/v1/meta` lists them.
    private static let rollupNames = RollupDefinition.smallestFirst.map(\.name)

    @Test("meta shows only what the scope can ask, and the ledger is for admins")
    func metaAndLedger() async throws {
        try await Fixture.with { fixture in
            let api = fixture.api()
            let admin = try await fixture.authorization(.admin)
            let org = try await fixture.authorization(.org("acme"))
            let shop = try await fixture.authorization(
                .application(org: "acme", application: "shop")
            )
            func ask(_ path: String, _ token: String) async throws -> Answer {
                try Answer(await api.respond(APIRequest("GET", path, authorization: token)))
            }
            func rollups(_ answer: Answer) -> [String] {
                (answer.object["rollups"] as? [[String: Any]] ?? []).compactMap {
                    $0["name"] as? String
                }
            }
            #expect(rollups(try await ask("/v1/meta", admin)) == Self.rollupNames)
            #expect(rollups(try await ask("/v1/meta", org)) == Self.rollupNames)
            let meta = try await ask("/v1/meta", shop)
            #expect(rollups(meta) == ["consumer"])
            let dimensions = meta.object["dimensions"] as? [String]
            #expect(dimensions?.contains("method") == false)
            #expect(dimensions?.contains("status_class") == true)
            let scope = meta.object["scope"] as? [String: String]
            #expect(scope == ["name": "application", "org": "acme", "application": "shop"])
            #expect(try await ask("/v1/ledger", admin).status == 200)
            #expect(try await ask("/v1/ledger", org).status == 403)
            #expect(try await ask("/v1/ledger", shop).status == 403)
        }
    }
}
