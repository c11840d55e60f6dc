internal import FileIO
internal import NIOCore

extension ClientConnection {
    /// Writes the request head as the upstream gets it.
    ///
    /// Field lines that stay are copied as they came, neighbouring ones at once; hop-by-hop fields,
    /// framing, `Host`, the API key and the forwarding fields are left out or written anew.
    func writeUpstreamHead(_ out: inout ByteBuffer) {
        let head = head
        let bytes = inbound
        let span = bytes.readableBytesUInt8Span
        let api = exchange.api
        out.writePlace(head.method, of: span)
        out.writeStaticString(" ")
        writeTarget(&out, span, strip: api?.stripCount ?? 0)
        if let pool = exchange.pool { out.writeBytes(pool.hostLine) }

        let connectionFields = head.hasConnectionOptions
        var runStart = 0
        var runEnd = 0
        for field in parser.fields {
            let line = field.line
            if isForwarded(field, span, api?.keyHeader, connectionFields) {
                if Int(line.start) != runEnd {
                    if runEnd > runStart { out.writePlace(Place(runStart, runEnd), of: span) }
                    runStart = Int(line.start)
                }
                runEnd = Int(line.end)
            }
        }
        if runEnd > runStart { out.writePlace(Place(runStart, runEnd), of: span) }
        writeOwnFields(&out, span)
    }

    /// Writes path and query in origin form.
    private func writeTarget(_ out: inout ByteBuffer, _ span: Span<UInt8>, strip: Int) {
        let path = Place(min(Int(head.path.start) + strip, Int(head.path.end)), Int(head.path.end))
        if path.isEmpty { out.writeStaticString("/") } else { out.writePlace(path, of: span) }
        if head.hasQuery {
            out.writeStaticString("?")
            out.writePlace(head.query, of: span)
        }
    }

    /// Whether a field line goes to the upstream as it came.
    private func isForwarded(
        _ field: HeadField,
        _ span: Span<UInt8>,
        _ keyHeader: [UInt8]?,
        _ hasOptions: Bool
    ) -> Bool {
        switch field.known {
        case .host, .contentLength, .forwardedFor, .forwardedProto, .forwardedHost:
            return false
        case .expect:
            return head.expectsContinue
        case .traceparent:
            return !exchange.hasOwnTrace
        case .other, .userAgent, .trailer, .via, .date:
            break
        default:
            return false
        }
        let name = span.extracting(field.name.range)
        if let keyHeader, equalsIgnoringCase(name, keyHeader.span) { return false }
        return !hasOptions || !ConnectionOptions.name(name, parser.fields, span)
    }

    /// Writes the fields that the gateway answers for, and the end of the head.
    private func writeOwnFields(_ out: inout ByteBuffer, _ span: Span<UInt8>) {
        if head.forwardedForCount > 0 || !head.forwardedProto.isEmpty, isPeerTrusted {
            out.writeStaticString("X-Forwarded-For: ")
            for field in parser.fields where field.known == .forwardedFor {
                out.writePlace(field.value, of: span)
                out.writeStaticString(", ")
            }
            out.writeBytes(peerText)
            out.writeStaticString("\r\nX-Forwarded-Proto: ")
            out.writeStaticString(isForwardedSecure(span) ? "https" : "http")
            out.writeStaticString("\r\nX-Forwarded-Host: ")
        } else {
            out.writeBytes(forwardedLines)
        }
        // Without a host, which HTTP/1.0 allows, the value is empty.
        if !head.authority.isEmpty { out.writePlace(head.authority, of: span) }
        if exchange.hasOwnTrace {
            out.writeStaticString("\r\ntraceparent: 00-")
            out.writeSixteenDigits(exchange.traceID.high)
            out.writeSixteenDigits(exchange.traceID.low)
            out.writeStaticString("-")
            out.writeSixteenDigits(exchange.requestID.high | 1)
            // Flags: not sampled; whether to sample is for tracers to decide.
            out.writeStaticString("-00")
        }
        if !loop.shared.via.isEmpty {
            out.writeStaticString("\r\nVia: ")
            out.writeBytes(loop.shared.via)
        }
        switch head.framing {
        case .chunked: out.writeStaticString("\r\nTransfer-Encoding: chunked")
        case .length(let length):
            out.writeStaticString("\r\nContent-Length: ")
            out.writeDecimal(Int(length))
        case .none, .untilClose:
            // A length of 0 that the client stated is stated again; servers expect it of POST.
            if parser.hasLength { out.writeStaticString("\r\nContent-Length: 0") }
        }
        if head.takesTrailers, head.minorVersion == 1 {
            out.writeStaticString("\r\nTE: trailers\r\nConnection: TE")
        }
        out.writeStaticString("\r\n\r\n")
    }

    /// Whether the other side of the socket may speak for others.
    var isPeerTrusted: Bool {
        let ranges = loop.shared.configuration.trustedProxies
        guard !ranges.isEmpty, let peer else { return false }
        return ranges.contains { $0.contains(peer.bytes) }
    }

    /// Whether a trusted proxy says that the client came by TLS.
    func isForwardedSecure(_ span: Span<UInt8>) -> Bool {
        guard !head.forwardedProto.isEmpty, isPeerTrusted else { return false }
        return equalsIgnoringCase(span.extracting(head.forwardedProto.range), "https")
    }

    /// The client's address: the peer's, or what trusted proxies say, read from the right up to the
    /// first address that is no trusted proxy.
    func clientAddress(_ span: Span<UInt8>) -> NetworkAddress? {
        guard head.forwardedForCount > 0, isPeerTrusted else { return peer }
        let ranges = loop.shared.configuration.trustedProxies
        var found = peer
        for field in parser.fields.reversed() where field.known == .forwardedFor {
            let value = span.extracting(field.value.range)
            var places: [Place] = []
            var items = FieldValue.ListItems(value)
            while let item = items.next(value) { places.append(item) }
            for place in places.reversed() {
                guard let address = NetworkAddress(forwarded: value.extracting(place.range)) else {
                    return found
                }
                found = address
                if !ranges.contains(where: { $0.contains(address.bytes) }) { return found }
            }
        }
        return found
    }
}

/// Fields that `Connection` makes hop-by-hop (RFC 9110 §7.6.1).
enum ConnectionOptions {
    /// Whether one of the `Connection` fields names a field.
    static func name(_ name: Span<UInt8>, _ fields: [HeadField], _ span: Span<UInt8>) -> Bool {
        for field in fields where field.known == .connection {
            let value = span.extracting(field.value.range)
            var items = FieldValue.ListItems(value)
            while let item = items.next(value) {
                if isEqual(value.extracting(item.range), name) { return true }
            }
        }
        return false
    }

    private static func isEqual(_ left: Span<UInt8>, _ right: Span<UInt8>) -> Bool {
        guard left.count == right.count else { return false }
        for index in 0..<left.count
        where ByteClass.lowercase(left[index]) != ByteClass.lowercase(right[index]) {
            return false
        }
        return true
    }
}
