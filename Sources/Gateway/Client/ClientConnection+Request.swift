internal import FileIO
internal import NIOCore
internal import Records
internal import Telemetry

extension ClientConnection {
    /// Finds out where a request goes, and asks for a connection there.
    func beginExchange() {
        phase = .exchange
        exchange.requestBytes = consumed
        exchange.requestID = (loop.identifiers.next(), loop.identifiers.next())
        loop.shared.metrics.inFlight.add(1)
        beginBody()
        noteTrace()
        let head = head
        if head.knownMethod == .connect {
            refuse(.unsupportedMethod)
            return
        }
        guard let api = findAPI() else {
            if !answerHealthCheck() { refuse(.unknownPath) }
            return
        }
        exchange.api = api
        if let keyHeader = api.keyHeader {
            guard let owner = authenticate(api, keyHeader) else {
                refuse(.unauthorized)
                return
            }
            exchange.owner = owner
        }
        if head.hasUnknownExpectation {
            refuse(.unknownExpectation)
            return
        }
        if bodyRemaining > UInt64(loop.shared.limits.bodyBytesMax) {
            refuse(.bodyTooLarge)
            return
        }
        guard reserve() else {
            refuse(.logFull)
            return
        }
        acquire(excluding: nil, fresh: false)
    }

    /// Prepares for the body that the head announces.
    private func beginBody() {
        bodyBytes = 0
        switch head.framing {
        case .none, .untilClose:
            isRequestComplete = true
        case .length(let length):
            bodyRemaining = length
        case .chunked:
            bodyRemaining = 0
            bodyDecoder.reset()
        }
    }

    /// Takes the trace id over, or makes one.
    private func noteTrace() {
        if !head.traceparent.isEmpty {
            let bytes = inbound
            let span = bytes.readableBytesUInt8Span
            if let id = TraceContext.traceID(span.extracting(head.traceparent.range)) {
                exchange.traceID = id
                return
            }
        }
        exchange.hasOwnTrace = true
        exchange.traceID = (loop.identifiers.next(), loop.identifiers.next() | 1)
    }

    /// Looks the path up, and the route below it.
    private func findAPI() -> CompiledAPI? {
        let bytes = inbound
        let span = bytes.readableBytesUInt8Span
        let path = span.extracting(head.path.range)
        guard !head.isAsterisk, let api = loop.shared.apis.api(of: path) else { return nil }
        exchange.route = api.route(
            of: path,
            method: head.knownMethod,
            methodBytes: span.extracting(head.method.range)
        )
        return api
    }

    /// Finds the owner of the API key; nil unless there is exactly one key, and it is known.
    private func authenticate(
        _ api: CompiledAPI,
        _ keyHeader: [UInt8]
    ) -> CredentialTable.Owner? {
        let bytes = inbound
        let span = bytes.readableBytesUInt8Span
        var value: Place?
        for field in parser.fields
        where equalsIgnoringCase(span.extracting(field.name.range), keyHeader.span) {
            guard value == nil else { return nil }
            value = field.value
        }
        guard let value,
            let owner = loop.shared.credentials.owner(ofSecret: span.extracting(value.range)),
            owner.org == nil || owner.org == api.orgName
        else { return nil }
        return owner
    }

    /// Answers `/livez` and `/readyz`, which are ours only if no API claims them; not recorded.
    private func answerHealthCheck() -> Bool {
        guard head.knownMethod == .get || head.knownMethod == .head, isRequestComplete else {
            return false
        }
        let isReadiness: Bool
        let bytes = inbound
        let span = bytes.readableBytesUInt8Span
        let path = span.extracting(head.path.range)
        if equalsIgnoringCase(path, "/livez") {
            isReadiness = false
        } else if equalsIgnoringCase(path, "/readyz") {
            isReadiness = true
        } else {
            return false
        }
        sendHealth(isGood: !isReadiness || !loop.shared.isDraining)
        return true
    }

    // MARK: Log space

    /// Promises the log space that the record can take; true if there already is a promise.
    func reserve() -> Bool {
        guard exchange.reservedBytes == 0 else { return true }
        // Of a head that was refused, any part may be recorded.
        let headBytes =
            head.length > 0
            ? head.length : min(inbound.writerIndex, loop.shared.limits.headBytesMax)
        let bytes =
            headBytes + loop.shared.recordBytesMax + (exchange.api?.recordBytesMax ?? 0)
            + (exchange.owner?.recordBytesMax ?? 0)
        guard loop.reserve(bytes) else { return false }
        exchange.reservedBytes = bytes
        return true
    }

    // MARK: The upstream

    /// Asks for a connection to the API's upstream in turn.
    func acquire(excluding excluded: UpstreamPool?, fresh: Bool) {
        guard let api = exchange.api else { return }
        let now = loop.now
        let pool =
            fresh
            ? (excluded ?? loop.upstreams[api.index].next(now: now, excluding: nil))
            : loop.upstreams[api.index].next(now: now, excluding: excluded)
        exchange.pool = pool
        exchange.acquiredAt = now
        exchange.connectedAt = 0
        exchange.upstreamEndedAt = 0
        deadline = now + loop.shared.timeouts.connect
        isAcquiring = true
        pool.acquire(for: self, fresh: fresh)
    }

