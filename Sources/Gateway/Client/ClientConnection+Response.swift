internal import FileIO
internal import NIOCore
internal import Records
internal import Telemetry

extension ClientConnection {
    // MARK: What the upstream says

    /// Forwards an informational response, which HTTP/1.0 does not know.
    func informationalResponse(_ parser: ResponseParser, _ buffer: ByteBuffer) {
        noteFirstByte()
        guard head.minorVersion == 1 else { return }
        let span = buffer.readableBytesUInt8Span
        writeStatusLineAndFields(parser, span)
        outbound.writeStaticString("\r\n")
    }

    /// Forwards a response head.
    ///
    /// - Returns: how the body from the upstream ends.
    func responseHead(_ parser: ResponseParser, _ buffer: ByteBuffer) -> BodyFraming {
        noteFirstByte()
        let response = parser.head
        let framing = response.framing(isHead: head.knownMethod == .head)
        exchange.upstreamStatus = response.status
        exchange.status = response.status
        hasResponseHead = true
        switch framing {
        case .none, .length(0): responseFraming = .none
        case .length: responseFraming = .length
        case .chunked, .untilClose:
            responseFraming = head.minorVersion == 1 ? .chunked : .untilClose
        }
        ending = keepsAlive && responseFraming != .untilClose ? .keep : .close

        let span = buffer.readableBytesUInt8Span
        writeStatusLineAndFields(parser, span)
        if responseFraming == .chunked {
            outbound.writeStaticString("Transfer-Encoding: chunked\r\n")
        }
        writeConnectionFields()
        outbound.writeStaticString("\r\n")
        return framing
    }

    private func noteFirstByte() {
        let now = loop.now
        if exchange.firstByteAt == 0 { exchange.firstByteAt = now }
        deadline = now + loop.shared.timeouts.betweenBytes
    }

    /// Writes the status line, and copies the field lines that stay, neighbouring ones at once.
    private func writeStatusLineAndFields(_ parser: ResponseParser, _ span: Span<UInt8>) {
        let status = parser.head.status
        let hasLength = status >= 200 && status != 204
        var hasDate = false
        var runStart = 0
        var runEnd = 0
        if parser.head.minorVersion == 1, !parser.head.reason.isEmpty {
            // The line is what we would write: the first run begins with it.
            runEnd = Int(parser.head.reason.end) + 2
        } else {
            outbound.writeStaticString("HTTP/1.1 ")
            outbound.writeDecimal(status)
            outbound.writeStaticString(" ")
            outbound.writePlace(parser.head.reason, of: span)
            outbound.writeStaticString("\r\n")
        }
        for field in parser.fields {
            switch field.known {
            case .date: hasDate = true
            case .contentLength: if !hasLength { continue }
            case .trailer: if head.minorVersion == 0 { continue }
            default:
                if field.known.isHopByHop { continue }
                if parser.head.hasConnectionOptions {
                    let name = span.extracting(field.name.range)
                    if ConnectionOptions.name(name, parser.fields, span) { continue }
                }
            }
            let line = field.line
            if Int(line.start) != runEnd {
                if runEnd > runStart { outbound.writePlace(Place(runStart, runEnd), of: span) }
                runStart = Int(line.start)
            }
            runEnd = Int(line.end)
        }
        if runEnd > runStart { outbound.writePlace(Place(runStart, runEnd), of: span) }
        if !hasDate, status >= 200 { writeDate() }
        if !loop.shared.via.isEmpty {
            outbound.writeStaticString("Via: ")
            outbound.writeBytes(loop.shared.via)
            outbound.writeStaticString("\r\n")
        }
    }

    private func writeDate() {
        outbound.writeStaticString("Date: ")
        outbound.writeBytes(loop.dateText)
        outbound.writeStaticString("\r\n")
    }

    private func writeConnectionFields() {
        if ending == .close {
            outbound.writeStaticString("Connection: close\r\n")
        } else if head.minorVersion == 0 {
            outbound.writeStaticString("Connection: keep-alive\r\n")
        }
    }

