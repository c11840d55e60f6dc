import NIOCore
import NIOHTTP1
import NIOPosix

/// Runs one `HTTPLoad` on its event loop.
///
/// Owner: the event loop; every method is called on it.
final class LoadDriver {
    private let plan: HTTPLoad
    private let loop: any EventLoop
    private let onProgress: @Sendable (Int) -> Void
    private let finished: EventLoopPromise<HTTPLoadReport>
    private let started: NIODeadline

    private var random: SeededGenerator
    private var report = HTTPLoadReport()
    private var due = 0
    private var waiting: CircularBuffer<NIODeadline> = []
    private var idle: [LoadConnection] = []
    private var open: [ObjectIdentifier: LoadConnection] = [:]
    private var ticker: RepeatedTask?
    private var isDone = false
    private var lastProgress = NIODeadline.now()

    /// Time allowed for answers after the last request was due (chosen: above any gateway timeout
    /// that a load run would wait for).
    private static let grace = TimeAmount.seconds(10)

    init(plan: HTTPLoad, loop: any EventLoop, onProgress: @escaping @Sendable (Int) -> Void) {
        self.plan = plan
        self.loop = loop
        self.onProgress = onProgress
        finished = loop.makePromise()
        random = SeededGenerator(seed: plan.seed)
        started = .now()
        report.latencies.reserveCapacity(plan.requests)
    }

    /// Connects, then sends on a one-millisecond tick.
    func start() -> EventLoopFuture<HTTPLoadReport> {
        let bound = NIOLoopBound(self, eventLoop: loop)
        connect().whenComplete { [loop] result in
            let driver = bound.value
            if case .failure(let error) = result {
                driver.isDone = true
                driver.finished.fail(error)
                return
            }
            for _ in 1..<max(1, driver.plan.connections) { _ = driver.connect() }
            driver.ticker = loop.scheduleRepeatedTask(
                initialDelay: .zero,
                delay: .milliseconds(1)
            ) { _ in bound.value.tick() }
        }
        return finished.futureResult
    }

    private func connect() -> EventLoopFuture<Void> {
        let bound = NIOLoopBound(self, eventLoop: loop)
        return ClientBootstrap(group: loop)
            .channelOption(.socketOption(.tcp_nodelay), value: 1)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    try pipeline.addHTTPClientHandlers()
                    try pipeline.addHandler(LoadConnection(driver: bound.value))
                }
            }
            .connect(host: plan.host, port: plan.port)
            .map { _ in }
    }

    private func dueTime(_ index: Int) -> NIODeadline {
        started + .nanoseconds(Int64(Double(index) / plan.rate * 1e9))
    }

    private func tick() {
        let now = NIODeadline.now()
        while due < plan.requests, dueTime(due) <= now {
            waiting.append(dueTime(due))
            due += 1
        }
        sendWaiting()
        if now - lastProgress > .milliseconds(100) {
            lastProgress = now
            onProgress(report.completed + report.failed)
        }
        if report.completed + report.failed == plan.requests
            || now > dueTime(plan.requests) + Self.grace
        {
            finish()
        }
    }

    private func sendWaiting() {
        while !waiting.isEmpty, let connection = idle.popLast() {
            connection.send(DemoTraffic.request(&random), due: waiting.removeFirst(), to: plan.host)
            report.sent += 1
        }
    }

    private func finish() {
        guard !isDone else { return }
        isDone = true
        ticker?.cancel()
        report.failed = plan.requests - report.completed
        report.seconds = Double((NIODeadline.now() - started).nanoseconds) / 1e9
        report.latencies.sort()
        for connection in open.values { connection.close() }
        finished.succeed(report)
    }

    func opened(_ connection: LoadConnection) {
        open[ObjectIdentifier(connection)] = connection
        idle.append(connection)
        sendWaiting()
    }

    func completed(_ connection: LoadConnection, status: Int, due: NIODeadline, reusable: Bool) {
        report.completed += 1
        report.statuses[status, default: 0] += 1
        let microseconds = (NIODeadline.now() - due).nanoseconds / 1000
        report.latencies.append(UInt32(clamping: microseconds))
        guard reusable else { return }
        idle.append(connection)
        sendWaiting()
    }

    func closed(_ connection: LoadConnection, wasBusy: Bool) {
        open[ObjectIdentifier(connection)] = nil
        idle.removeAll { $0 === connection }
        guard !isDone else { return }
        if wasBusy { report.failed += 1 }
        // One new connection for each lost one; when the server is gone the grace period ends it.
        _ = connect()
    }
}

/// One keep-alive connection of a load run, with at most one request under way.
///
/// Owner: the event loop of its channel, which is the driver's.
final class LoadConnection: ChannelInboundHandler {
    typealias InboundIn = HTTPClientResponsePart
    typealias OutboundOut = HTTPClientRequestPart

    private let driver: LoadDriver
    private var context: ChannelHandlerContext?
    private var due: NIODeadline?
    private var status = 0
    private var keepsAlive = true

    init(driver: LoadDriver) {
        self.driver = driver
    }

    func channelActive(context: ChannelHandlerContext) {
        self.context = context
        driver.opened(self)
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.context = nil
        driver.closed(self, wasBusy: due != nil)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head):
            status = Int(head.status.code)
            keepsAlive = head.isKeepAlive
        case .body: break
        case .end:
            guard let began = due else { return }
            due = nil
            if !keepsAlive { context.close(promise: nil) }
            driver.completed(self, status: status, due: began, reusable: keepsAlive)
        }
    }

    /// Writes one request; `due` is when it should have been sent.
    func send(_ request: DemoTraffic.Request, due: NIODeadline, to host: String) {
        guard let context else { return }
        self.due = due
        var headers = HTTPHeaders([("host", host), ("user-agent", "sluice-load/1")])
        if let key = request.key { headers.add(name: "x-api-key", value: key) }
        if request.bodyLength > 0 {
            headers.add(name: "content-length", value: String(request.bodyLength))
        }
        let head = HTTPRequestHead(
            version: .http1_1,
            method: HTTPMethod(rawValue: request.method),
            uri: request.path,
            headers: headers
        )
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        if request.bodyLength > 0 {
            let body = ByteBuffer(repeating: 0x78, count: request.bodyLength)
            context.write(wrapOutboundOut(.body(.byteBuffer(body))), promise: nil)
        }
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
    }

    /// Closes the connection at the end of the run.
    func close() {
        context?.close(promise: nil)
    }
}
