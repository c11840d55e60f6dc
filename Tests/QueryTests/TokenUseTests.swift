import Foundation
import Postgres
import Query
import Testing

/// How often tokens may ask, what is noted of it, and what every answer says to browsers.
@Suite("Token use", .timeLimit(.minutes(15)))
struct TokenUseTests {
    private static func header(_ reply: APIReply, _ name: String) -> String? {
        reply.headers.first { $0.name == name }?.value
    }

    @Test("a token that asks too often is told when to come again, and others are not affected")
    func requestRate() async throws {
        try await Fixture.with { fixture in
            let api = fixture.api { $0.requestsPerSecondMax = 2 }
            let busy = try await fixture.authorization(.admin)
            let calm = try await fixture.authorization(.org("acme"))
            func ask(_ token: String) async -> APIReply {
                await api.respond(APIRequest("GET", "/v1/meta", authorization: token))
            }
            for _ in 0..<10 { #expect(await ask(busy).status == 200) }
            let refused = await ask(busy)
            #expect(refused.status == 429)
            #expect(Self.header(refused, "Retry-After") == "1")
            #expect(try AccessTests.kind(refused) == "too-many-requests")
            #expect(await ask(calm).status == 200)
            fixture.clock.advance(seconds: 1)
            #expect(await ask(busy).status == 200)
            #expect(await ask(busy).status == 200)
            #expect(await ask(busy).status == 429)
            // A clock set back refills nothing and locks nobody out for long.
            fixture.clock.advance(seconds: -3_600)
            #expect(await ask(busy).status == 429)
            #expect(Self.header(await ask(busy), "Retry-After") == "1")
            // Health and pages are for everybody.
            #expect(await api.respond(APIRequest("GET", "/livez")).status == 200)
        }
    }

    @Test("who tries tokens is slowed down by address; known tokens from there still work")
    func attempts() async throws {
        try await Fixture.with { fixture in
            let api = fixture.api { $0.attemptsPerSecondMax = 2 }
            let known = try await fixture.authorization(.admin)
            let unknown = try await fixture.authorization(.admin)
            func ask(_ token: String?, _ address: String?) async -> APIReply {
                await api.respond(
                    APIRequest("GET", "/v1/meta", authorization: token, address: address)
                )
            }
            #expect(await ask(known, "192.0.2.1").status == 200)
            let wrong = "Bearer sluice_" + String(repeating: "A", count: 43)
            for attempt in 0..<10 {
                let token = [nil, "Bearer nonsense", wrong][attempt % 3]
                #expect(await ask(token, "192.0.2.1").status == 401)
            }
            let refused = await ask(wrong, "192.0.2.1")
            #expect(refused.status == 429)
            #expect(Self.header(refused, "Retry-After") == "1")
            #expect(await ask(nil, "192.0.2.1").status == 429)
            #expect(await ask(unknown, "192.0.2.1").status == 429)
            #expect(await ask(known, "192.0.2.1").status == 200)
            #expect(await ask(unknown, "192.0.2.2").status == 200)
            #expect(await ask(wrong, "192.0.2.2").status == 401)
            // A network of IPv6 counts as one.
            for host in 0..<10 {
                #expect(await ask(wrong, "2001:db8:0:1::\(host)").status == 401)
            }
            #expect(await ask(wrong, "2001:db8:0:1:ffff::1").status == 429)
            #expect(await ask(wrong, "2001:db8::1:0:0:0:99").status == 429)
            #expect(await ask(wrong, "2001:db8:0:2::1").status == 401)
            fixture.clock.advance(seconds: 1)
            #expect(await ask(unknown, "192.0.2.1").status == 200)
        }
    }

    @Test("the audit says which token asked what and when, and the list when it was last used")
    func audit() async throws {
        try await Fixture.with { fixture in
            let api = fixture.api()
            let store = TokenStore(postgresURI: fixture.uri)
            let (secret, token) = try await store.create(scope: .org("acme"))
            let (other, unused) = try await store.create(scope: .admin)
            #expect(try await store.list().allSatisfy { $0.lastUsedAt == nil })
            let bearer = "Bearer " + secret
            let body = Array(#"{"from":"-1h","filter":"api:eq:a\u0000b"}"#.utf8) + [0, 0xFF]
            let requests = [
                APIRequest(
                    "GET",
                    "/v1/usage",
                    query: "from=-1h&metrics=requests",
                    authorization: bearer,
                    address: "192.0.2.7"
                ),
                APIRequest("POST", "/v1/usage", authorization: bearer) { body },
                APIRequest("GET", "/v1/ledger", authorization: bearer),
                APIRequest("GET", "/v1/meta", authorization: "Bearer nobody"),
                APIRequest("GET", "/livez", authorization: bearer),
            ]
            var statuses: [Int] = []
            for request in requests {
                statuses.append(await api.respond(request).status)
                fixture.clock.advance(seconds: 1)
            }
            #expect(statuses == [200, 400, 403, 401, 200])
            await api.audit.flush()
            let uses = try await store.uses(since: 0, limit: 100)
            #expect(uses.map(\.status) == [403, 400, 200])
            #expect(uses.map(\.path) == ["/v1/ledger", "/v1/usage", "/v1/usage"])
            #expect(uses.map(\.method) == ["GET", "POST", "GET"])
            #expect(uses.allSatisfy { $0.tokenID == token.id })
            #expect(uses.last?.address == "192.0.2.7")
            #expect(uses.last?.question == "from=-1h&metrics=requests")
            #expect(uses.last?.usedAt == Fixture.now)
            #expect(uses.dropFirst().first?.question?.contains("api:eq:") == true)
            #expect(try await store.uses(of: unused.id, since: 0, limit: 9).isEmpty)
            #expect(try await store.uses(since: Fixture.now + 1, limit: 9).count == 2)
            #expect(try await store.uses(since: 0, limit: 1).count == 1)
            let listed = try await store.list()
            #expect(listed.first { $0.id == token.id }?.lastUsedAt != nil)
            #expect(listed.first { $0.id == unused.id }?.lastUsedAt == nil)
            _ = other
        }
    }

    @Test("the audit forgets after its retention, and keeps nothing if that is zero")
    func retention() async throws {
        try await Fixture.with { fixture in
            let store = TokenStore(postgresURI: fixture.uri)
            let bearer = try await fixture.authorization(.admin)
            let silent = fixture.api { $0.auditRetention = .zero }
            _ = await silent.respond(APIRequest("GET", "/v1/meta", authorization: bearer))
            await silent.audit.flush()
            #expect(try await store.uses(since: 0, limit: 9).isEmpty)
            let api = fixture.api { $0.auditRetention = .seconds(86_400) }
            _ = await api.respond(APIRequest("GET", "/v1/meta", authorization: bearer))
            await api.audit.flush()
            let connection = try PostgresConnection(fixture.uri, applicationName: "tests")
            func age(_ interval: String) throws {
                try connection.execute(
                    "UPDATE sluice.token_use SET used_at = now() - interval '\(interval)'"
                )
            }
            try age("23 hours")
            await api.audit.expire()
            #expect(try await store.uses(since: 0, limit: 9).count == 1)
            try age("25 hours")
            await api.audit.expire()
            #expect(try await store.uses(since: 0, limit: 9).isEmpty)
        }
    }

    @Test("every answer carries the security headers, refusals and failures too")
    func securityHeaders() async throws {
        try await Fixture.with { fixture in
            let api = fixture.api()
            let bearer = try await fixture.authorization(.admin)
            let paths = [
                "/", "/portal", "/assets/chart.js", "/assets/none", "/v1/usage", "/v1/top",
                "/v1/meta", "/v1/ledger", "/v1/nothing", "/openapi.yaml", "/metrics", "/livez",
                "/readyz", "/nothing", "",
            ]
            for path in paths {
                for method in ["GET", "HEAD", "POST", "OPTIONS", "TRACE"] {
                    for token in [nil, bearer, "Bearer x"] {
                        let reply = await api.respond(
                            APIRequest(
                                method,
                                path,
                                authorization: token,
                                origin: "https://evil.example"
                            )
                        )
                        let what: Comment = "\(method) \(path) \(reply.status)"
                        #expect(reply.status < 500, what)
                        #expect(Self.header(reply, "X-Content-Type-Options") == "nosniff", what)
                        #expect(Self.header(reply, "X-Frame-Options") == "DENY", what)
                        #expect(Self.header(reply, "Referrer-Policy") == "no-referrer", what)
                        #expect(Self.header(reply, "Cache-Control") != nil, what)
                        for name in ["Cross-Origin-Opener-Policy", "Cross-Origin-Resource-Policy"] {
                            #expect(Self.header(reply, name) == "same-origin", what)
                        }
                        let policy = Self.header(reply, "Content-Security-Policy") ?? ""
                        #expect(policy.contains("default-src 'none'"), what)
                        #expect(policy.contains("frame-ancestors 'none'"), what)
                        #expect(!reply.headers.contains { $0.name.hasPrefix("Access-") }, what)
                        #expect(!reply.headers.contains { $0.name == "Set-Cookie" }, what)
                    }
                }
            }
        }
    }

    @Test("pages of a listed origin may ask the data endpoints, and of no other")
    func crossOrigin() async throws {
        try await Fixture.with { fixture in
            let friend = "https://status.example.com"
            let api = fixture.api { $0.corsOrigins = [friend] }
            let bearer = try await fixture.authorization(.admin)
            func ask(_ method: String, _ path: String, _ origin: String?) async -> APIReply {
                let token = method == "OPTIONS" ? nil : bearer
                return await api.respond(
                    APIRequest(method, path, authorization: token, origin: origin)
                )
            }
            let preflight = await ask("OPTIONS", "/v1/usage", friend)
            #expect(preflight.status == 204)
            #expect(Self.header(preflight, "Access-Control-Allow-Origin") == friend)
            let methods = Self.header(preflight, "Access-Control-Allow-Methods")
            #expect(methods == "GET, HEAD, POST")
            #expect(
                Self.header(preflight, "Access-Control-Allow-Headers")?.contains("Authorization")
                    == true
            )
            #expect(Self.header(preflight, "Access-Control-Allow-Credentials") == nil)
            let answer = await ask("GET", "/v1/usage", friend)
            #expect(answer.status == 200)
            #expect(Self.header(answer, "Access-Control-Allow-Origin") == friend)
            #expect(Self.header(answer, "Cross-Origin-Resource-Policy") == "cross-origin")
            #expect(answer.headers.contains { $0.name == "Vary" && $0.value == "Origin" })
            for origin in [nil, "https://evil.example", "null", "https://status.example.com.evil"] {
                #expect(await ask("OPTIONS", "/v1/usage", origin).status == 405)
                let answer = await ask("GET", "/v1/usage", origin)
                #expect(!answer.headers.contains { $0.name.hasPrefix("Access-") })
                #expect(answer.headers.contains { $0.name == "Vary" && $0.value == "Origin" })
            }
            for path in ["/", "/portal", "/metrics"] {
                #expect(await ask("OPTIONS", path, friend).status == 405)
                let answer = await ask("GET", path, friend)
                #expect(!answer.headers.contains { $0.name.hasPrefix("Access-") })
            }
        }
    }
}
