/// Which pages of other origins may ask; none unless the configuration lists them.
///
/// Tokens are sent as headers and never as cookies, so a page can only ask with a token it has.
struct CrossOrigin: Sendable {
    /// Origins as browsers write them, such as `https://status.example.com`.
    private let origins: Set<String>

    /// Lets pages of `origins` ask.
    init(_ origins: [String]) { self.origins = Set(origins) }

    /// The answer to a browser that wants to know what it may ask; nil if this is no such question,
    /// or not from a listed origin.
    func preflight(_ request: APIRequest, _ endpoint: QueryAPI.Endpoint?) -> APIReply? {
        guard request.method == "OPTIONS", isAllowed(request.origin),
            let endpoint, endpoint.isForPrograms
        else { return nil }
        var reply = APIReply("")
        reply.status = 204
        reply.headers = [
            ("Access-Control-Allow-Methods", endpoint.methods.joined(separator: ", ")),
            ("Access-Control-Allow-Headers", "Authorization, Content-Type, If-None-Match"),
            ("Access-Control-Max-Age", "600"),
        ]
        return reply
    }

    /// Lets the page read the answer.
    func addHeaders(_ reply: inout APIReply, _ request: APIRequest) {
        guard !origins.isEmpty else { return }
        reply.headers.append(("Vary", "Origin"))
        guard isAllowed(request.origin), let origin = request.origin,
            QueryAPI.Endpoint(path: request.path)?.isForPrograms ?? false
        else { return }
        reply.headers += [
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Expose-Headers", "ETag, Retry-After, Sluice-Next, Sluice-Truncated"),
            ("Cross-Origin-Resource-Policy", "cross-origin"),
        ]
    }

    private func isAllowed(_ origin: String?) -> Bool {
        origin.map { origins.contains($0) } ?? false
    }
}

extension QueryAPI.Endpoint {
    /// Whether programs ask it, rather than people or collectors of metrics.
    fileprivate var isForPrograms: Bool { needsToken || self == .openAPI }
}
