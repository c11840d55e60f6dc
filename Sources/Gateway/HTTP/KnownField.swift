/// The header fields that mean something to a proxy.
package enum KnownField: UInt8, CaseIterable, Sendable, BitwiseCopyable {
    /// Any other field; forwarded as it is.
    case other
    /// Framing and routing, which the gateway writes itself.
    case host, contentLength, transferEncoding
    /// Hop-by-hop fields (RFC 9110 §7.6.1), never forwarded.
    case connection, keepAlive, proxyConnection, te, upgrade, http2Settings
    /// Credentials for proxies; this proxy consumes and ignores them.
    case proxyAuthorization, proxyAuthenticate
    /// Announces trailer fields; forwarded with them.
    case trailer
    /// Asks for an informational response before the body is sent.
    case expect
    /// Recorded.
    case userAgent
    /// W3C trace context.
    case traceparent
    /// Said by proxies in front; believed only from trusted ones.
    case forwardedFor, forwardedProto, forwardedHost
    /// Proxies passed.
    case via
    /// When a response was made; added if the upstream did not.
    case date

    /// Recognises a field name; case is ignored.
    @inline(__always)
    package init(_ name: Span<UInt8>) {
        self = .other
        guard name.count >= 2, name.count <= 19 else { return }
        let candidate: (field: KnownField, name: String)
        switch (name.count, ByteClass.lowercase(name[0])) {
        case (2, 0x74): candidate = (.te, "te")
        case (3, 0x76): candidate = (.via, "via")
        case (4, 0x64): candidate = (.date, "date")
        case (4, 0x68): candidate = (.host, "host")
        case (6, 0x65): candidate = (.expect, "expect")
        case (7, 0x74): candidate = (.trailer, "trailer")
        case (7, 0x75): candidate = (.upgrade, "upgrade")
        case (10, 0x63): candidate = (.connection, "connection")
        case (10, 0x6B): candidate = (.keepAlive, "keep-alive")
        case (10, 0x75): candidate = (.userAgent, "user-agent")
        case (11, 0x74): candidate = (.traceparent, "traceparent")
        case (14, 0x63): candidate = (.contentLength, "content-length")
        case (14, 0x68): candidate = (.http2Settings, "http2-settings")
        case (15, 0x78): candidate = (.forwardedFor, "x-forwarded-for")
        case (16, 0x70): candidate = (.proxyConnection, "proxy-connection")
        case (16, 0x78): candidate = (.forwardedHost, "x-forwarded-host")
        case (17, 0x74): candidate = (.transferEncoding, "transfer-encoding")
        case (17, 0x78): candidate = (.forwardedProto, "x-forwarded-proto")
        case (18, 0x70): candidate = (.proxyAuthenticate, "proxy-authenticate")
        case (19, 0x70): candidate = (.proxyAuthorization, "proxy-authorization")
        default: return
        }
        if equalsIgnoringCase(name, candidate.name) { self = candidate.field }
    }

    /// Whether the field concerns one connection only and is never forwarded.
    package var isHopByHop: Bool {
        switch self {
        case .connection, .keepAlive, .proxyConnection, .te, .upgrade, .http2Settings,
            .transferEncoding, .proxyAuthorization, .proxyAuthenticate:
            true
        default: false
        }
    }

    /// Whether the field may not stand in a trailer section (RFC 9110 §6.5.1).
    package var isForbiddenInTrailers: Bool {
        switch self {
        case .other: false
        default: true
        }
    }
}
