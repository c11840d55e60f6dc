import Foundation
import Logging
import Query
import ServiceLifecycle
import Telemetry
import Testing

#if canImport(FoundationNetworking)
    import FoundationNetworking
#endif

/// The page of metrics on a real socket.
@Suite("Metrics server", .timeLimit(.minutes(15)))
struct MetricsServerTests {
    @Test("metrics and liveness are answered, and nothing else is")
    func paths() async throws {
        let metrics = MetricsRegistry()
        metrics.counter("test_events_total", help: "Events.").add(7)
        let (ports, continuation) = AsyncStream<Int>.makeStream(
            bufferingPolicy: .bufferingOldest(1)
        )
        var logger = Logger(label: "query.tests")
        logger.logLevel = .critical
        let server = MetricsServer(
            host: "127.0.0.1",
            port: 0,
            metrics: metrics,
            logger: logger,
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
            guard let port = await iterator.next() else { return try await tasks.waitForAll() }
            let url = try #require(URL(string: "http://127.0.0.1:\(port)"))
            do {
                try await Self.check(url)
            } catch {
                await group.triggerGracefulShutdown()
                throw error
            }
            await group.triggerGracefulShutdown()
            try await tasks.waitForAll()
        }
    }

    private static func check(_ url: URL) async throws {
        let (page, text) = try await QueryServerTests.send(url, "/metrics")
        #expect(page.statusCode == 200)
        #expect(page.value(forHTTPHeaderField: "Content-Type")?.hasPrefix("text/plain") == true)
        #expect(text.contains("test_events_total 7\n"))
        #expect(try await QueryServerTests.send(url, "/livez").0.statusCode == 200)
        let (missing, problem) = try await QueryServerTests.send(url, "/v1/usage")
        #expect(missing.statusCode == 404)
        #expect(problem.contains("/metrics"))
        let (refused, _) = try await QueryServerTests.send(url, "/metrics", method: "POST")
        #expect(refused.statusCode == 405)
        #expect(refused.value(forHTTPHeaderField: "Allow") == "GET, HEAD")
    }
}
