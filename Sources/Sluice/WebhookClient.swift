import AsyncHTTPClient
import NIOCore
import NIOHTTP1
import Query

/// Sends events to webhooks over HTTP. TLS certificates are verified against the system's roots.
struct WebhookClient: Sendable {
    private let client: HTTPClient

    /// Longest time for an attempt; shorter than a delivery is claimed for.
    private static let timeout = TimeAmount.seconds(15)

    /// Largest answer that is read; its text is of no interest.
    private static let answerBytesMax = 64 << 10

    /// A client with connections of its own.
    init() {
        var configuration = HTTPClient.Configuration()
        // What is signed for one place must not be carried to another.
        configuration.redirectConfiguration = .disallow
        configuration.connectionPool.retryConnectionEstablishment = false
        configuration.timeout.connect = .seconds(5)
        client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    }

    /// Sends one request, and reads as much of the answer as shows that it was taken.
    func send(_ request: WebhookRequest) async -> WebhookAnswer {
        var message = HTTPClientRequest(url: request.url)
        message.method = .POST
        for (name, value) in request.headers { message.headers.add(name: name, value: value) }
        message.body = .bytes(ByteBuffer(bytes: request.body))
        do {
            let answer = try await client.execute(message, timeout: Self.timeout)
            let status = WebhookAnswer.status(Int(answer.status.code))
            // Whatever the body, the status has been said.
            _ = try? await answer.body.collect(upTo: Self.answerBytesMax)
            return status
        } catch {
            return .failed("\(error)")
        }
    }

    /// Closes the connections.
    func close() async { try? await client.shutdown() }
}