    /// Sends the request on a connection that is there.
    func upstreamReady(_ connection: UpstreamConnection, isReused: Bool) {
        guard isAcquiring else {
            connection.owner.release(connection, isReusable: true)
            return
        }
        isAcquiring = false
        exchange.connectedAt = loop.now
        exchange.isReused = isReused
        upstream = connection
        connection.begin(for: self)
        connection.write(writeUpstreamHead)
        if isRequestComplete {
            connection.requestIsComplete()
            deadline = exchange.connectedAt + loop.shared.timeouts.firstByte
        } else {
            deadline = exchange.connectedAt + loop.shared.timeouts.request
            takeInboundBody()
        }
        connection.flush()
        updateReading()
    }

    /// Tries the next upstream, or gives up.
    func upstreamUnavailable(_ refusal: Refusal) {
        guard isAcquiring else { return }
        isAcquiring = false
        let count = exchange.api.map { loop.upstreams[$0.index].count } ?? 1
        if refusal != .overloaded, exchange.retries < count - 1, !exchange.hasSentBody {
            exchange.retries += 1
            loop.shared.metrics.retries.add()
            acquire(excluding: exchange.pool, fresh: false)
            return
        }
        exchange.upstreamEndedAt = loop.now
        refuse(refusal)
    }

    /// Takes the upstream out of the exchange, closing it unless its response is complete.
    func dropUpstream() {
        if isAcquiring {
            isAcquiring = false
            exchange.pool?.cancel(self)
        }
        guard let connection = upstream else { return }
        upstream = nil
        exchange.upstreamEndedAt = loop.now
        connection.abandon()
    }

    /// Resumes the body when the upstream takes more of it.
    func upstreamWritabilityChanged() { updateReading() }

    // MARK: The body

    /// Passes on what `inbound` holds of the body.
    func takeInboundBody() {
        guard !isRequestComplete, upstream != nil || isDiscardingBody,
            consumed < inbound.writerIndex,
            var rest = inbound.getSlice(at: consumed, length: inbound.writerIndex - consumed)
        else { return }
        takeBody(&rest)
        consumed = inbound.writerIndex - rest.readableBytes
    }

    /// Passes on what a buffer holds of the body; what is left in it belongs to the next request,
    /// or has to wait.
    func takeBody(_ buffer: inout ByteBuffer) {
        guard upstream != nil || isDiscardingBody else { return }
        let before = buffer.readableBytes
        defer { exchange.requestBytes += before - buffer.readableBytes }
        if phase == .exchange, upstream != nil, !hasResponseHead {
            deadline = loop.now + loop.shared.timeouts.request
        }
        switch head.framing {
        case .length:
            let count = Int(min(bodyRemaining, UInt64(buffer.readableBytes)))
            guard let piece = buffer.readSlice(length: count) else { return }
            bodyRemaining -= UInt64(count)
            passOn(piece, isChunk: false)
            if bodyRemaining == 0 { requestIsComplete() }
        case .chunked:
            while buffer.readableBytes > 0, !isRequestComplete, takeChunk(&buffer) {}
        case .none, .untilClose:
            break
        }
    }

    /// Passes one piece of a chunked body on; false when there is no more to do with these bytes.
    private func takeChunk(_ buffer: inout ByteBuffer) -> Bool {
        let step = bodyDecoder.next(buffer.readableBytesUInt8Span, loop.shared.limits)
        switch step {
        case .more(let count):
            buffer.moveReaderIndex(forwardBy: count)
            return false
        case .data(let skipped, let count):
            buffer.moveReaderIndex(forwardBy: skipped)
            guard let piece = buffer.readSlice(length: count) else { return false }
            bodyBytes += UInt64(count)
            if bodyBytes > UInt64(loop.shared.limits.bodyBytesMax) {
                bodyIsRefused(.bodyTooLarge)
                return false
            }
            passOn(piece, isChunk: true)
            return true
        case .end(let count):
            let trailers = TrailerSection(
                bytes: buffer,
                start: bodyDecoder.trailerStart,
                fields: bodyDecoder.trailers.fields
            )
            buffer.moveReaderIndex(forwardBy: count)
            upstream?.write { out in
                out.writeStaticString("0\r\n")
                trailers.write(into: &out)
                out.writeStaticString("\r\n")
            }
            requestIsComplete()
            return true
        case .rejected(let rejection):
            bodyIsRefused(Refusal(rejection))
            return false
        }
    }

    private func passOn(_ piece: ByteBuffer, isChunk: Bool) {
        guard let upstream else { return }
        exchange.hasSentBody = true
        upstream.writeBody(piece, isChunk: isChunk)
    }

    private func requestIsComplete() {
        isRequestComplete = true
        upstream?.requestIsComplete()
        if phase == .exchange, upstream != nil, !hasResponseHead {
            deadline = loop.now + loop.shared.timeouts.firstByte
        }
    }

    /// Ends a request whose body cannot be accepted.
    private func bodyIsRefused(_ refusal: Refusal) {
        guard phase == .exchange else {
            close()
            return
        }
        fail(refusal)
    }
}
