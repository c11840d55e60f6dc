/// The proxy: where it listens, what it trusts, and the APIs behind it.
package struct GatewaySettings: Equatable, Sendable {
    /// Where it listens.
    package var listen = ListenAddress(host: "127.0.0.1", port: 8080)

    /// Event loops, each with a lane of the log; 0 means one per core.
    package var threads = 0

    /// Networks whose `X-Forwarded-For` is believed, as `address/bits`.
    package var trustedProxies: [Network] = []

    /// Key under which credentials are hashed; a file in the data directory unless given.
    package var credentialKey: Secret?

    /// How much of a client's address is recorded.
    package var clientIP = ClientIPPolicy.full

    /// Whether the query string is recorded.
    package var recordsQuery = false

    /// Sizes beyond which a request is refused.
    package var limits = GatewayLimits()

    /// Times after which the gateway gives up.
    package var timeouts = GatewayTimeouts()

    /// The APIs, each with listen paths of its own.
    package var apis: [APISettings] = []

    /// API keys for the APIs with `auth: {mode: key}`.
    package var keys: [KeySettings] = []

    /// The defaults alone.
    package init() {}
}

/// How much of a client's address is recorded.
package enum ClientIPPolicy: String, Equatable, Sendable, CaseIterable {
    /// The whole address.
    case full
    /// The first 24 bits of an IPv4 address, the first 48 of an IPv6 address.
    case truncated
    /// Nothing.
    case off
}

/// Sizes beyond which a request is refused.
package struct GatewayLimits: Equatable, Sendable {
    /// Request line and header fields together.
    package var headerBytes = 32 << 10

    /// Request body.
    package var bodyBytes = 64 << 20

    /// Client connections at once.
    package var connections = 10_000

    /// The defaults alone.
    package init() {}
}

/// Times after which the gateway gives up.
package struct GatewayTimeouts: Equatable, Sendable {
    /// Connecting to an upstream.
    package var connect = Duration.seconds(3)

    /// Waiting for the upstream's first or next bytes.
    package var upstream = Duration.seconds(30)

    /// Waiting for the rest of a request that has begun.
    package var request = Duration.seconds(30)

    /// Keeping a silent client connection.
    package var idle = Duration.seconds(75)

    /// Letting requests finish after a signal to stop.
    package var drain = Duration.seconds(10)

    /// The defaults alone.
    package init() {}
}

/// One API: what it is called and where its requests go.
package struct APISettings: Equatable, Sendable {
    /// Name in records and queries; unique with its version.
    package var id: String

    /// Organisation that owns it.
    package var org: String

    /// Version written to records; absent unless given.
    package var version: String?

    /// Path prefix that selects this API; begins and ends with `/`.
    package var listenPath: String

    /// Whether the prefix is taken off before forwarding.
    package var stripListenPath = false

    /// Where requests go, in turn.
    package var upstreams: [Upstream]

    /// How callers show who they are.
    package var auth = AuthSettings.none

    /// Route templates that requests are counted under; the first that matches wins.
    package var routes: [RouteSettings] = []

    /// Tags of its records.
    package var tags: [TagSettings] = []

    /// An API with its required keys.
    package init(id: String, org: String, listenPath: String, upstreams: [Upstream]) {
        self.id = id
        self.org = org
        self.listenPath = listenPath
        self.upstreams = upstreams
    }
}

/// A tag that the records of an API get.
package struct TagSettings: Equatable, Sendable {
    /// Its name; a rollup groups by it as `tag.NAME`.
    package var name: String

    /// Its value, if that is always the same.
    package var value: String?

    /// The header field that carries its value.
    package var header: String?

    /// Longest value from a header field; what is behind is cut off.
    package var bytesMax = 64

    /// A tag with neither value nor header.
    package init(name: String) { self.name = name }
}

/// Where requests go.
package enum Upstream: Equatable, Sendable {
    /// A server that speaks HTTP/1.1 without TLS.
    case http(host: String, port: Int)

    /// The demonstration server inside the gateway process; written `builtin:demo`.
    case builtInDemo
}

/// How callers show who they are.
package enum AuthSettings: Equatable, Sendable {
    /// Not at all.
    case none

    /// With an API key in the header field `header`.
    case key(header: String)
}

/// A route template such as `GET /orders/{id}`.
package struct RouteSettings: Equatable, Sendable {
    /// Request method; any if nil.
    package var method: String?

    /// Path with `{name}` for one segment and a final `*` for the rest.
    package var template: String

    /// A route of its parts.
    package init(method: String?, template: String) {
        self.method = method
        self.template = template
    }
}

/// One API key.
package struct KeySettings: Equatable, Sendable {
    /// Name of the key in configuration and logs; records carry a keyed hash of the secret.
    package var id: String

    /// What the caller sends.
    package var secret: Secret

    /// Organisation whose APIs accept it; all of them if nil.
    package var org: String?

    /// Application that records made with it belong to.
    package var application: String?

    /// Developer that records made with it belong to.
    package var developer: String?

    /// Plan that records made with it belong to.
    package var plan: String?

    /// A key with its required parts.
    package init(id: String, secret: Secret) {
        self.id = id
        self.secret = secret
    }
}

/// A range of addresses, as `address/bits`.
package struct Network: Equatable, Sendable, CustomStringConvertible {
    /// The 4 or 16 bytes of the address.
    package var address: [UInt8]

    /// How many leading bits count.
    package var bits: Int

    /// `address/bits` as it was written.
    package var description: String

    /// A network of its parts.
    package init(address: [UInt8], bits: Int, description: String) {
        self.address = address
        self.bits = bits
        self.description = description
    }
}
