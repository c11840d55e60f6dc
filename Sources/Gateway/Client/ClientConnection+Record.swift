internal import FileIO
internal import NIOCore
internal import Records
internal import Telemetry

extension ClientConnection {
    /// Appends the request's record; from here on the response's end waits for the log.
    func record() {
        phase = .withheld
        // A disk that takes nothing any more must not keep the client for ever.
        deadline = loop.now + loop.shared.timeouts.request
        exchange.responseBytes += outbound.readableBytes
        let metrics = loop.shared.metrics
        metrics.inFlight.add(-1)
        metrics.requests[Int(exchange.outcome.rawValue)].add()
        let completedAt = loop.shared.time.wallMicroseconds()
        let now = loop.now
        let bytes = inbound
        let span = bytes.readableBytesUInt8Span
        let result = loop.append(self, eventTime: completedAt) { encoder in
            encode(&encoder, span, completedAt: completedAt, now: now)
        }
        if exchange.reservedBytes > 0 {
            loop.release(exchange.reservedBytes)
            exchange.reservedBytes = 0
        }
        switch result {
        case .pending: break
        case .dropped: loop.completeAfterTick(self)
        case .failed:
            ending = .reset
            loop.completeAfterTick(self)
        }
    }

    /// Encodes the fields from kind onwards.
    private func encode(
        _ encoder: inout RecordEncoder,
        _ span: Span<UInt8>,
        completedAt: Int64,
        now: UInt64
    ) {
        let shared = loop.shared
        let head = head
        let durationUS = (now - min(exchange.startedAt, now)) / 1_000
        encoder.put(.kind, UInt64(RecordKind.request.rawValue))
        encoder.put(.completedAt, signed: completedAt)
        encoder.put(.outcome, UInt64(exchange.outcome.rawValue))
        if let api = exchange.api {
            putText(&encoder, .org, api.org)
            putText(&encoder, .api, api.id)
        }
        if let api = exchange.api, let route = exchange.route {
            encoder.put(.route, api.routeName(route))
        } else {
            encoder.put(.route, Route.unmatched)
        }
        if !head.method.isEmpty { encoder.put(.method, head.knownMethod.name) }
        if exchange.status != 0 { encoder.put(.status, UInt64(exchange.status)) }
        encoder.put(.durationUS, durationUS)
        putUpstreamTimes(&encoder, durationUS: durationUS)
        encoder.put(.responseBytes, UInt64(exchange.responseBytes))
        if let owner = exchange.owner {
            encoder.put(.keyID, owner.keyID)
            putText(&encoder, .application, owner.application)
            putText(&encoder, .developer, owner.developer)
            putText(&encoder, .plan, owner.plan)
        }
        putIdentifier(&encoder, .requestID, exchange.requestID)
        encoder.put(.startedAt, signed: completedAt - Int64(durationUS))
        encoder.put(.requestBytes, UInt64(exchange.requestBytes))
        if let api = exchange.api { putText(&encoder, .apiVersion, api.version) }
        putText(&encoder, .node, shared.node)
        putText(&encoder, .region, shared.region)
        putClient(&encoder, span)
        encoder.put(.scheme, isForwardedSecure(span) ? "https" : "http")
        putPlace(&encoder, .host, head.authority, span)
        putPlace(&encoder, .path, head.path, span)
        if shared.configuration.recordsQuery { putPlace(&encoder, .query, head.query, span) }
        if exchange.retries > 0 { encoder.put(.retryCount, UInt64(exchange.retries)) }
        if exchange.traceID.high | exchange.traceID.low != 0 {
            putIdentifier(&encoder, .traceID, exchange.traceID)
        }
        if let api = exchange.api {
            for tag in api.tags { put(tag, &encoder, span) }
        }
    }

    private func put(_ tag: CompiledTag, _ encoder: inout RecordEncoder, _ span: Span<UInt8>) {
        guard let header = tag.header else {
            encoder.putTag(key: tag.name.span, value: tag.value.span)
            return
        }
        for field in parser.fields
        where equalsIgnoringCase(span.extracting(field.name.range), header.span) {
            let value = TagValue.cleaned(
                span.extracting(field.value.range),
                bytesMax: tag.bytesMax
            )
            if let value { encoder.putTag(key: tag.name.span, value: value.span) }
            return
        }
    }

    private func putUpstreamTimes(_ encoder: inout RecordEncoder, durationUS: UInt64) {
        guard let pool = exchange.pool, exchange.acquiredAt != 0 else { return }
        encoder.put(.upstreamAddress, pool.addressText)
        if exchange.upstreamStatus != 0 {
            encoder.put(.upstreamStatus, UInt64(exchange.upstreamStatus))
        }
        let ended = max(exchange.upstreamEndedAt, exchange.acquiredAt)
        let upstreamUS = min((ended - exchange.acquiredAt) / 1_000, durationUS)
        encoder.put(.upstreamDurationUS, upstreamUS)
        encoder.put(.gatewayDurationUS, durationUS - upstreamUS)
        if exchange.connectedAt != 0, !exchange.isReused {
            encoder.put(
                .upstreamConnectUS,
                (exchange.connectedAt - exchange.acquiredAt) / 1_000
            )
        }
        if exchange.firstByteAt != 0 {
            encoder.put(
                .upstreamFirstByteUS,
                (exchange.firstByteAt - exchange.acquiredAt) / 1_000
            )
        }
    }

    private func putClient(_ encoder: inout RecordEncoder, _ span: Span<UInt8>) {
        let policy = loop.shared.configuration.clientAddressPolicy
        if head.forwardedForCount == 0, policy == .full {
            putText(&encoder, .clientIP, peerText)
        } else if let address = clientAddress(span) {
            putText(&encoder, .clientIP, address.recorded(policy))
        }
        guard !head.userAgent.isEmpty else { return }
        // Chosen: longer user agents say nothing more.
        let place = Place(
            Int(head.userAgent.start),
            min(Int(head.userAgent.end), Int(head.userAgent.start) + 1_024)
        )
        let agent = span.extracting(place.range)
        putPlace(&encoder, .userAgent, place, span)
        encoder.put(.userAgentFamily, UserAgentFamily(agent).name)
        encoder.put(.platform, ClientPlatform(agent).name)
    }

    private func putText(_ encoder: inout RecordEncoder, _ field: RecordField, _ text: [UInt8]) {
        if !text.isEmpty { encoder.put(field, text) }
    }

    private func putIdentifier(
        _ encoder: inout RecordEncoder,
        _ field: RecordField,
        _ id: (high: UInt64, low: UInt64)
    ) {
        let value = LogID(high: id.high, low: id.low)
        encoder.put(field, value)
    }

    /// Puts bytes of the head; what is not UTF-8 is replaced.
    private func putPlace(
        _ encoder: inout RecordEncoder,
        _ field: RecordField,
        _ place: Place,
        _ span: Span<UInt8>
    ) {
        guard !place.isEmpty else { return }
        let bytes = span.extracting(place.range)
        for index in 0..<bytes.count where bytes[index] >= 0x80 {
            encoder.put(field, Self.repaired(bytes))
            return
        }
        encoder.put(field, bytes)
    }

    private static func repaired(_ bytes: Span<UInt8>) -> String {
        var copy: [UInt8] = []
        for index in 0..<bytes.count { copy.append(bytes[index]) }
        return String(decoding: copy, as: UTF8.self)
    }
}
