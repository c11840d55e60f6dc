package import Logging
internal import NIOCore
internal import NIOPosix
internal import Records
import ServiceLifecycle

/// A small server with made-up answers, so that `sluice up` has something to show at once.
///
/// Latencies and statuses are drawn from a seeded generator: realistic, and the same every time.
package final class DemoUpstream: Service {
    private let host: String
    private let port: Int
    private let seed: UInt64
    private let logger: Logger
    private let onListening: @Sendable (_ host: String, _ port: Int) -> Void

    /// A server that listens once `run()` is called.
    ///
    /// - Parameters:
    ///   - host: address to listen on.
    ///   - port: port to listen on; 0 lets the kernel choose.
    ///   - seed: start of the generator of latencies and statuses.
    ///   - logger: where failures are reported.
    ///   - onListening: called once with the address in use, after the socket listens.
    package init(
        host: String = "127.0.0.1",
        port: Int = 0,
        seed: UInt64 = 1,
        logger: Logger,
        onListening: @escaping @Sendable (_ host: String, _ port: Int) -> Void
    ) {
        self.host = host
        self.port = port
        self.seed = seed
        self.logger = logger
        self.onListening = onListening
    }

    /// Serves until graceful shutdown or cancellation; flushes nothing, as nothing is kept.
    package func run() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        do {
            try await serve(group)
        } catch {
            try? await group.shutdownGracefully()
            throw error
        }
        try await group.shutdownGracefully()
    }

    private func serve(_ group: MultiThreadedEventLoopGroup) async throws {
        let seed = seed
        let eventLoop = group.next()
        let answers = try await eventLoop.submit {
            NIOLoopBoundBox(DemoAnswers(seed: seed), eventLoop: eventLoop)
        }.get()
        let bootstrap = ServerBootstrap(group: group)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.socketOption(.tcp_nodelay), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(DemoConnection(answers))
                }
            }
        let listener: any Channel
        do {
            listener = try await bootstrap.bind(host: host, port: port).get()
        } catch {
            throw GatewayError.cannotListen(host: host, port: port, reason: "\(error)")
        }
        let bound = listener.localAddress?.port ?? port
        logger.info("the demo upstream listens", metadata: ["port": "\(bound)"])
        onListening(host, bound)
        try? await gracefulShutdown()
        try? await listener.close().get()
    }
}

/// Draws the demo's answers. Owner: its event loop.
struct DemoAnswers {
    /// One answer.
    struct Answer: Equatable {
        /// Status code.
        var status: Int
        /// How long to wait before sending it, in microseconds.
        var delayUS: Int
        /// JSON text; empty for none.
        var body: String
    }

    private var state: UInt64

    /// Answers from a seed.
    init(seed: UInt64) { state = seed }

    /// The answer to a request.
    mutating func answer(method: String, path: String) -> Answer {
        let segments = path.split(separator: "/")
        let name = segments.first.map(String.init) ?? ""
        let id = segments.last.map(String.init) ?? ""
        var answer: Answer
        switch (method, name, segments.count) {
        case ("GET", "orders", 1):
            answer = Answer(status: 200, delayUS: delay(8_000), body: list("order", 20))
        case ("POST", "orders", _):
            let text = #"{"id":\#(draw(10_000)),"state":"accepted"}"#
            answer = Answer(status: 201, delayUS: delay(25_000), body: text)
        case ("DELETE", "orders", _):
            answer = Answer(status: 204, delayUS: delay(12_000), body: "")
        case ("GET", "orders", _):
            answer = Answer(status: 200, delayUS: delay(4_000), body: item("order", id))
        case ("GET", "catalog", 2) where id == "items":
            answer = Answer(status: 200, delayUS: delay(6_000), body: list("item", 50))
        case ("GET", "catalog", 2) where id == "search":
            answer = Answer(status: 200, delayUS: delay(45_000), body: list("item", 10))
        case ("GET", "catalog", 3):
            answer = Answer(status: 200, delayUS: delay(2_500), body: item("item", id))
        case ("POST", "payments", _):
            let isDeclined = draw(100) < 6
            let text = isDeclined ? #"{"state":"declined"}"# : #"{"state":"captured"}"#
            answer = Answer(
                status: isDeclined ? 402 : 201,
                delayUS: delay(90_000),
                body: text
            )
        case ("GET", "payments", 2):
            answer = Answer(status: 200, delayUS: delay(5_000), body: item("payment", id))
        default:
            return Answer(
                status: 404,
                delayUS: delay(1_000),
                body: #"{"title":"not found","status":404}"#
            )
        }
        // One identifier in 25 is unknown; one request in 150 fails, slowly.
        if id.last?.isNumber == true, draw(25) == 0 {
            answer = Answer(status: 404, delayUS: answer.delayUS, body: #"{"title":"not found"}"#)
        } else if draw(150) == 0 {
            let status = draw(2) == 0 ? 500 : 503
            answer = Answer(
                status: status,
                delayUS: answer.delayUS * 4,
                body: #"{"title":"try again"}"#
            )
        }
        return answer
    }

    /// A latency with a long tail around a typical value, in microseconds.
    private mutating func delay(_ typical: Int) -> Int {
        // The product of two uniform draws leans to small values; one in 50 is far slower.
        let spread = (draw(1_000) + 1) * (draw(1_000) + 1) / 500_000 + 1
        let usual = typical / 2 + typical * spread / 4
        return draw(50) == 0 ? usual * 6 : usual
    }

    private func item(_ kind: String, _ id: String) -> String {
        // Only digits are repeated, whatever the path says.
        let number = String(id.filter { ("0"..."9").contains($0) })
        let total = number.count * 1_250
        return #"{"kind":"\#(kind)","id":"\#(number)","state":"open","total_cents":\#(total)}"#
    }

    private mutating func list(_ kind: String, _ count: Int) -> String {
        let items = (0..<count).map { _ in #"{"kind":"\#(kind)","id":\#(draw(10_000))}"# }
        return #"{"items":[\#(items.joined(separator: ","))]}"#
    }

    /// A number below a bound: SplitMix64, whose arithmetic is modulo 2⁶⁴.
    private mutating func draw(_ bound: Int) -> Int {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
        return Int((mixed ^ mixed >> 31) % UInt64(bound))
    }
}

/// One connection to the demo upstream. Owner: its event loop.
private final class DemoConnection: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let answers: NIOLoopBoundBox<DemoAnswers>
    private let limits = GatewayLimits()
    private var parser = RequestParser()
    private var decoder = ChunkedDecoder()
    private var inbound = ByteBuffer()
    private var bodyRemaining: UInt64 = 0
    private var isInBody = false
    private var isAnswering = false

    init(_ answers: NIOLoopBoundBox<DemoAnswers>) { self.answers = answers }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var buffer = unwrapInboundIn(data)
        inbound.writeBuffer(&buffer)
        proceed(context)
    }