    /// Whether the connection can serve another request behind this one.
    private var keepsAlive: Bool {
        head.keepsAlive && !loop.shared.isDraining && canReadRestOfBody
    }

    /// Whether the rest of the request is worth reading only to get to the next one.
    private var canReadRestOfBody: Bool {
        if isRequestComplete { return true }
        if head.expectsContinue { return false }
        if upstream != nil { return true }
        guard case .length = head.framing else { return false }
        return bodyRemaining <= UInt64(loop.shared.limits.bufferedBytesMax)
    }

    /// Forwards a piece of the body.
    ///
    /// - Parameters:
    ///   - piece: the bytes.
    ///   - isLast: whether they complete a body of known length, so that one is held back.
    func responseBody(_ piece: ByteBuffer, isLast: Bool) {
        guard piece.readableBytes > 0 else { return }
        if responseFraming == .chunked {
            outbound.writeHexadecimal(piece.readableBytes)
            outbound.writeStaticString("\r\n")
        }
        if piece.readableBytes <= Self.copiedBytesMax {
            outbound.writeImmutableBuffer(piece)
        } else if isLast {
            var front = piece
            let end = front.readableBytes - 1
            let last = front.getSlice(at: front.readerIndex + end, length: 1)
            writeOutbound(and: front.readSlice(length: end))
            if let last { outbound.writeImmutableBuffer(last) }
        } else {
            writeOutbound(and: piece)
        }
        if responseFraming == .chunked { outbound.writeStaticString("\r\n") }
        if channel.isWritable {
            deadline = loop.now + loop.shared.timeouts.betweenBytes
        }
    }

    /// Completes the response: the upstream has said all.
    func responseEnded(trailers: TrailerSection?) {
        upstream = nil
        exchange.upstreamEndedAt = loop.now
        if !isRequestComplete {
            // The upstream has answered without waiting for the whole request.
            if canReadRestOfBody { isDiscardingBody = true } else { ending = .close }
        }
        if responseFraming == .chunked {
            outbound.writeStaticString("0\r\n")
            trailers?.write(into: &outbound)
            outbound.writeStaticString("\r\n")
        }
        switch exchange.status {
        case ..<400: exchange.outcome = .ok
        case ..<500: exchange.outcome = .clientError
        default: exchange.outcome = .upstreamError
        }
        if channel.isWritable {
            complete()
        } else {
            // The record says what the client took, so it has to take most of it first.
            isAwaitingWritability = true
            deadline = loop.now + loop.shared.timeouts.send
        }
    }

    /// Deals with a connection that ended inside an exchange.
    func upstreamFailed(_ failure: UpstreamConnection.Failure) {
        upstream = nil
        let now = loop.now
        exchange.upstreamEndedAt = now
        if failure == .silent, exchange.isReused, isRetriable {
            exchange.retries += 1
            loop.shared.metrics.retries.add()
            acquire(excluding: exchange.pool, fresh: true)
            return
        }
        fail(.badGateway)
    }

    /// Whether the request may be sent a second time: it changes nothing, and all of it is here.
    private var isRetriable: Bool {
        guard !exchange.hasSentBody, exchange.retries < 2, head.framing == .none else {
            return false
        }
        switch head.knownMethod {
        case .get, .head, .put, .delete, .options, .trace: return true
        case .post, .patch, .connect, .other: return false
        }
    }

    // MARK: How it ends

    /// Ends a request that has taken too long.
    func exchangeTimedOut() {
        if isAwaitingWritability || (hasResponseHead && !channel.isWritable) {
            abort(.clientAborted)
        } else if isAcquiring {
            exchange.upstreamEndedAt = loop.now
            fail(.gatewayTimeout)
        } else if !isRequestComplete, !hasResponseHead, upstream?.isWritable ?? true {
            fail(.requestTimeout)
        } else {
            fail(.gatewayTimeout)
        }
    }

