import Dispatch
import EventLog
import FileIO
import FileIOTesting
import Gateway
import Logging
import NIOCore
import NIOPosix
import Records
import Synchronization
import Telemetry
import Testing

/// A gateway in this process, with an upstream that the test plays.
struct TestGateway: Sendable {
    /// A port on which nobody listens: below the range from which the kernel takes free ports, so
    /// that no test running beside gets it.
    static let refusingPort = 1

    /// Where it listens.
    let port: Int
    /// What stands behind it.
    let upstream: TestListener
    /// Its metrics.
    let metrics: MetricsRegistry

    /// A client connection.
    func connect(receiveBuffer: Int? = nil) async throws -> TestSocket {
        try await TestSocket.connect(port, receiveBuffer: receiveBuffer)
    }

    /// The value of a line of the metrics page.
    func metric(_ name: String) -> String? {
        metrics.render().split(separator: "\n").first { $0.hasPrefix("\(name) ") }
            .map { String($0.dropFirst(name.count + 1)) }
    }

    /// Sends a request, plays the upstream's part of it, and returns the head and body that come.
    func exchange(
        _ client: TestSocket,
        _ request: String,
        _ upstream: TestSocket,
        _ response: String
    ) async throws -> String {
        try await client.send(request)
        _ = await upstream.receiveHead()
        try await upstream.send(response)
        return await client.receiveHead()
    }
}

/// A minimal GET.
func get(_ path: String, _ fields: String = "") -> String {
    "GET \(path) HTTP/1.1\r\nHost: api.example\r\n\(fields)\r\n"
}

/// A response with a length.
func ok(_ body: String, _ fields: String = "") -> String {
    "HTTP/1.1 200 OK\r\n\(fields)Content-Length: \(body.utf8.count)\r\n\r\n\(body)"
}

/// Runs a gateway with one event loop around the body; returns the request records it has left.
///
/// The default API is `/orders/`, open, with two routes.
@discardableResult
func withGateway(
    fileSystem: any FileSystem = MemoryFileSystem(),
    log configureLog: (inout LogConfiguration) -> Void = { _ in },
    configure: (inout GatewayConfiguration, TestListener) -> Void = { _, _ in },
    _ body: @escaping @Sendable (TestGateway) async throws -> Void
) async throws -> [RequestRecord] {
    let upstream = try await TestSocket.listen()
    var configuration = GatewayConfiguration()
    configuration.port = 0
    configuration.eventLoops = 1
    configuration.node = "test"
    configuration.region = "here"
    configuration.credentialKey = [UInt8](repeating: 7, count: 32)
    configuration.timeouts.granularity = .milliseconds(10)
    // Nobody waits in a queue by the clock of a busy machine.
    configuration.timeouts.connect = .seconds(120)
    var api = GatewayAPI(
        id: "orders",
        org: "acme",
        listenPath: "/orders/",
        upstreams: [UpstreamAddress(host: "127.0.0.1", port: upstream.port)]
    )
    api.version = "v1"
    api.routes = [
        RouteTemplate(method: "GET", path: "/orders/{id}"),
        RouteTemplate(method: nil, path: "/orders"),
    ]
    configuration.apis = [api]
    configure(&configuration, upstream)

    let log = try LogDirectory(path: "/data", fileSystem: fileSystem, time: SystemTimeSource())
    _ = try log.recover()
    var logConfiguration = LogConfiguration()
    logConfiguration.segmentBytes = 4 << 20
    configureLog(&logConfiguration)
    let metrics = MetricsRegistry()
    let (ports, announce) = AsyncStream<Int>.makeStream(bufferingPolicy: .bufferingNewest(1))
    var logger = Logger(label: "test")
    logger.logLevel = .critical
    let server = try GatewayServer(
        configuration: configuration,
        log: log,
        logConfiguration: logConfiguration,
        metrics: metrics,
        logger: logger
    ) { _, port in announce.yield(port) }
    try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask {
            defer { announce.finish() }
            try await server.run()
        }
        for await port in ports {
            let gateway = TestGateway(port: port, upstream: upstream, metrics: metrics)
            do {
                try await body(gateway)
            } catch {
                group.cancelAll()
                throw error
            }
            break
        }
        // Cancellation ends the server in order, as a signal does.
        group.cancelAll()
        try await group.waitForAll()
    }
    await upstream.close()
    return try requestRecords(log)
}

/// The request records of all logs of a directory, in order.
func requestRecords(_ log: LogDirectory) throws -> [RequestRecord] {
    var records: [RequestRecord] = []
    for summary in try log.logs() {
        var reader = try log.reader(summary.id, from: .zero)
        while let item = try reader.next() {
            guard case .records(let batch) = item else { continue }
            try batch.forEach { _, bytes in
                let record = try RequestRecord(decoding: bytes)
                if record.kind == .request { records.append(record) }
            }
        }
    }
    return records
}

/// Lets tests hold back writes and syncs, and know when one is being held.
struct GatedFiles: Sendable {
    /// One kind of operation that can be held.
    final class Gate: Sendable {
        private struct State: Sendable {
            var isClosed = false
            var held = 0
            var waiters: [CheckedContinuation<Void, Never>] = []
        }

        private let state = Mutex(State())
        /// A descriptor-free way to block a thread until the gate opens.
        private let barrier = DispatchSemaphore(value: 0)

        /// Holds the operations that follow.
        func close() { state.withLock { $0.isClosed = true } }

        /// Lets everything go on.
        func open() {
            let held = state.withLock { state in
                state.isClosed = false
                return state.held
            }
            for _ in 0..<held { barrier.signal() }
        }

        /// Waits until an operation is being held.
        func waitUntilHeld() async {
            await withCheckedContinuation { continuation in
                let isHeld = state.withLock { state in
                    if state.held > 0 { return true }
                    state.waiters.append(continuation)
                    return false
                }
                if isHeld { continuation.resume() }
            }
        }

        fileprivate func pass() {
            let waiters: [CheckedContinuation<Void, Never>]? = state.withLock { state in
                guard state.isClosed else { return nil }
                state.held += 1
                let waiters = state.waiters
                state.waiters = []
                return waiters
            }
            guard let waiters else { return }
            for waiter in waiters { waiter.resume() }
            barrier.wait()
            state.withLock { $0.held -= 1 }
        }
    }

    /// Holds writes.
    let writes: Gate
    /// Holds syncs.
    let syncs: Gate
    /// The files, in memory.
    let fileSystem: WatchedFileSystem

    init() {
        let (writes, syncs) = (Gate(), Gate())
        var watch = WatchedFileSystem.Watch()
        watch.write = { _ in writes.pass() }
        watch.sync = { _ in
            syncs.pass()
            return true
        }
        self.writes = writes
        self.syncs = syncs
        fileSystem = WatchedFileSystem(MemoryFileSystem(), watch)
    }
}
