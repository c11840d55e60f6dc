/// Everything that the gateway may be told; built and validated once by the executable.
package struct GatewayConfiguration: Sendable {
    /// Address to listen on; loopback by default, so that nothing is exposed unasked.
    package var host = "127.0.0.1"

    /// Port to listen on; 0 lets the kernel choose, and the caller learns it from `onListening`.
    package var port = 8080

    /// Event loops, each with a lane of the log; 0 means one per core.
    package var eventLoops = 0

    /// Name of this machine in records.
    package var node = ""

    /// Region in records; absent when empty.
    package var region = ""

    /// The APIs; the longest listen path that a request path begins with wins.
    package var apis: [GatewayAPI] = []

    /// API keys for the APIs whose authentication is `.key`.
    package var keys: [GatewayKey] = []

    /// Secret under which API keys are hashed, at least 16 bytes; one per deployment.
    package var credentialKey: [UInt8] = []

    /// Networks whose `X-Forwarded-For` is believed.
    package var trustedProxies: [AddressRange] = []

    /// How much of the client's address is recorded.
    package var clientAddressPolicy = ClientAddressPolicy.full

    /// Whether query strings are recorded; off, because they carry secrets.
    package var recordsQuery = false

    /// Name to put into `Via`; no such field when nil.
    package var via: String?

    /// Sizes beyond which a request is refused.
    package var limits = GatewayLimits()

    /// Times after which the gateway gives up.
    package var timeouts = GatewayTimeouts()

    /// The defaults alone: no API, so every request is answered 404.
    package init() {}
}

/// One API: what it is called, which paths it claims, and where its requests go.
package struct GatewayAPI: Sendable {
    /// Name in records.
    package var id: String

    /// Organisation that owns it.
    package var org: String

    /// Version in records; absent when empty.
    package var version = ""

    /// Path prefix that selects this API; `/orders/` also claims `/orders` itself.
    package var listenPath: String

    /// Whether the prefix is taken off before forwarding; the path then still begins with `/`.
    package var stripsListenPath = false

    /// Where requests go, in turn.
    package var upstreams: [UpstreamAddress]

    /// How callers show who they are.
    package var authentication = GatewayAuthentication.none

    /// Route templates that requests are recorded under; the first that matches wins.
    package var routes: [RouteTemplate] = []

    /// Tags of its records.
    package var tags: [GatewayTag] = []

    /// An API with its required parts.
    package init(id: String, org: String, listenPath: String, upstreams: [UpstreamAddress]) {
        self.id = id
        self.org = org
        self.listenPath = listenPath
        self.upstreams = upstreams
    }
}

/// A tag that the records of an API get.
package struct GatewayTag: Equatable, Sendable {
    /// Where its value comes from.
    package enum Source: Equatable, Sendable {
        /// Always this.
        case fixed(String)
        /// The request's first header field of this name, cleaned and cut to so many bytes; no tag
        /// without such a field.
        case header(String, bytesMax: Int)
    }

    /// Its name.
    package var name: String

    /// Where its value comes from.
    package var source: Source

    /// A tag of its parts.
    package init(name: String, source: Source) {
        self.name = name
        self.source = source
    }
}

/// An upstream server that speaks HTTP/1.1 without TLS.
package struct UpstreamAddress: Hashable, Sendable, CustomStringConvertible {
    /// Host name or address, without brackets.
    package var host: String

    /// TCP port.
    package var port: Int

    /// An address of its parts.
    package init(host: String, port: Int) {
        self.host = host
        self.port = port
    }

    /// `host:port`, with brackets around an IPv6 address: as in records and in `Host`.
    package var description: String {
        host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    }
}

/// How callers show who they are.
package enum GatewayAuthentication: Equatable, Sendable {
    /// Not at all.
    case none

    /// With an API key in the header field of this name, which is not forwarded.
    case key(header: String)
}

