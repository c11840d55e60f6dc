internal import NIOCore
internal import Records
internal import Telemetry

/// One client connection: reads requests one at a time, has them answered, leaves one record each.
///
/// Owner: the event loop. Pipelined requests wait in `inbound`, bounded by pausing reads, and are
/// answered in order because the next one is not looked at before the one before is complete.
final class ClientConnection: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// Pieces up to this size are copied into the outbound buffer, larger ones are written as they
    /// are; chosen: copying 4 KiB costs less than another entry of `writev(2)`.
    static var copiedBytesMax: Int { 4_096 }

    /// What the connection is doing; each phase lists its successors.
    enum Phase: UInt8 {
        /// Nothing of a request has come: `head`, `closed`.
        case idle
        /// A part of a head has come: `exchange`, `withheld` (refused), `closed`.
        case head
        /// A request is being answered: `withheld`, `closed` (aborted).
        case exchange
        /// The record is appended and waits for the log: `settling`, `lingering`, `closed`.
        case withheld
        /// The response is complete, the request body not yet: `idle`, `closed`.
        case settling
        /// Our side is closed; what still comes is discarded: `closed`.
        case lingering
        /// It is over.
        case closed
    }

    /// What the response's end looks like on the client's side.
    enum ResponseFraming {
        /// No body.
        case none
        /// As many bytes as announced.
        case length
        /// A terminal chunk.
        case chunked
        /// The close.
        case untilClose
    }

    /// What to do once the record is written.
    enum Ending {
        /// Complete the response, then serve the next request.
        case keep
        /// Complete the response, then close.
        case close
        /// Cut the response off.
        case reset
    }

    /// The loop that owns the connection.
    let loop: GatewayLoop
    /// The other side of the socket.
    let peer: NetworkAddress?
    /// The same as text.
    let peerText: [UInt8]
    /// The forwarding fields of requests that say nothing about forwarding themselves, up to the
    /// value of `X-Forwarded-Host`.
    let forwardedLines: [UInt8]
    /// The channel.
    let channel: any Channel

    /// When `timedOut` is due; monotonic nanoseconds.
    var deadline = UInt64.max
    /// Place in the loop's list.
    var index = 0
    /// What the connection is doing.
    var phase = Phase.idle

    /// Everything from the first byte of the present request on that has not been passed on; its
    /// head stays here until its record is encoded.
    var inbound = ByteBuffer()
    /// How many bytes of `inbound` are done with: the head, and body bytes passed on.
    var consumed = 0
    /// The parser, which holds the present head.
    var parser = RequestParser()
    /// The present request.
    var exchange = Exchange()

    /// Bytes of a body of known length that are still to come.
    var bodyRemaining: UInt64 = 0
    /// The chunked body's framing.
    var bodyDecoder = ChunkedDecoder()
    /// Bytes of data in the body so far.
    var bodyBytes: UInt64 = 0
    /// Whether the whole request has been read.
    var isRequestComplete = false
    /// Whether the rest of the body is read and thrown away.
    var isDiscardingBody = false

    /// The connection to the upstream, from when it is there to the end of its response.
    var upstream: UpstreamConnection?
    /// Whether an upstream connection has been asked for and is not there yet.
    var isAcquiring = false

    /// Response bytes that have not been handed to the channel: those of this turn, and, once the
    /// record is appended, the withheld end.
    var outbound = ByteBuffer()
    /// Whether the head of the final response has been put into `outbound`.
    var hasResponseHead = false
    /// What the response's end looks like.
    var responseFraming = ResponseFraming.none
    /// What to do once the record is written.
    var ending = Ending.keep
    /// Whether the response is complete but the client has not taken enough of it yet.
    var isAwaitingWritability = false

    private var context: ChannelHandlerContext?
    private var hasUnflushed = false
    private var isReadWanted = false
    private var isReadingPaused = false
    private var isInputClosed = false
    private var lingeredBytes = 0

    /// A connection that has just been accepted.
    init(loop: GatewayLoop, channel: any Channel) {
        self.loop = loop
        self.channel = channel
        let text = channel.remoteAddress?.ipAddress ?? ""
        peer = NetworkAddress(text.utf8.span)
        peerText = peer.map { NetworkAddress.text($0.bytes) } ?? []
        forwardedLines =
            Array("X-Forwarded-For: ".utf8) + peerText
            + Array("\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: ".utf8)
    }

    /// The present head.
    var head: RequestHead { parser.head }

    // MARK: Reading

    /// Joins the loop's list.
    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        loop.readClock()
        loop.add(self)
        deadline = loop.now + loop.shared.timeouts.idle
    }

    /// Leaves the loop's list.
    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
        loop.remove(self)
    }

    /// Takes in what has come.
    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var buffer = unwrapInboundIn(data)
        loop.readClock()
        switch phase {
        case .idle, .head:
            inbound.writeBuffer(&buffer)
            advance()
        case .exchange, .settling:
            if !isRequestComplete, consumed == inbound.writerIndex {
                takeBody(&buffer)
            }
            if buffer.readableBytes > 0 {
                inbound.writeBuffer(&buffer)
                takeInboundBody()
            }
            upstream?.flush()
            if phase == .settling { settle() }
        case .withheld:
            inbound.writeBuffer(&buffer)
        case .lingering:
            // Chosen: what a client may send in vain before it is cut off.
            lingeredBytes += buffer.readableBytes
            if lingeredBytes > 1 << 20 { close() }
        case .closed:
            break
        }
        updateReading()
    }

    /// Parses heads as long as there are some, and the connection is free to serve them.
    func advance() {
        if phase == .idle {
            exchange.startedAt = loop.now
            deadline = exchange.startedAt + loop.shared.timeouts.request
            phase = .head
        }
        let step = parser.parse(inbound.readableBytesUInt8Span, loop.shared.limits)
        switch step {
        case .more, .field: break
        case .end(let length):
            consumed = length
            beginExchange()
        case .rejected(let rejection):
            consumed = inbound.writerIndex
            exchange.requestBytes = consumed
            refuse(Refusal(rejection))
        }
    }

    /// Stops reading while too much is waiting here or on the way to the upstream.
    func updateReading() {
        let isPiling = inbound.writerIndex - consumed > loop.shared.limits.bufferedBytesMax
        let isStuck = upstream.map { !isRequestComplete && !$0.isWritable } ?? false
        pauseReading(phase != .lingering && (isPiling || isStuck))
    }

    private func pauseReading(_ isPaused: Bool) {
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

    /// Notes that the client sends no more, or is gone.
    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard let event = event as? ChannelEvent, event == .inputClosed else { return }
        isInputClosed = true
        loop.readClock()
        switch phase {
        case .idle, .settling, .lingering: close()
        case .head, .exchange: clientIsGone()
        case .withheld: ending = ending == .keep ? .close : ending
        case .closed: break
        }
    }

    /// Closes after an error of the socket; `channelInactive` follows.
    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }

    /// Records the request that was under way.
    func channelInactive(context: ChannelHandlerContext) {
        loop.readClock()
        clientIsGone()
        phase = .closed
        deadline = .max
    }

    private func clientIsGone() {
        switch phase {
        case .head where parser.hasBegun:
            exchange.requestBytes = inbound.writerIndex
            abort(.clientAborted)
        case .exchange:
            abort(.clientAborted)
        default:
            close()
        }
    }

    // MARK: Writing

    /// Resumes what waited for the client to take more.
    func channelWritabilityChanged(context: ChannelHandlerContext) {
        loop.readClock()
        guard context.channel.isWritable else {
            upstream?.pauseReading(true)
            if phase == .exchange { deadline = loop.now + loop.shared.timeouts.send }
            return
        }
        if isAwaitingWritability {
            isAwaitingWritability = false
            complete()
            return
        }
        if let upstream {
            upstream.pauseReading(false)
            deadline = loop.now + loop.shared.timeouts.betweenBytes
        }
    }

    /// Hands the bytes in `outbound` to the channel, and a large piece behind them.
    func writeOutbound(and piece: ByteBuffer? = nil) {
        if outbound.readableBytes > 0 {
            exchange.responseBytes += outbound.readableBytes
            context?.write(wrapOutboundOut(outbound), promise: nil)
            outbound.clear()
            hasUnflushed = true
        }
        if let piece, piece.readableBytes > 0 {
            exchange.responseBytes += piece.readableBytes
            context?.write(wrapOutboundOut(piece), promise: nil)
            hasUnflushed = true
        }
    }

    /// Hands everything that may go out to the socket; the withheld end stays.
    func flush() {
        guard phase == .exchange else { return }
        if !isAwaitingWritability, outbound.readableBytes > 0 {
            exchange.responseBytes += outbound.readableBytes
            flushOutbound()
        } else if hasUnflushed {
            hasUnflushed = false
            context?.flush()
        }
    }

    /// Hands the bytes in `outbound` to the socket.
    ///
    /// The buffer is cleared last: as a rule the socket has taken everything by then, the channel
    /// has let go of the buffer, and its memory can be used again.
    private func flushOutbound() {
        hasUnflushed = false
        context?.writeAndFlush(wrapOutboundOut(outbound), promise: nil)
        outbound.clear()
    }

    /// Lets the withheld end go: its record has been written.
    func logWritten() {
        guard phase == .withheld else { return }
        switch ending {
        case .reset:
            reset()
        case .keep, .close:
            // These bytes are in the record already.
            if outbound.readableBytes > 0 {
                flushOutbound()
            } else if hasUnflushed {
                hasUnflushed = false
                context?.flush()
            }
            if ending == .close {
                linger()
            } else {
                phase = .settling
                settle()
            }
        }
    }

    /// Cuts the response off: its record could not be written, or not be synced in time.
    func logFailed() {
        guard phase == .withheld else { return }
        reset()
    }

    // MARK: The next request and the end

    /// Goes on to the next request once the present one has been read to its end.
    private func settle() {
        guard phase == .settling else { return }
        if !isRequestComplete {
            deadline = loop.now + loop.shared.timeouts.request
            takeInboundBody()
        }
        guard isRequestComplete, phase == .settling else { return }
        prepareForNext()
        if inbound.readableBytes > 0 {
            advance()
        } else if isInputClosed || loop.shared.isDraining {
            close()
        }
        updateReading()
    }

    private func prepareForNext() {
        phase = .idle
        deadline = loop.now + loop.shared.timeouts.idle
        if consumed == inbound.writerIndex {
            // Chosen: a buffer that once had to hold a large head is not kept.
            if inbound.capacity > 1 << 16 { inbound = ByteBuffer() } else { inbound.clear() }
        } else {
            inbound.moveReaderIndex(to: consumed)
            inbound.discardReadBytes()
        }
        consumed = 0
        parser.reset()
        exchange = Exchange()
        isRequestComplete = false
        isDiscardingBody = false
        hasResponseHead = false
        responseFraming = .none
        ending = .keep
    }

    /// Closes our side and waits a little for the client's, so that it reads the response before a
    /// reset could destroy it.
    private func linger() {
        guard !isInputClosed, context != nil else {
            close()
            return
        }
        phase = .lingering
        deadline = loop.now + loop.shared.timeouts.linger
        channel.close(mode: .output, promise: nil)
        updateReading()
    }

    /// Closes the connection.
    func close() {
        guard phase != .closed else { return }
        phase = .closed
        deadline = .max
        context?.close(promise: nil)
    }

    /// Closes the connection so that the client cannot take the response for complete.
    func reset() {
        guard phase != .closed else { return }
        loop.shared.metrics.responsesReset.add()
        SocketReset.arm(channel)
        close()
    }

    /// Ends whatever has taken too long.
    func timedOut() {
        deadline = .max
        switch phase {
        case .idle, .settling, .lingering: close()
        case .head:
            if parser.hasBegun {
                exchange.requestBytes = inbound.writerIndex
                refuse(.requestTimeout)
            } else {
                close()
            }
        case .exchange: exchangeTimedOut()
        case .withheld: logFailed()
        case .closed: break
        }
    }

    /// Closes an idle connection; others close behind their response.
    func beginDraining() {
        switch phase {
        case .idle: close()
        case .head where !parser.hasBegun: close()
        case .settling: close()
        default: break
        }
    }

    /// Ends the request in flight: the time to finish is over.
    func abandon() {
        switch phase {
        case .head where parser.hasBegun:
            exchange.requestBytes = inbound.writerIndex
            abort(.gatewayError)
        case .exchange: abort(.gatewayError)
        case .withheld: break
        default: close()
        }
    }
}
