import Crypto

/// Who is told of alerts.
package struct Webhook: Equatable, Sendable {
    /// The name that rules use.
    package var name: String
    /// Where events are sent.
    package var url: String
    /// The key of the signature; never shown.
    package var secret: String

    /// A webhook.
    package init(name: String, url: String, secret: String) {
        self.name = name
        self.url = url
        self.secret = secret
    }

    /// Name of the header with the signature.
    package static let signatureHeader = "Sluice-Signature"

    /// Value of that header: `t=TIME,v1=HEX`, the HMAC-SHA256 under the secret of the time (Unix
    /// seconds, decimal), a full stop and the body's bytes.
    package func signature(_ body: [UInt8], at time: Int64) -> String {
        var code = HMAC<SHA256>(key: SymmetricKey(data: Array(secret.utf8)))
        code.update(data: Array("\(time).".utf8))
        code.update(data: body)
        let digits = Array("0123456789abcdef".utf8)
        var text: [UInt8] = []
        for byte in code.finalize() {
            text.append(digits[Int(byte >> 4)])
            text.append(digits[Int(byte & 15)])
        }
        return "t=\(time),v1=" + String(decoding: text, as: UTF8.self)
    }
}

/// A request to a webhook, ready to be sent.
package struct WebhookRequest: Equatable, Sendable {
    /// Where to.
    package var url: String
    /// Header fields.
    package var headers: [(name: String, value: String)]
    /// The body.
    package var body: [UInt8]

    /// The request that tells `webhook` of an event.
    ///
    /// - Parameters:
    ///   - webhook: Who is told.
    ///   - event: The event's id, the same at every attempt.
    ///   - body: The event.
    ///   - time: Now, Unix seconds.
    package init(_ webhook: Webhook, event: String, body: [UInt8], at time: Int64) {
        url = webhook.url
        self.body = body
        headers = [
            ("Content-Type", "application/json"), ("User-Agent", "sluice-alerts"),
            ("Sluice-Event", event),
            (Webhook.signatureHeader, webhook.signature(body, at: time)),
        ]
    }

    /// Compares all parts.
    package static func == (left: WebhookRequest, right: WebhookRequest) -> Bool {
        left.url == right.url && left.body == right.body
            && left.headers.elementsEqual(right.headers) { $0 == $1 }
    }
}

/// What came of an attempt to tell a webhook.
package enum WebhookAnswer: Equatable, Sendable {
    /// It answered with this status; 200 to 299 is success.
    case status(Int)
    /// It could not be asked, or did not answer.
    case failed(String)

    /// Whether the event has arrived.
    package var isSuccess: Bool {
        if case .status(let status) = self { (200..<300).contains(status) } else { false }
    }

    /// Why not, nil if it has.
    package var error: String? {
        switch self {
        case .status(let status): isSuccess ? nil : "answered status \(status)"
        case .failed(let reason): reason
        }
    }
}

/// Sends a request to a webhook; made by the executable, which has the HTTP client.
package typealias WebhookSender = @Sendable (WebhookRequest) async -> WebhookAnswer
