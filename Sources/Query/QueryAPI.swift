package import Logging
package import Telemetry

/// One request, free of the HTTP library.
package struct APIRequest: Sendable {
    /// Method in upper case.
    package var method: String
    /// Path without the query string.
    package var path: String
    /// Query string without the question mark.
    package var query: String
    /// Value of the `Authorization` header.
    package var authorization: String?
    /// Value of the `Content-Type` header.
    package var contentType: String?
    /// Value of the `If-None-Match` header.
    package var ifNoneMatch: String?
    /// Value of the `Origin` header.
    package var origin: String?
    /// Address of the client, or of the proxy before it; nil if it has none.
    package var address: String?
    /// Reads the body up to the limit; called at most once.
    package var body: @Sendable () async throws(Problem) -> [UInt8]

    /// A request with a body that is there already.
    package init(
        _ method: String,
        _ path: String,
        query: String = "",
        authorization: String? = nil,
        contentType: String? = nil,
        ifNoneMatch: String? = nil,
        origin: String? = nil,
        address: String? = nil,
        body: @escaping @Sendable () async throws(Problem) -> [UInt8] = { [] }
    ) {
        self.method = method
        self.path = path
        self.query = query
        self.authorization = authorization
        self.contentType = contentType
        self.ifNoneMatch = ifNoneMatch
        self.origin = origin
        self.address = address
        self.body = body
    }
}

/// One answer, free of the HTTP library.
package struct APIReply: Sendable {
    /// Status code.
    package var status: Int
    /// Header fields besides those that every answer gets.
    package var headers: [(name: String, value: String)]
    /// The body, unless it is streamed.
    package var body: [UInt8]
    /// Writes a body of any length piece by piece; throws if it could not be written to its end.
    package var stream: ExportStream?

    /// An answer of some media type.
    init(_ mediaType: String, _ body: [UInt8] = []) {
        status = 200
        headers = [("Content-Type", mediaType)]
        self.body = body
    }

    /// Adds a header field unless it is there already.
    mutating func addHeader(_ name: String, _ value: String) {
        if !headers.contains(where: { $0.name == name }) { headers.append((name, value)) }
    }

    /// The answer that says `problem`.
    init(_ problem: Problem, tokenWasSent: Bool) {
        status = problem.kind.status
        headers = [("Content-Type", "application/problem+json")]
        switch problem.kind {
        case .unauthorized:
            let error = tokenWasSent ? ", error=\"invalid_token\"" : ""
            headers.append(("WWW-Authenticate", "Bearer realm=\"sluice\"" + error))
        case .unavailable, .tooManyRequests:
            headers.append(("Retry-After", "\(problem.retryAfterSeconds)"))
        case .methodNotAllowed: headers.append(("Allow", problem.allow ?? "GET"))
        default: break
        }
        body = Array(problem.json.utf8)
    }
}