    /// Serves one request at a time; what follows waits in `inbound`.
    private func proceed(_ context: ChannelHandlerContext) {
        guard !isAnswering else { return }
        if !isInBody {
            let step = parser.parse(inbound.readableBytesUInt8Span, limits)
            switch step {
            case .more, .field: return
            case .rejected:
                context.close(promise: nil)
                return
            case .end: beginBody()
            }
        }
        guard skipBody(context) else { return }
        respond(context)
    }

    private func beginBody() {
        isInBody = true
        decoder.reset()
        if case .length(let length) = parser.head.framing {
            bodyRemaining = length
        } else {
            bodyRemaining = 0
        }
    }

    /// Whether the whole body has come; its bytes are dropped, the head's are kept for `respond`.
    private func skipBody(_ context: ChannelHandlerContext) -> Bool {
        let start = parser.head.length
        guard
            var rest = inbound.getSlice(
                at: inbound.readerIndex + start,
                length: inbound.readableBytes - start
            )
        else { return false }
        var isComplete = false
        if parser.head.framing == .chunked {
            decoding: while !isComplete {
                let step = decoder.next(rest.readableBytesUInt8Span, limits)
                switch step {
                case .more(let count):
                    rest.moveReaderIndex(forwardBy: count)
                    break decoding
                case .data(let skipped, let count): rest.moveReaderIndex(forwardBy: skipped + count)
                case .end(let count):
                    rest.moveReaderIndex(forwardBy: count)
                    isComplete = true
                case .rejected:
                    context.close(promise: nil)
                    return false
                }
            }
        } else {
            let count = Int(min(bodyRemaining, UInt64(rest.readableBytes)))
            rest.moveReaderIndex(forwardBy: count)
            bodyRemaining -= UInt64(count)
            isComplete = bodyRemaining == 0
        }
        var kept = inbound.getSlice(at: inbound.readerIndex, length: start) ?? ByteBuffer()
        kept.writeBuffer(&rest)
        inbound = kept
        return isComplete
    }

    private func respond(_ context: ChannelHandlerContext) {
        let head = parser.head
        let method = head.knownMethod.name
        let path =
            inbound.getString(
                at: inbound.readerIndex + Int(head.path.start),
                length: head.path.count
            ) ?? "/"
        inbound.moveReaderIndex(forwardBy: head.length)
        parser.reset()
        isInBody = false
        isAnswering = true
        let answer = answers.value.answer(method: method == "HEAD" ? "GET" : method, path: path)
        var out = ByteBuffer()
        out.writeStaticString("HTTP/1.1 ")
        out.writeDecimal(answer.status)
        out.writeStaticString(" Demo\r\n")
        if answer.status != 204 {
            out.writeStaticString("Content-Type: application/json\r\nContent-Length: ")
            out.writeDecimal(answer.body.utf8.count)
            out.writeStaticString("\r\n")
        }
        out.writeStaticString("\r\n")
        if method != "HEAD" { out.writeString(answer.body) }
        let ready = out
        let keepsAlive = head.keepsAlive
        context.eventLoop.assumeIsolated().scheduleTask(
            in: .microseconds(Int64(answer.delayUS))
        ) {
            guard context.channel.isActive else { return }
            self.isAnswering = false
            context.writeAndFlush(self.wrapOutboundOut(ready), promise: nil)
            if keepsAlive { self.proceed(context) } else { context.close(promise: nil) }
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }
}
