internal import NIOCore

/// One connection to an upstream: sends requests, parses responses strictly. Owner: the loop.
///
/// It serves one client at a time. Everything it finds out is told to that client at once; it keeps
/// nothing but bytes of a head or of trailers that are not complete.
final class UpstreamConnection: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// What the next bytes from the upstream are; each stage lists its successors.
    private enum Stage {
        /// Nothing is expected: `head`.
        case idle
        /// A response head: `head` again behind an informational one, a body, `idle`.
        case head
        /// A body of known length: `idle`.
        case length(UInt64)
        /// A chunked body: `idle`.
        case chunked
        /// A body that ends with the connection.
        case untilClose
        /// The connection is or is being closed.
        case closed
    }

    /// How a connection ended in the middle of an exchange.
    enum Failure {
        /// Closed or reset before a byte of the response.
        case silent
        /// Closed or reset inside the response.
        case cutOff
        /// The response does not follow the grammar.
        case invalid
    }

    /// When the connection is closed for being unused; monotonic nanoseconds.
    var deadline = UInt64.max
    /// Place in the loop's list.
    var index = 0

    private let pool: UpstreamPool
    private let channel: any Channel
    private var context: ChannelHandlerContext?
    private var client: ClientConnection?
    private var stage = Stage.idle
    private var parser = ResponseParser()
    private var decoder = ChunkedDecoder()
    /// Bytes of an incomplete head or trailer section.
    private var inbound = ByteBuffer()
    /// What goes out at the end of this turn.
    private var outbound = ByteBuffer()
    private var hasUnflushed = false
    /// Whether a byte of the present response has come.
    private var hasResponse = false
    private var hasFailed = false
    private var isReadingPaused = false
    private var isReadWanted = false
    private var isRequestComplete = false

    /// A connection that has just been opened.
    init(pool: UpstreamPool, channel: any Channel) {
        self.pool = pool
        self.channel = channel
    }

    /// Whether requests can be sent.
    var isOpen: Bool {
        if case .closed = stage { false } else { context != nil }
    }

    /// The upstream as recorded.
    var addressText: [UInt8] { pool.addressText }

    /// The pool that it belongs to.
    var owner: UpstreamPool { pool }

    /// Whether more can be sent without piling up.
    var isWritable: Bool { channel.isWritable }

    // MARK: Requests

    /// Begins an exchange.
    func begin(for client: ClientConnection) {
        self.client = client
        deadline = .max
        stage = .head
        hasResponse = false
        isRequestComplete = false
        parser.reset()
        outbound.clear()
    }

    /// Lets the client write its request head, or other small pieces, into the outbound buffer.
    func write(_ body: (inout ByteBuffer) -> Void) {
        body(&outbound)
    }

    /// Sends a piece of a request body.
    func writeBody(_ piece: ByteBuffer, isChunk: Bool) {
        if isChunk {
            outbound.writeHexadecimal(piece.readableBytes)
            outbound.writeStaticString("\r\n")
        }
        if piece.readableBytes <= ClientConnection.copiedBytesMax {
            outbound.writeImmutableBuffer(piece)
        } else {
            writeOutbound()
            context?.write(wrapOutboundOut(piece), promise: nil)
            hasUnflushed = true
        }
        if isChunk { outbound.writeStaticString("\r\n") }
    }

    /// Notes that the whole request has been sent.
    func requestIsComplete() { isRequestComplete = true }

    /// Hands everything written so far to the socket.
    ///
    /// The buffer is cleared last: as a rule the socket has taken everything by then, the channel
    /// has let go of the buffer, and its memory can be used again.
    func flush() {
        if outbound.readableBytes > 0 {
            hasUnflushed = false
            context?.writeAndFlush(wrapOutboundOut(outbound), promise: nil)
            outbound.clear()
        } else if hasUnflushed {
            hasUnflushed = false
            context?.flush()
        }
    }

    private func writeOutbound() {
        guard outbound.readableBytes > 0 else { return }
        context?.write(wrapOutboundOut(outbound), promise: nil)
        outbound.clear()
        hasUnflushed = true
    }

    /// Ends the exchange without its response: the connection cannot be used again.
    func abandon() {
        client = nil
        close()
    }

    /// Closes the connection.
    func close() {
        if case .closed = stage { return }
        stage = .closed
        deadline = .max
        context?.close(promise: nil)
    }

    // MARK: Backpressure

    /// Stops or resumes taking bytes from the upstream.
    func pauseReading(_ isPaused: Bool) {
        guard isPaused != isReadingPaused else { return }
        isReadingPaused = isPaused
        if !isPaused, isReadWanted {
            isReadWanted = false
            context?.read()
        }
    }

    /// Passes a wish to read on, unless reading is paused.
    func read(context: ChannelHandlerContext) {
        if isReadingPaused { isReadWanted = true } else { context.read() }
    }

    /// Tells the client that its body may flow again, or not.
    func channelWritabilityChanged(context: ChannelHandlerContext) {
        client?.upstreamWritabilityChanged()
    }

    // MARK: Events

    /// Joins the loop's list.
    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        pool.loop.add(self)
    }

    /// Leaves the loop's list.
    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
        pool.loop.remove(self)
    }

    /// Notes that the connection did not end cleanly; `channelInactive` follows.
    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        hasFailed = true
        context.close(promise: nil)
    }

    /// Ends the exchange that was under way.
    func channelInactive(context: ChannelHandlerContext) {
        pool.loop.readClock()
        let ended = stage
        stage = .closed
        let client = client
        self.client = nil
        pool.closed(self)
        guard let client else { return }
        if case .untilClose = ended, !hasFailed {
            client.responseEnded(trailers: nil)
            client.flush()
        } else {
            client.upstreamFailed(hasResponse ? .cutOff : .silent)
        }
    }

    /// Parses what has come and passes it on.
    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var buffer = unwrapInboundIn(data)
        guard let client else {
            // Nobody has asked for anything.
            close()
            return
        }
        pool.loop.readClock()
        hasResponse = true
        if inbound.readableBytes > 0 {
            inbound.writeBuffer(&buffer)
            buffer = inbound
            inbound = ByteBuffer()
        }
        parse(&buffer, client)
        client.flush()
    }

    private func parse(_ buffer: inout ByteBuffer, _ client: ClientConnection) {
        while buffer.readableBytes > 0 {
            switch stage {
            case .idle:
                return
            case .closed:
                return
            case .head:
                let step = parser.parse(buffer.readableBytesUInt8Span, pool.loop.shared.limits)
                switch step {
                case .more:
                    inbound = buffer
                    return
                case .end(let length):
                    takeHead(buffer, client)
                    buffer.moveReaderIndex(forwardBy: length)
                case .field, .rejected:
                    fail(.invalid)
                    return
                }
            case .length(let remaining):
                let count = Int(min(remaining, UInt64(buffer.readableBytes)))
                guard let piece = buffer.readSlice(length: count) else { return }
                let left = remaining - UInt64(count)
                stage = .length(left)
                client.responseBody(piece, isLast: left == 0)
                if left == 0 { finish(hasSurplus: buffer.readableBytes > 0, trailers: nil) }
            case .chunked:
                guard takeChunk(&buffer, client) else { return }
            case .untilClose:
                client.responseBody(buffer, isLast: false)
                return
            }
        }
    }

    /// Passes a head on and finds out what follows it.
    private func takeHead(_ buffer: ByteBuffer, _ client: ClientConnection) {
        let head = parser.head
        if head.isInformational {
            client.informationalResponse(parser, buffer)
            parser.reset()
            return
        }
        let framing = client.responseHead(parser, buffer)
        switch framing {
        case .none: finish(hasSurplus: buffer.readableBytes > head.length, trailers: nil)
        case .length(0): finish(hasSurplus: buffer.readableBytes > head.length, trailers: nil)
        case .length(let length): stage = .length(length)
        case .chunked:
            decoder.reset()
            stage = .chunked
        case .untilClose: stage = .untilClose
        }
    }

    /// Passes data of a chunked body on; false when there is no more to do with these bytes.
    private func takeChunk(_ buffer: inout ByteBuffer, _ client: ClientConnection) -> Bool {
        let step = decoder.next(buffer.readableBytesUInt8Span, pool.loop.shared.limits)
        switch step {
        case .more(let consumed):
            buffer.moveReaderIndex(forwardBy: consumed)
            if buffer.readableBytes > 0 { inbound = buffer }
            return false
        case .data(let skipped, let count):
            buffer.moveReaderIndex(forwardBy: skipped)
            guard let piece = buffer.readSlice(length: count) else { return false }
            client.responseBody(piece, isLast: false)
            return true
        case .end(let consumed):
            let section = buffer
            buffer.moveReaderIndex(forwardBy: consumed)
            let trailers = TrailerSection(
                bytes: section,
                start: decoder.trailerStart,
                fields: decoder.trailers.fields
            )
            finish(hasSurplus: buffer.readableBytes > 0, trailers: trailers)
            return true
        case .rejected:
            fail(.invalid)
            return false
        }
    }

    /// Ends the exchange: the connection goes back to its pool before the client goes on.
    private func finish(hasSurplus: Bool, trailers: TrailerSection?) {
        guard let client else { return }
        self.client = nil
        stage = .idle
        pauseReading(false)
        let isReusable = parser.head.keepsAlive && isRequestComplete && !hasSurplus
        client.responseEnded(trailers: trailers)
        pool.release(self, isReusable: isReusable)
    }

    private func fail(_ failure: Failure) {
        let client = client
        self.client = nil
        close()
        client?.upstreamFailed(failure)
    }
}

/// A trailer section as it came.
struct TrailerSection {
    /// The bytes that contain it.
    let bytes: ByteBuffer
    /// Where it begins in the readable bytes.
    let start: Int
    /// The fields, with places from `start`.
    let fields: [HeadField]

    /// Appends the fields that may be forwarded.
    func write(into buffer: inout ByteBuffer) {
        guard !fields.isEmpty else { return }
        let all = bytes.readableBytesUInt8Span
        let span = all.extracting(start..<all.count)
        for field in fields where !field.known.isForbiddenInTrailers {
            buffer.writePlace(field.line, of: span)
        }
    }
}