/// The endpoints of the query API.
package struct QueryAPI: Sendable {
    /// Paths that are answered; the raw value is the path, or for files what it begins with.
    enum Endpoint: String, CaseIterable {
        case dashboard = "/"
        case portal = "/portal"
        case assets = "/assets/"
        case usage = "/v1/usage"
        case top = "/v1/top"
        case records = "/v1/records"
        case record = "/v1/records/"
        case meta = "/v1/meta"
        case ledger = "/v1/ledger"
        case meters = "/v1/meters"
        case meter = "/v1/meters/"
        case openAPI = "/openapi.yaml"
        case metrics = "/metrics"
        case alive = "/livez"
        case ready = "/readyz"

        /// Whether it answers only to the bearer of a token; the rest says nothing of anybody.
        var needsToken: Bool { rawValue.hasPrefix("/v1/") }

        /// Methods that the endpoint takes.
        var methods: [String] {
            switch self {
            case .usage, .top, .records: ["GET", "HEAD", "POST"]
            default: ["GET", "HEAD"]
            }
        }

        /// The endpoint that answers `path`.
        init?(path: String) {
            if path.hasPrefix(Endpoint.assets.rawValue) {
                self = .assets
            } else if path.hasPrefix(Endpoint.record.rawValue) {
                self = .record
            } else if path.hasPrefix(Endpoint.meter.rawValue) {
                self = .meter
            } else {
                self.init(rawValue: path)
            }
        }
    }

    let configuration: QueryConfiguration
    let database: Database
    let access: Access
    let engine: UsageEngine
    let answers: AnswerCache
    let metrics: MetricsRegistry
    let now: @Sendable () -> Int64
    package let audit: TokenAudit
    private let origins: CrossOrigin
    private let statistics: RequestStatistics
    private let readiness: Readiness
    private let site: WebSite

    /// The endpoints over the database of `configuration`.
    package init(
        _ configuration: QueryConfiguration,
        metrics: MetricsRegistry,
        logger: Logger,
        now: @escaping @Sendable () -> Int64
    ) {
        self.configuration = configuration
        database = Database(configuration, metrics: metrics, logger: logger)
        access = Access(configuration, database: database, now: now)
        audit = TokenAudit(configuration, metrics: metrics, logger: logger)
        origins = CrossOrigin(configuration.corsOrigins)
        var engine = UsageEngine()
        engine.rowsReadMax = configuration.rowsReadMax
        self.engine = engine
        answers = AnswerCache(bytesMax: configuration.answerCacheBytes)
        self.metrics = metrics
        self.now = now
        statistics = RequestStatistics(metrics)
        readiness = Readiness(database: database, now: now)
        site = WebSite(configuration, logger: logger)
    }

    /// Answers one request; never fails, since failures are answers too.
    package func respond(_ request: APIRequest) async -> APIReply {
        let start = now()
        let endpoint = Endpoint(path: request.path)
        var reply: APIReply
        if let preflight = origins.preflight(request, endpoint) {
            reply = preflight
        } else {
            reply = await admitted(request, endpoint, start)
        }
        origins.addHeaders(&reply, request)
        // Answers depend on the token and on the moment; files of the pages say otherwise.
        reply.addHeader("Cache-Control", "no-store")
        reply.addHeader("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
        reply.addHeader("Cross-Origin-Opener-Policy", "same-origin")
        reply.addHeader("Cross-Origin-Resource-Policy", "same-origin")
        reply.addHeader("Referrer-Policy", "no-referrer")
        reply.addHeader("X-Content-Type-Options", "nosniff")
        reply.addHeader("X-Frame-Options", "DENY")
        statistics.count(endpoint, status: reply.status, microseconds: now() - start)
        return reply
    }

    /// Answers a request whose token, if it needs one, may ask; and notes who asked.
    private func admitted(
        _ request: APIRequest,
        _ endpoint: Endpoint?,
        _ start: Int64
    ) async -> APIReply {
        var token: StoredToken?
        var reply: APIReply
        let noted = NotedBody(request)
        do throws(Problem) {
            if let endpoint, endpoint.needsToken, endpoint.methods.contains(request.method) {
                token = try await access.admit(
                    authorization: request.authorization,
                    address: request.address
                )
            }
            reply = try await answer(noted.request, endpoint)
        } catch {
            reply = APIReply(error, tokenWasSent: request.authorization != nil)
        }
        if let token {
            audit.note(
                TokenUse(
                    usedAt: start,
                    tokenID: token.id,
                    address: request.address,
                    method: request.method,
                    path: request.path,
                    question: noted.question,
                    status: reply.status,
                    microseconds: max(0, now() - start)
                )
            )
        }
        return reply
    }

    private func answer(
        _ request: APIRequest,
        _ endpoint: Endpoint?
    ) async throws(Problem) -> APIReply {
        guard let endpoint else { throw Self.nothing }
        guard endpoint.methods.contains(request.method) else {
            var problem = Problem(.methodNotAllowed, "use one of the methods in Allow")
            problem.allow = endpoint.methods.joined(separator: ", ")
            throw problem
        }
        guard request.query.utf8.count <= configuration.queryBytesMax else {
            throw Problem(
                .queryTooLong,
                "the query string may have \(configuration.queryBytesMax) bytes; send the same "
                    + "fields as JSON with POST"
            )
        }
        switch endpoint {
        case .dashboard, .portal, .assets:
            guard let reply = site.reply(request.path, ifNoneMatch: request.ifNoneMatch) else {
                throw Self.nothing
            }
            return reply
        case .alive: return APIReply("application/json", Array(#"{"status":"alive"}"#.utf8))
        case .ready:
            try await readiness.check()
            return APIReply("application/json", Array(#"{"status":"ready"}"#.utf8))
        case .metrics:
            return APIReply(
                MetricsRegistry.mediaType,
                Array(metrics.render().utf8)
            )
        case .openAPI: return APIReply("application/yaml", Array(OpenAPI.document.utf8))
        case .usage: return try await usage(request, .usage)
        case .top: return try await usage(request, .top)
        case .records: return try await records(request)
        case .record: return try await record(request)
        case .meta:
            let scope = try await access.scope(authorization: request.authorization)
            try refuseParameters(request)
            return try await meta(scope)
        case .ledger:
            let scope = try await access.scope(authorization: request.authorization)
            guard scope == .admin else {
                throw Problem(.forbidden, "the ledger is for tokens of scope admin")
            }
            return try await ledger(try Self.ledgerLog(request.query))
        case .meters: return try await meters(request)
        case .meter: return try await meter(request)
        }
    }

    /// The problem of a path at which there is nothing.
    private static let nothing = Problem(
        .notFound,
        "there is nothing at this path; see /openapi.yaml",
        known: Endpoint.allCases.map(\.rawValue)
    )

    private func refuseParameters(_ request: APIRequest) throws(Problem) {
        guard request.query.isEmpty else {
            throw Problem(.unknownParameter, "\(request.path) takes no parameters; leave them out")
        }
    }
}
