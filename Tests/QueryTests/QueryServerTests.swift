import Foundation
import Logging
import Query
import ServiceLifecycle
import Telemetry
import Testing

#if canImport(FoundationNetworking)
    import FoundationNetworking
#endif

/// The server on a real socket.
@Suite("Query server", .timeLimit(.minutes(15)))
struct QueryServerTests {
    /// Runs a server on a free port while `body` does, then shuts it down gracefully.
    static func with(
        _ fixture: Fixture,
        _ change: (inout QueryConfiguration) -> Void = { _ in },
        _ body: @Sendable @escaping (URL) async throws -> Void
    ) async throws {
        var configuration = QueryConfiguration(postgresURI: fixture.uri)
        configuration.port = 0
        change(&configuration)
        let (ports, continuation) = AsyncStream<Int>.makeStream(
            bufferingPolicy: .bufferingOldest(1)
        )
        var logger = Logger(label: "query.tests")
        logger.logLevel = .critical
        let clock = fixture.clock
        let server = QueryServer(
            configuration: configuration,
            metrics: MetricsRegistry(),
            logger: logger,
            now: { clock.now },
            onListening: { _, port in continuation.yield(port) }
        )
        let group = ServiceGroup(
            configuration: ServiceGroupConfiguration(services: [server], logger: logger)
        )
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask {
                defer { continuation.finish() }
                try await group.run()
            }
            var iterator = ports.makeAsyncIterator()
            guard let port = await iterator.next() else {
                try await tasks.waitForAll()
                return
            }
            let url = try #require(URL(string: "http://127.0.0.1:\(port)"))
            do {
                try await body(url)
            } catch {
                await group.triggerGracefulShutdown()
                throw error
            }
            await group.triggerGracefulShutdown()
            try await tasks.waitForAll()
        }
    }

    /// One request; returns status, headers and body.
    static func send(
        _ url: URL,
        _ path: String,
        token: String? = nil,
        method: String = "GET",
        body: Data? = nil,
        type: String? = nil
    ) async throws -> (HTTPURLResponse, String) {
        var request = URLRequest(url: try #require(URL(string: path, relativeTo: url)))
        request.httpMethod = method
        request.httpBody = body
        request.timeoutInterval = 30
        if let token { request.setValue(token, forHTTPHeaderField: "Authorization") }
        if let type { request.setValue(type, forHTTPHeaderField: "Content-Type") }
        let session = URLSession(configuration: .ephemeral)
        defer { session.finishTasksAndInvalidate() }
        let (data, response) = try await session.data(for: request)
        return (try #require(response as? HTTPURLResponse), String(decoding: data, as: UTF8.self))
    }

    @Test("questions are answered over HTTP, and shutdown is graceful")
    func serves() async throws {
        try await Fixture.with { fixture in
            try fixture.insert([AnswerTests.record()], asDeltas: true)
            let admin = try await fixture.authorization(.admin)
            try await Self.with(fixture) { url in
                let path = "/v1/usage?" + AnswerTests.range + "&granularity=total"
                let (response, body) = try await Self.send(url, path, token: admin)
                #expect(response.statusCode == 200)
                #expect(response.value(forHTTPHeaderField: "Content-Type") == "application/json")
                #expect(response.value(forHTTPHeaderField: "X-Content-Type-Options") == "nosniff")
                #expect(body.contains(#""rows":[{"requests":1,"errors":0}]"#), "\(body)")
                let (refused, problem) = try await Self.send(url, path)
                #expect(refused.statusCode == 401)
                #expect(refused.value(forHTTPHeaderField: "WWW-Authenticate") != nil)
                #expect(problem.contains("urn:sluice:problem:unauthorized"))
                let (posted, answer) = try await Self.send(
                    url,
                    "/v1/usage",
                    token: admin,
                    method: "POST",
                    body: Data(#"{"from":"-3h","granularity":"total"}"#.utf8),
                    type: "application/json"
                )
                #expect(posted.statusCode == 200)
                #expect(answer.contains(#""requests":1"#))
                let (streamed, lines) = try await Self.send(
                    url,
                    path + "&group_by=route&format=csv&limit=none",
                    token: admin
                )
                #expect(streamed.statusCode == 200)
                #expect(lines == "route,requests,errors\r\nGET /a,1,0\r\n")
                let (head, empty) = try await Self.send(url, "/livez", method: "HEAD")
                #expect(head.statusCode == 200 && empty.isEmpty)
                #expect(head.value(forHTTPHeaderField: "Content-Length") == "18")
                let (ready, _) = try await Self.send(url, "/readyz")
                #expect(ready.statusCode == 200)
                let (document, yaml) = try await Self.send(url, "/openapi.yaml")
                #expect(document.statusCode == 200 && yaml == OpenAPI.document)
            }
        }
    }

    @Test("pages come over HTTP, and a current copy is not sent again")
    func servesPages() async throws {
        try await Self.with(Fixture(uri: "host=/nowhere", clock: Fixture.Clock(Fixture.now))) {
            url in
            let (page, html) = try await Self.send(url, "/")
            #expect(page.statusCode == 200 && html.hasPrefix("<!doctype html>"))
            #expect(
                page.value(forHTTPHeaderField: "Content-Security-Policy")?
                    .hasPrefix("default-src 'none'; script-src 'self'") ?? false
            )
            let tag = try #require(page.value(forHTTPHeaderField: "ETag"))
            var request = URLRequest(url: url)
            request.setValue(tag, forHTTPHeaderField: "If-None-Match")
            request.cachePolicy = .reloadIgnoringLocalCacheData
            let session = URLSession(configuration: .ephemeral)
            defer { session.finishTasksAndInvalidate() }
            let (data, response) = try await session.data(for: request)
            #expect((response as? HTTPURLResponse)?.statusCode == 304 && data.isEmpty)
            let (head, nothing) = try await Self.send(url, "/portal?x=y", method: "HEAD")
            #expect(head.statusCode == 200 && nothing.isEmpty)
            let length = head.value(forHTTPHeaderField: "Content-Length").flatMap { Int($0) }
            #expect(length == WebFile.all.first { $0.path == "/portal" }?.content.utf8.count)
        }
    }

    @Test("a body larger than the limit is refused without being read whole")
    func largeBody() async throws {
        try await Fixture.with { fixture in
            let admin = try await fixture.authorization(.admin)
            try await Self.with(fixture, { $0.bodyBytesMax = 1_000 }) { url in
                let (response, body) = try await Self.send(
                    url,
                    "/v1/usage",
                    token: admin,
                    method: "POST",
                    body: Data(repeating: UInt8(ascii: " "), count: 2_000),
                    type: "application/json"
                )
                #expect(response.statusCode == 413)
                #expect(body.contains("1000 bytes"))
            }
        }
    }

    @Test("a port in use is an error, not a silent server")
    func portInUse() async throws {
        try await Fixture.with { fixture in
            try await Self.with(fixture) { url in
                let port = try #require(url.port)
                await #expect(throws: (any Error).self) {
                    try await Self.with(fixture, { $0.port = port }) { _ in }
                }
            }
        }
    }

    @Test("many clients at once all get their answer")
    func concurrent() async throws {
        try await Fixture.with { fixture in
            try fixture.insert([AnswerTests.record()], asDeltas: true)
            let admin = try await fixture.authorization(.admin)
            let api = fixture.api { $0.poolSize = 2 }
            let query = AnswerTests.range + "&granularity=total"
            let statuses = await withTaskGroup(of: Int.self) { group in
                for _ in 0..<60 {
                    group.addTask {
                        await api.respond(
                            APIRequest("GET", "/v1/usage", query: query, authorization: admin)
                        ).status
                    }
                }
                return await group.reduce(into: [Int: Int]()) { $0[$1, default: 0] += 1 }
            }
            #expect(statuses == [200: 60])
            let busy = fixture.api {
                $0.poolSize = 1
                $0.poolWaitersMax = 1
            }
            _ = try await busy.usage(query, admin)
            let refused = await withTaskGroup(of: Int.self) { group in
                for _ in 0..<40 {
                    group.addTask {
                        await busy.respond(
                            APIRequest("GET", "/v1/usage", query: query, authorization: admin)
                        ).status
                    }
                }
                return await group.reduce(into: [Int: Int]()) { $0[$1, default: 0] += 1 }
            }
            #expect((refused[503] ?? 0) > 0 && (refused[200] ?? 0) > 0, "\(refused)")
            #expect((refused[503] ?? 0) + (refused[200] ?? 0) == 40)
        }
    }
}
