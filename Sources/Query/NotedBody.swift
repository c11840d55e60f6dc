import Synchronization

/// A request that remembers the beginning of its body once that is read.
final class NotedBody: Sendable {
    private let original: APIRequest
    private let text = Mutex<String?>(nil)

    /// Remembers nothing yet.
    init(_ request: APIRequest) { original = request }

    /// The request to be answered.
    var request: APIRequest {
        guard original.method == "POST" else { return original }
        var request = original
        let body = original.body
        request.body = { () async throws(Problem) in
            let bytes = try await body()
            let start = String(
                decoding: bytes.prefix(TokenAudit.questionBytesMax + 1),
                as: UTF8.self
            )
            self.text.withLock { $0 = start }
            return bytes
        }
        return request
    }

    /// What was asked: the query string, else the beginning of the body; nil if nothing.
    var question: String? {
        original.query.isEmpty ? text.withLock { $0 } : original.query
    }
}