/// A route template such as `GET /orders/{id}`.
package struct RouteTemplate: Equatable, Sendable {
    /// Request method; any if nil.
    package var method: String?

    /// Whole request path with `{name}` for one segment and a final `*` for the rest.
    package var path: String

    /// A template of its parts.
    package init(method: String?, path: String) {
        self.method = method
        self.path = path
    }

    /// Parses `"GET /orders/{id}"` or `"/orders/{id}"`; nil if it has no path.
    package init?(_ text: String) {
        let parts = text.split(separator: " ", omittingEmptySubsequences: true)
        switch parts.count {
        case 1 where parts[0].hasPrefix("/"): self.init(method: nil, path: String(parts[0]))
        case 2 where parts[1].hasPrefix("/"):
            self.init(method: String(parts[0]), path: String(parts[1]))
        default: return nil
        }
    }

    /// The text in records: method and path, or the path alone.
    package var name: String { method.map { "\($0) \(path)" } ?? path }
}

/// An API key, by its secret or by the keyed hash of it.
package struct GatewayKey: Sendable {
    /// What is known of the secret.
    package enum Credential: Sendable {
        /// What the caller sends; hashed when the server is made, then forgotten.
        case secret(String)
        /// HMAC-SHA256 of what the caller sends, under `credentialKey`.
        case hash([UInt8])
    }

    /// Name in configuration and logs; records carry the keyed hash instead.
    package var id: String

    /// What the caller's key is compared with.
    package var credential: Credential

    /// Organisation whose APIs accept it; all of them if nil.
    package var org: String?

    /// Application in records; absent when empty.
    package var application = ""

    /// Developer in records; absent when empty.
    package var developer = ""

    /// Plan in records; absent when empty.
    package var plan = ""

    /// A key with its required parts.
    package init(id: String, credential: Credential) {
        self.id = id
        self.credential = credential
    }
}

/// How much of a client's address is recorded.
package enum ClientAddressPolicy: Sendable {
    /// The whole address.
    case full
    /// The first 24 bits of an IPv4 address, the first 48 of an IPv6 address.
    case truncated
    /// Nothing.
    case off
}

/// Sizes beyond which a request is refused; each is chosen unless another reason is given.
package struct GatewayLimits: Sendable {
    /// Longest request line; longer is answered 414.
    package var requestLineBytesMax = 8 << 10

    /// Request line and header fields together; more is answered 431.
    package var headBytesMax = 32 << 10

    /// Header fields of one head; more is answered 431.
    package var headersMax = 100

    /// Request body; more is answered 413.
    package var bodyBytesMax = 64 << 20

    /// Bytes of trailer fields behind a chunked body.
    package var trailerBytesMax = 8 << 10

    /// Client connections at once, on all loops; one more is closed as soon as it is accepted.
    package var clientConnectionsMax = 10_000

    /// Connections to one upstream from one event loop.
    package var upstreamConnectionsMax = 256

    /// Idle connections to one upstream kept by one event loop.
    package var upstreamIdleMax = 64

    /// Requests of one event loop that may wait for a connection to one upstream; one more is
    /// answered 503.
    package var upstreamWaitersMax = 1_024

    /// Bytes buffered per direction and connection before reading pauses.
    package var bufferedBytesMax = 64 << 10

    /// The defaults alone.
    package init() {}
}

/// Times after which the gateway gives up; looked at every `granularity`.
package struct GatewayTimeouts: Sendable {
    /// From the first byte of a request to the end of its head, and between the bytes of its body;
    /// then 408.
    package var request = Duration.seconds(30)

    /// Keeping a client connection on which nothing has begun.
    package var idle = Duration.seconds(75)

    /// Between two moments at which a client that is behind takes a good part of what waits for it.
    package var send = Duration.seconds(60)

    /// Connecting to an upstream, waiting for a free connection included; then 504.
    package var connect = Duration.seconds(3)

    /// From the request's last byte to the response's first; then 504.
    package var firstByte = Duration.seconds(30)

    /// Between two reads of a response; then the client's connection is reset.
    package var betweenBytes = Duration.seconds(30)

    /// Keeping an idle upstream connection; shorter than the usual 60 s of servers.
    package var upstreamIdle = Duration.seconds(50)

    /// How long an upstream that could not be reached is passed over.
    package var upstreamRest = Duration.seconds(5)

    /// Letting requests finish after a signal to stop.
    package var drain = Duration.seconds(10)

    /// Reading on after a refusal, so that the client sees it before the connection is reset.
    package var linger = Duration.seconds(2)

    /// Between two heartbeats of a lane.
    package var heartbeat = Duration.seconds(2)

    /// How often the other times are looked at, hence how late they may be noticed.
    package var granularity = Duration.milliseconds(100)

    /// The defaults alone.
    package init() {}
}