    /// Answers with a refusal, or, once bytes of a response are on their way, cuts it off.
    func fail(_ refusal: Refusal) {
        dropUpstream()
        guard hasResponseHead, exchange.responseBytes > 0 else {
            refuse(refusal)
            return
        }
        outbound.clear()
        exchange.outcome = refusal.outcome
        ending = .reset
        record()
    }

    /// Answers by itself; that there is no log space comes before every other reason.
    func refuse(_ wanted: Refusal) {
        let refusal = wanted == .logFull || reserve() ? wanted : .logFull
        if phase == .head {
            phase = .exchange
            isRequestComplete = true
            exchange.requestID = (loop.identifiers.next(), loop.identifiers.next())
            loop.shared.metrics.inFlight.add(1)
        }
        dropUpstream()
        outbound.clear()
        exchange.status = refusal.status
        exchange.outcome = refusal.outcome
        hasResponseHead = true
        responseFraming = .length
        let keeps = !wanted.closesConnection && keepsAlive
        ending = keeps ? .keep : .close
        isDiscardingBody = !isRequestComplete && keeps
        writeProblem(refusal)
        if refusal == .logFull {
            sendUnrecorded()
        } else {
            complete()
        }
    }

    private func writeProblem(_ refusal: Refusal) {
        let problem = refusal.problem
        outbound.writeStaticString("HTTP/1.1 ")
        outbound.writeDecimal(refusal.status)
        outbound.writeStaticString(" ")
        outbound.writeStaticString(refusal.reason)
        outbound.writeStaticString("\r\nContent-Type: application/problem+json\r\nContent-Length: ")
        outbound.writeDecimal(problem.utf8CodeUnitCount)
        outbound.writeStaticString("\r\n")
        if refusal.hasRetryAfter { outbound.writeStaticString("Retry-After: 1\r\n") }
        if refusal == .unauthorized {
            outbound.writeStaticString("WWW-Authenticate: ApiKey\r\n")
        }
        writeDate()
        writeConnectionFields()
        outbound.writeStaticString("\r\n")
        if head.knownMethod != .head { outbound.writeStaticString(problem) }
    }

    /// Answers a health check; such requests are no API traffic and leave no record.
    func sendHealth(isGood: Bool) {
        hasResponseHead = true
        ending = keepsAlive ? .keep : .close
        outbound.writeStaticString(
            isGood ? "HTTP/1.1 200 OK\r\n" : "HTTP/1.1 503 Service Unavailable\r\n"
        )
        outbound.writeStaticString("Content-Type: text/plain\r\nContent-Length: ")
        let text: StaticString = isGood ? "ok\n" : "shutting down\n"
        outbound.writeDecimal(text.utf8CodeUnitCount)
        outbound.writeStaticString("\r\n")
        writeDate()
        writeConnectionFields()
        outbound.writeStaticString("\r\n")
        if head.knownMethod != .head { outbound.writeStaticString(text) }
        loop.shared.metrics.inFlight.add(-1)
        phase = .withheld
        loop.completeAfterTick(self)
    }

    /// Ends a request that the log has no space for.
    private func sendUnrecorded() {
        loop.shared.metrics.droppedLogFull.add()
        loop.shared.metrics.requests[Int(exchange.outcome.rawValue)].add()
        loop.shared.metrics.inFlight.add(-1)
        phase = .withheld
        loop.completeAfterTick(self)
    }

    /// Records the request and keeps the end of its response back until the record is written.
    func complete() {
        record()
    }

    /// Records a request whose client will not see its end.
    func abort(_ outcome: Outcome) {
        if phase == .head {
            phase = .exchange
            exchange.requestID = (loop.identifiers.next(), loop.identifiers.next())
            loop.shared.metrics.inFlight.add(1)
        }
        dropUpstream()
        outbound.clear()
        isAwaitingWritability = false
        exchange.outcome = outcome
        ending = .reset
        if reserve() { record() } else { sendUnrecorded() }
        if outcome == .clientAborted { close() }
    }
}
