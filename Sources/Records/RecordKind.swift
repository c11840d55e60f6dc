/// What a record stands for; raw values are the numbers of the proto.
package enum RecordKind: UInt8, CaseIterable, Sendable, BitwiseCopyable {
    /// Not on the wire, or a kind that this version does not know.
    case unspecified = 0
    /// One API request.
    case request = 1
    /// The end of an upgraded connection.
    case sessionEnd = 2
    /// The log was complete up to `next_offset` at `completed_at`.
    case heartbeat = 3
    /// Offset 0 of a log; names its predecessor.
    case logStart = 4
    /// The payload of an end frame.
    case logEnd = 5
    /// A line of an imported file that could not be read: the tag `reason` says why,
    /// `captured_request` holds its bytes. Goes to the dead letters, never into rollups.
    case unparsed = 6

    /// The name in JSON and in messages.
    package var name: String {
        switch self {
        case .unspecified: "unspecified"
        case .request: "request"
        case .sessionEnd: "session_end"
        case .heartbeat: "heartbeat"
        case .logStart: "log_start"
        case .logEnd: "log_end"
        case .unparsed: "unparsed"
        }
    }
}

/// How a request ended; raw values are the numbers of the proto.
package enum Outcome: UInt8, CaseIterable, Sendable, BitwiseCopyable {
    /// Not on the wire, or an outcome that this version does not know.
    case unspecified = 0
    /// The upstream answered below 400.
    case ok = 1
    /// The upstream answered 4xx.
    case clientError = 2
    /// The upstream answered 5xx, or broke off.
    case upstreamError = 3
    /// The upstream took too long.
    case upstreamTimeout = 4
    /// No upstream could be reached.
    case upstreamUnreachable = 5
    /// The credential was missing or wrong.
    case authFailed = 6
    /// The rate limit was used up.
    case rateLimited = 7
    /// The quota was used up.
    case quotaExceeded = 8
    /// A rule forbade the request.
    case blocked = 9
    /// The request was larger than allowed.
    case tooLarge = 10
    /// The client went away before the response was complete.
    case clientAborted = 11
    /// The gateway itself failed.
    case gatewayError = 12

    /// The name in rollups, queries and JSON.
    package var name: String {
        switch self {
        case .unspecified: "unspecified"
        case .ok: "ok"
        case .clientError: "client_error"
        case .upstreamError: "upstream_error"
        case .upstreamTimeout: "upstream_timeout"
        case .upstreamUnreachable: "upstream_unreachable"
        case .authFailed: "auth_failed"
        case .rateLimited: "rate_limited"
        case .quotaExceeded: "quota_exceeded"
        case .blocked: "blocked"
        case .tooLarge: "too_large"
        case .clientAborted: "client_aborted"
        case .gatewayError: "gateway_error"
        }
    }

    /// The outcome of a name; nil for a name that is none.
    package init?(name: String) {
        guard let found = Outcome.allCases.first(where: { $0.name == name }) else { return nil }
        self = found
    }

    /// Whether the request is an error whatever its status says.
    package var isServerFault: Bool {
        switch self {
        case .upstreamError, .upstreamTimeout, .upstreamUnreachable, .gatewayError: true
        default: false
        }
    }
}

/// Names of routes that are no templates.
package enum Route {
    /// The route of every path that matches no template.
    package static var unmatched: String { "__unmatched__" }
}

/// The request methods that are recorded by name.
package enum RequestMethod: UInt8, CaseIterable, Sendable, BitwiseCopyable {
    /// The methods of RFC 9110 and RFC 5789.
    case get, head, post, put, delete, connect, options, trace, patch
    /// Every other method.
    case other

    /// The name as recorded.
    package var name: String {
        switch self {
        case .get: "GET"
        case .head: "HEAD"
        case .post: "POST"
        case .put: "PUT"
        case .delete: "DELETE"
        case .connect: "CONNECT"
        case .options: "OPTIONS"
        case .trace: "TRACE"
        case .patch: "PATCH"
        case .other: "OTHER"
        }
    }

    /// Recognises the bytes of a request line; methods are case-sensitive.
    package init(_ bytes: Span<UInt8>) {
        self = .other
        guard bytes.count >= 3, bytes.count <= 7 else { return }
        var packed: UInt64 = 0
        for index in bytes.indices { packed = packed << 8 | UInt64(bytes[index]) }
        switch packed {
        case 0x474554: self = .get
        case 0x48454144: self = .head
        case 0x504F5354: self = .post
        case 0x505554: self = .put
        case 0x44454C455445: self = .delete
        case 0x434F4E4E454354: self = .connect
        case 0x4F5054494F4E53: self = .options
        case 0x5452414345: self = .trace
        case 0x5041544348: self = .patch
        default: break
        }
    }

    /// Recognises the text of a method; methods are case-sensitive.
    package init(_ text: String) {
        self = Self.allCases.first { $0.name == text } ?? .other
    }
}
