import Hummingbird
import HummingbirdCore
package import Logging
import NIOCore
import ServiceLifecycle
package import Telemetry

/// A page of metrics for processes without the query API: `/metrics` and `/livez`, nothing else.
///
/// Owner: the service group. Needs no database and no token, and tells nothing but the metrics:
/// let it listen where only the collector comes.
package final class MetricsServer: Service {
    /// Connections at once; chosen: collectors are few.
    private static let connectionsMax = 64

    private let host: String
    private let port: Int
    private let metrics: MetricsRegistry
    private let logger: Logger
    private let onListening: @Sendable (_ host: String, _ port: Int) -> Void

    /// A server that listens once `run()` is called.
    ///
    /// - Parameters:
    ///   - host: Address to listen on.
    ///   - port: Port to listen on; 0 lets the kernel choose.
    ///   - metrics: What the page shows.
    ///   - logger: Where failures are reported.
    ///   - onListening: Called once with the address in use, after the socket listens.
    package init(
        host: String,
        port: Int,
        metrics: MetricsRegistry,
        logger: Logger,
        onListening: @escaping @Sendable (_ host: String, _ port: Int) -> Void = { _, _ in }
    ) {
        self.host = host
        self.port = port
        self.metrics = metrics
        self.logger = logger
        self.onListening = onListening
    }

    /// Serves until graceful shutdown or cancellation; throws if the address cannot be listened on.
    package func run() async throws {
        let (host, onListening) = (host, onListening)
        var quiet = logger
        quiet.logLevel = max(logger.logLevel, .warning)
        let application = Application(
            responder: MetricsResponder(metrics: metrics),
            server: .http1(configuration: HTTP1Channel.Configuration(idleTimeout: .seconds(75))),
            configuration: ApplicationConfiguration(
                address: .hostname(host, port: port),
                availableConnectionsDelegate: MaximumAvailableConnections(Self.connectionsMax)
            ),
            onServerRunning: { channel in
                onListening(host, channel.localAddress?.port ?? 0)
            },
            logger: quiet
        )
        try await application.run()
    }
}

/// Answers the two paths.
private struct MetricsResponder: HTTPResponder {
    typealias Context = BasicRequestContext

    let metrics: MetricsRegistry

    func respond(to request: Request, context: BasicRequestContext) async throws -> Response {
        let path = (request.head.path ?? "").prefix { $0 != "?" }
        switch (request.method, path) {
        case (.get, "/metrics"), (.head, "/metrics"):
            return answer(request, .ok, MetricsRegistry.mediaType, metrics.render())
        case (.get, "/livez"), (.head, "/livez"):
            return answer(request, .ok, "application/json", #"{"status":"alive"}"#)
        case (_, "/metrics"), (_, "/livez"):
            var problem = Problem(.methodNotAllowed, "use one of the methods in Allow")
            problem.allow = "GET, HEAD"
            return refuse(request, problem)
        default:
            return refuse(
                request,
                Problem(
                    .notFound,
                    "there is nothing at this path",
                    known: ["/metrics", "/livez"]
                )
            )
        }
    }

    private func refuse(_ request: Request, _ problem: Problem) -> Response {
        var response = answer(
            request,
            HTTPResponse.Status(code: problem.kind.status),
            "application/problem+json",
            problem.json
        )
        if let allow = problem.allow { response.headers[.allow] = allow }
        return response
    }

    private func answer(
        _ request: Request,
        _ status: HTTPResponse.Status,
        _ type: String,
        _ text: String
    ) -> Response {
        let bytes = ByteBuffer(string: text)
        var headers: HTTPFields = [.contentType: type, .cacheControl: "no-store"]
        if request.method == .head { headers[.contentLength] = String(bytes.readableBytes) }
        return Response(
            status: status,
            headers: headers,
            body: request.method == .head ? ResponseBody() : ResponseBody(byteBuffer: bytes)
        )
    }
}
