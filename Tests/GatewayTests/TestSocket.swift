import Glibc
import NIOCore
import NIOPosix
import Synchronization

/// One end of a TCP connection whose every byte a test decides and sees.
final class TestSocket: Sendable {
    /// How the other side ended the connection.
    enum Ending: Equatable {
        /// It has not.
        case open
        /// By an orderly close of its side.
        case closed
        /// By a reset.
        case reset
    }

    private struct State: Sendable {
        var bytes: [UInt8] = []
        var taken = 0
        var ending = Ending.open
        var waiters: [CheckedContinuation<Void, Never>] = []
    }

    /// Collects what arrives.
    private final class Collector: ChannelInboundHandler, Sendable {
        typealias InboundIn = ByteBuffer

        let state: Mutex<State> = Mutex(State())

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let buffer = unwrapInboundIn(data)
            change { $0.bytes += buffer.readableBytesView }
        }

        func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
            if let event = event as? ChannelEvent, event == .inputClosed { end(.closed) }
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) {
            end(.reset)
            context.close(promise: nil)
        }

        func channelInactive(context: ChannelHandlerContext) { end(.closed) }

        func wake() { change { _ in } }

        private func end(_ ending: Ending) {
            change { if $0.ending == .open { $0.ending = ending } }
        }

        private func change(_ body: (inout State) -> Void) {
            let waiters = state.withLock { state in
                body(&state)
                let waiters = state.waiters
                state.waiters = []
                return waiters
            }
            for waiter in waiters { waiter.resume() }
        }
    }

    private let channel: any Channel
    private let collector: Collector

    private init(_ channel: any Channel, _ collector: Collector) {
        self.channel = channel
        self.collector = collector
    }

    /// Connects to a port of this machine.
    static func connect(_ port: Int, receiveBuffer: Int? = nil) async throws -> TestSocket {
        let collector = Collector()
        var bootstrap = ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelOption(.allowRemoteHalfClosure, value: true)
            .channelOption(.socketOption(.tcp_nodelay), value: 1)
            .channelInitializer { $0.pipeline.addHandler(collector) }
        if let receiveBuffer {
            bootstrap = bootstrap.channelOption(
                .socketOption(.so_rcvbuf),
                value: ChannelOptions.Types.SocketOption.Value(receiveBuffer)
            )
        }
        let channel = try await bootstrap.connect(host: "127.0.0.1", port: port).get()
        return TestSocket(channel, collector)
    }

    /// A listener whose connections are handed over as they come.
    static func listen() async throws -> TestListener {
        let listener = TestListener()
        let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelOption(.socketOption(.tcp_nodelay), value: 1)
            .childChannelInitializer { channel in
                let collector = Collector()
                return channel.pipeline.addHandler(collector).map {
                    listener.add(TestSocket(channel, collector))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        listener.start(channel)
        return listener
    }

    /// Sends text.
    func send(_ text: String) async throws { try await send(Array(text.utf8)) }

    /// Sends bytes; returns when the kernel has them.
    func send(_ bytes: [UInt8]) async throws {
        try await channel.writeAndFlush(ByteBuffer(bytes: bytes)).get()
    }

    /// Wakes those who wait, so that they look again.
    func wake() { collector.wake() }

    /// Begins to send bytes in pieces; tells how many the kernel has taken.
    func sendCounting(_ bytes: [UInt8]) -> SendProgress {
        let progress = SendProgress(channel)
        progress.start(bytes)
        return progress
    }

    /// Begins to send bytes, which the kernel may take later or never.
    func beginSending(_ bytes: [UInt8]) {
        channel.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil)
    }

    /// How the other side ended the connection, as known now.
    var ending: Ending { collector.state.withLock { $0.ending } }

    /// Everything that has come and was not taken.
    var pending: [UInt8] { collector.state.withLock { Array($0.bytes[$0.taken...]) } }

    /// Waits until the pending bytes satisfy a condition, or the other side has ended.
    @discardableResult
    func wait(until isEnough: ([UInt8]) -> Bool) async -> [UInt8] {
        while true {
            let now = collector.state.withLock { (Array($0.bytes[$0.taken...]), $0.ending) }
            if isEnough(now.0) || now.1 != .open { return now.0 }
            await change(from: now.0.count)
        }
    }

    /// Waits until the other side has ended the connection.
    @discardableResult
    func waitForEnd() async -> Ending {
        while true {
            let now = collector.state.withLock { ($0.bytes.count - $0.taken, $0.ending) }
            if now.1 != .open { return now.1 }
            await change(from: now.0)
        }
    }

    private func change(from count: Int) async {
        await withCheckedContinuation { continuation in
            let isChanged = collector.state.withLock { state in
                if state.ending != .open || state.bytes.count - state.taken != count { return true }
                state.waiters.append(continuation)
                return false
            }
            if isChanged { continuation.resume() }
        }
    }

    /// Forgets the first pending bytes.
    func take(_ count: Int) { collector.state.withLock { $0.taken += count } }

    /// Waits for a whole head, takes it and returns its text.
    func receiveHead() async -> String {
        let end = Array("\r\n\r\n".utf8)
        let bytes = await wait { Self.position(of: end, in: $0) != nil }
        guard let place = Self.position(of: end, in: bytes) else {
            take(bytes.count)
            return String(decoding: bytes, as: UTF8.self)
        }
        take(place + 4)
        return String(decoding: bytes[..<(place + 4)], as: UTF8.self)
    }

    /// Waits for so many bytes, takes them and returns them as text; fewer if the other side ended.
    func receive(_ count: Int) async -> String {
        let bytes = await wait { $0.count >= count }
        take(min(count, bytes.count))
        return String(decoding: bytes.prefix(count), as: UTF8.self)
    }

    /// Waits for the end and returns everything before it.
    func receiveAll() async -> String {
        await waitForEnd()
        let bytes = pending
        take(bytes.count)
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Lets the socket's event loop look for bytes that the kernel already has.
    func settle() async throws {
        for _ in 0..<5 { try await channel.eventLoop.submit {}.get() }
    }

    /// Stops reading, so that the other side notices that nobody takes its bytes.
    func pauseReading() async throws {
        try await channel.setOption(.autoRead, value: false).get()
    }

    /// Reads on.
    func resumeReading() async throws {
        try await channel.setOption(.autoRead, value: true).get()
    }

    /// Closes our side in order.
    func closeOutput() async throws { try await channel.close(mode: .output).get() }

    /// Closes the connection.
    func close() async { try? await channel.close().get() }

    /// Resets the connection.
    func reset() async throws {
        try await (channel as? any SocketOptionProvider)?
            .setSoLinger(linger(l_onoff: 1, l_linger: 0)).get()
        await close()
    }

    private static func position(of needle: [UInt8], in bytes: [UInt8]) -> Int? {
        guard bytes.count >= needle.count else { return nil }
        return (0...(bytes.count - needle.count)).first { start in
            bytes[start..<(start + needle.count)].elementsEqual(needle)
        }
    }
}

/// How far the sending of a large body has come.
final class SendProgress: Sendable {
    private let channel: any Channel
    private let taken = Mutex(0)

    fileprivate init(_ channel: any Channel) { self.channel = channel }

    fileprivate func start(_ bytes: [UInt8]) {
        let piece = 100_000
        for start in stride(from: 0, to: bytes.count, by: piece) {
            let end = min(start + piece, bytes.count)
            channel.write(ByteBuffer(bytes: bytes[start..<end])).whenSuccess {
                self.taken.withLock { $0 += end - start }
            }
        }
        channel.flush()
    }

    /// Waits until nothing has been taken for a while, and returns how much has been.
    ///
    /// Standing still can only be seen over time; the time is long beside a tick of the loops, and
    /// being too short could not make a good gateway fail.
    func waitUntilStuck() async -> Int {
        var last = -1
        while true {
            let now = taken.withLock { $0 }
            if now == last { return now }
            last = now
            try? await channel.eventLoop.scheduleTask(in: .milliseconds(300)) {}.futureResult.get()
        }
    }
}

/// An upstream written by the test, connection by connection.
final class TestListener: Sendable {
    private struct State: Sendable {
        var sockets: [TestSocket] = []
        var waiters: [CheckedContinuation<TestSocket, Never>] = []
        var count = 0
        var channel: (any Channel)?
    }

    private let state = Mutex(State())

    fileprivate func start(_ channel: any Channel) { state.withLock { $0.channel = channel } }

    fileprivate func add(_ socket: TestSocket) {
        let waiter: CheckedContinuation<TestSocket, Never>? = state.withLock { state in
            state.count += 1
            if !state.waiters.isEmpty { return state.waiters.removeFirst() }
            state.sockets.append(socket)
            return nil
        }
        waiter?.resume(returning: socket)
    }

    /// Where it listens.
    var port: Int { state.withLock { $0.channel?.localAddress?.port ?? 0 } }

    /// How many connections there have been.
    var count: Int { state.withLock { $0.count } }

    /// The next connection.
    func accept() async -> TestSocket {
        await withCheckedContinuation { continuation in
            let socket: TestSocket? = state.withLock { state in
                if !state.sockets.isEmpty { return state.sockets.removeFirst() }
                state.waiters.append(continuation)
                return nil
            }
            if let socket { continuation.resume(returning: socket) }
        }
    }

    /// Stops listening.
    func close() async {
        let channel = state.withLock { $0.channel }
        try? await channel?.close().get()
    }
}
