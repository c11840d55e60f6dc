internal import Records

/// An answer that the gateway gives by itself.
enum Refusal: UInt8, CaseIterable, Sendable {
    /// The head or body could not be understood.
    case badRequest
    /// The request line is too long.
    case targetTooLong
    /// The header fields are too large or too many.
    case headersTooLarge
    /// The body is too large.
    case bodyTooLarge
    /// Not HTTP/1.0 or HTTP/1.1.
    case unsupportedVersion
    /// An expectation other than `100-continue`.
    case unknownExpectation
    /// A method that proxies of this kind do not serve.
    case unsupportedMethod
    /// The request did not come in time.
    case requestTimeout
    /// No API claims the path.
    case unknownPath
    /// The API key is missing or wrong.
    case unauthorized
    /// No log space is left.
    case logFull
    /// All connections to the upstream are busy, and so is the queue.
    case overloaded
    /// No upstream could be reached.
    case unreachable
    /// The upstream broke off or spoke nonsense.
    case badGateway
    /// The upstream took too long.
    case gatewayTimeout
    /// The gateway is shutting down and the request did not finish in time.
    case shuttingDown

    /// The refusal for a head or body that was rejected.
    init(_ rejection: HTTPRejection) {
        switch rejection.status {
        case 414: self = .targetTooLong
        case 431: self = .headersTooLarge
        case 413: self = .bodyTooLarge
        case 505: self = .unsupportedVersion
        default: self = .badRequest
        }
    }

    /// The status code.
    var status: Int {
        switch self {
        case .badRequest: 400
        case .unauthorized: 401
        case .unknownPath: 404
        case .requestTimeout: 408
        case .bodyTooLarge: 413
        case .targetTooLong: 414
        case .unknownExpectation: 417
        case .headersTooLarge: 431
        case .unsupportedMethod: 501
        case .badGateway, .unreachable: 502
        case .logFull, .overloaded, .shuttingDown: 503
        case .gatewayTimeout: 504
        case .unsupportedVersion: 505
        }
    }

    /// How it is recorded.
    var outcome: Outcome {
        switch self {
        case .badRequest, .targetTooLong, .headersTooLarge, .unsupportedVersion,
            .unknownExpectation, .unsupportedMethod, .requestTimeout, .unknownPath:
            .clientError
        case .bodyTooLarge: .tooLarge
        case .unauthorized: .authFailed
        case .logFull, .overloaded, .shuttingDown: .gatewayError
        case .unreachable: .upstreamUnreachable
        case .badGateway: .upstreamError
        case .gatewayTimeout: .upstreamTimeout
        }
    }

    /// The reason phrase.
    var reason: StaticString {
        switch self {
        case .badRequest: "Bad Request"
        case .unauthorized: "Unauthorized"
        case .unknownPath: "Not Found"
        case .requestTimeout: "Request Timeout"
        case .bodyTooLarge: "Content Too Large"
        case .targetTooLong: "URI Too Long"
        case .unknownExpectation: "Expectation Failed"
        case .headersTooLarge: "Request Header Fields Too Large"
        case .unsupportedMethod: "Not Implemented"
        case .badGateway, .unreachable: "Bad Gateway"
        case .logFull, .overloaded, .shuttingDown: "Service Unavailable"
        case .gatewayTimeout: "Gateway Timeout"
        case .unsupportedVersion: "HTTP Version Not Supported"
        }
    }

    /// The body: an RFC 9457 problem that says what is wrong, without repeating the input.
    var problem: StaticString {
        switch self {
        case .badRequest:
            #"{"title":"the request does not follow HTTP/1.1","status":400}"#
        case .unauthorized:
            #"{"title":"the API key is missing or not valid","status":401}"#
        case .unknownPath:
            #"{"title":"no API claims this path","status":404}"#
        case .requestTimeout:
            #"{"title":"the request did not arrive in time","status":408}"#
        case .bodyTooLarge:
            #"{"title":"the request body is too large","status":413}"#
        case .targetTooLong:
            #"{"title":"the request line is too long","status":414}"#
        case .unknownExpectation:
            #"{"title":"only the expectation 100-continue can be met","status":417}"#
        case .headersTooLarge:
            #"{"title":"the header fields are too large","status":431}"#
        case .unsupportedMethod:
            #"{"title":"the method is not supported","status":501}"#
        case .badGateway:
            #"{"title":"the upstream gave no usable response","status":502}"#
        case .unreachable:
            #"{"title":"the upstream cannot be reached","status":502}"#
        case .logFull:
            #"{"title":"no space is left to record the request","status":503}"#
        case .overloaded:
            #"{"title":"too many requests wait for the upstream","status":503}"#
        case .shuttingDown:
            #"{"title":"the gateway is shutting down","status":503}"#
        case .gatewayTimeout:
            #"{"title":"the upstream took too long","status":504}"#
        case .unsupportedVersion:
            #"{"title":"only HTTP/1.0 and HTTP/1.1 are spoken","status":505}"#
        }
    }

    /// Whether the client is told to come back.
    var hasRetryAfter: Bool { status == 503 }

    /// Whether the connection cannot be used any more, because its framing is unknown.
    var closesConnection: Bool {
        switch self {
        case .badRequest, .targetTooLong, .headersTooLarge, .unsupportedVersion, .requestTimeout,
            .bodyTooLarge, .shuttingDown:
            true
        default: false
        }
    }
}
