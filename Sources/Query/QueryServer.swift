import Hummingbird
import HummingbirdCore
package import Logging
import NIOCore
import ServiceLifecycle
package import Telemetry

/// The HTTP server of the query API: `/v1/usage` and what belongs to it.
///
/// Owner: the service group. `run()` returns after a graceful shutdown has let the requests in
/// flight finish, each of which the statement timeout bounds.
package final class QueryServer: Service {
    /// How long a connection may be idle before it is closed; chosen: longer than a proxy's minute.
    private static let idleSeconds: Int64 = 75

    private let configuration: QueryConfiguration
    private let api: QueryAPI
    private let logger: Logger
    private let onListening: @Sendable (_ host: String, _ port: Int) -> Void

    /// A server that listens once `run()` is called.
    ///
    /// - Parameters:
    ///   - configuration: where to listen, which database, which limits.
    ///   - metrics: registry that `/metrics` prints and that this module adds to.
    ///   - logger: where failures are reported.
    ///   - now: wall clock, microseconds since the Unix epoch.
    ///   - onListening: called once with the address in use, after the socket listens.
    package init(
        configuration: QueryConfiguration,
        metrics: MetricsRegistry,
        logger: Logger,
        now: @escaping @Sendable () -> Int64,
        onListening: @escaping @Sendable (_ host: String, _ port: Int) -> Void = { _, _ in }
    ) {
        self.configuration = configuration
        self.logger = logger
        self.onListening = onListening
        api = QueryAPI(configuration, metrics: metrics, logger: logger, now: now)
    }

    /// Serves until graceful shutdown or cancellation; throws if the address cannot be listened on.
    package func run() async throws {
        let (host, onListening) = (configuration.host, onListening)
        // The library logs every request at lower levels than ours; failures reach us as replies.
        var quiet = logger
        quiet.logLevel = max(logger.logLevel, .warning)
        let application = Application(
            responder: Responder(api: api, bodyBytesMax: configuration.bodyBytesMax),
            server: .http1(
                configuration: HTTP1Channel.Configuration(idleTimeout: .seconds(Self.idleSeconds))
            ),
            configuration: ApplicationConfiguration(
                address: .hostname(host, port: configuration.port),
                availableConnectionsDelegate: MaximumAvailableConnections(
                    configuration.connectionsMax
                )
            ),
            onServerRunning: { channel in
                onListening(host, channel.localAddress?.port ?? 0)
            },
            logger: quiet
        )
        let api = api
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await api.audit.run() }
            group.addTask { await api.database.watchReplicas() }
            let result: Result<Void, any Error>
            do {
                try await application.run()
                result = .success(())
            } catch { result = .failure(error) }
            await api.database.close()
            // The audit writes what it has and ends.
            group.cancelAll()
            try await group.waitForAll()
            try result.get()
        }
    }
}

/// What is known of a request besides its head: where it comes from.
private struct ClientContext: RequestContext {
    var coreContext: CoreRequestContextStorage
    let address: String?

    init(source: ApplicationRequestContextSource) {
        coreContext = CoreRequestContextStorage(source: source)
        address = source.channel.remoteAddress?.ipAddress
    }
}

/// Carries requests and answers between the HTTP library and the endpoints.
private struct Responder: HTTPResponder {
    typealias Field = HTTPFields.Element

    let api: QueryAPI
    let bodyBytesMax: Int

    func respond(to request: Request, context: ClientContext) async throws -> Response {
        let body = request.body
        let bodyBytesMax = bodyBytesMax
        let target = request.head.path ?? ""
        let halves = target.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        let reply = await api.respond(
            APIRequest(
                request.method.rawValue,
                halves.first.map(String.init) ?? "",
                query: halves.count > 1 ? String(halves[1]) : "",
                authorization: request.headers[.authorization],
                contentType: request.headers[.contentType],
                ifNoneMatch: request.headers[.ifNoneMatch],
                origin: request.headers[.origin],
                address: context.address
            ) { () async throws(Problem) in
                do {
                    return Array(try await body.collect(upTo: bodyBytesMax).readableBytesView)
                } catch is NIOTooManyBytesError {
                    throw Problem(.bodyTooLarge, "the body may have \(bodyBytesMax) bytes")
                } catch {
                    throw Problem(.invalidBody, "the body ended early; send it whole")
                }
            }
        )
        var headers = HTTPFields()
        for (name, value) in reply.headers {
            if let name = Field.Name(name) { headers.append(Field(name: name, value: value)) }
        }
        if request.method == .head {
            if reply.stream == nil { headers[.contentLength] = String(reply.body.count) }
            return Response(
                status: HTTPResponse.Status(code: reply.status),
                headers: headers,
                body: ResponseBody()
            )
        }
        if let stream = reply.stream {
            // A failure ends the connection before the last chunk, so that nobody takes a part for
            // the whole.
            let body = ResponseBody { writer in
                let channel = ExportChannel()
                async let made: Void = stream.fill(channel)
                do {
                    while let piece = await channel.next() {
                        try await writer.write(ByteBuffer(bytes: piece))
                    }
                } catch {
                    channel.close()
                    throw error
                }
                try await made
                try await writer.finish(nil)
            }
            return Response(
                status: HTTPResponse.Status(code: reply.status),
                headers: headers,
                body: body
            )
        }
        return Response(
            status: HTTPResponse.Status(code: reply.status),
            headers: headers,
            body: ResponseBody(byteBuffer: ByteBuffer(bytes: reply.body))
        )
    }
}
