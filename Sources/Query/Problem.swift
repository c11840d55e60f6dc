/// A refusal or failure as the client reads it: RFC 9457, saying what to change.
package struct Problem: Error, Equatable, Sendable {
    /// Kinds of problems; the raw value ends the `type` URI and never changes its meaning.
    package enum Kind: String, CaseIterable, Sendable {
        /// A parameter has a value that cannot be used.
        case invalidParameter = "invalid-parameter"
        /// A parameter is not one of the known ones.
        case unknownParameter = "unknown-parameter"
        /// A parameter belongs to the contract but not to this version.
        case unsupportedParameter = "unsupported-parameter"
        /// The body is not what the endpoint takes.
        case invalidBody = "invalid-body"
        /// No rollup has the dimensions, or the tier, that the question needs.
        case notCovered = "not-covered"
        /// The range has more buckets than one answer may.
        case tooManyBuckets = "too-many-buckets"
        /// The question would read more than one request may.
        case tooCostly = "too-costly"
        /// The request has no valid token.
        case unauthorized
        /// The token is valid but may not see this.
        case forbidden
        /// There is nothing at this path.
        case notFound = "not-found"
        /// The path exists, but not with this method.
        case methodNotAllowed = "method-not-allowed"
        /// The body is larger than accepted.
        case bodyTooLarge = "body-too-large"
        /// The query string is longer than accepted.
        case queryTooLong = "query-too-long"
        /// The body is not JSON.
        case unsupportedMediaType = "unsupported-media-type"
        /// The token, or whoever sends wrong ones, asks more often than allowed.
        case tooManyRequests = "too-many-requests"
        /// The database is busy, away or not migrated; trying again later may help.
        case unavailable
        /// Something failed that the client cannot change.
        case internalError = "internal-error"

        /// HTTP status code of this kind.
        package var status: Int {
            switch self {
            case .invalidParameter, .unknownParameter, .unsupportedParameter, .invalidBody: 400
            case .notCovered, .tooManyBuckets: 400
            case .tooCostly: 422
            case .unauthorized: 401
            case .forbidden: 403
            case .notFound: 404
            case .methodNotAllowed: 405
            case .bodyTooLarge: 413
            case .queryTooLong: 414
            case .unsupportedMediaType: 415
            case .tooManyRequests: 429
            case .unavailable: 503
            case .internalError: 500
            }
        }

        /// Summary that is the same for every occurrence of this kind.
        package var title: String {
            switch self {
            case .invalidParameter: "Invalid parameter"
            case .unknownParameter: "Unknown parameter"
            case .unsupportedParameter: "Not supported by this version"
            case .invalidBody: "Invalid body"
            case .notCovered: "No rollup covers this question"
            case .tooManyBuckets: "Too many buckets"
            case .tooCostly: "Question too costly"
            case .unauthorized: "Token required"
            case .forbidden: "Not allowed"
            case .notFound: "Not found"
            case .methodNotAllowed: "Method not allowed"
            case .bodyTooLarge: "Body too large"
            case .queryTooLong: "Query too long"
            case .unsupportedMediaType: "Unsupported media type"
            case .tooManyRequests: "Too many requests"
            case .unavailable: "Temporarily unavailable"
            case .internalError: "Internal error"
            }
        }
    }

    /// What kind of problem this is.
    package var kind: Kind

    /// What happened here and what to change, as a sentence.
    package var detail: String

    /// The parameter at fault, if one is.
    package var parameter: String?

    /// Names that would have been accepted, if the problem is an unknown name.
    package var known: [String] = []

    /// Value of the `Allow` header, for a method that is not allowed.
    package var allow: String?

    /// Value of the `Retry-After` header, for too many requests.
    package var retryAfterSeconds = 1

    /// A problem of `kind`; `parameter` names what to change.
    package init(_ kind: Kind, _ detail: String, parameter: String? = nil, known: [String] = []) {
        self.kind = kind
        self.detail = detail
        self.parameter = parameter
        self.known = known
    }

    /// The value of `parameter` cannot be used.
    static func invalid(_ parameter: String, _ detail: String, known: [String] = []) -> Problem {
        Problem(.invalidParameter, detail, parameter: parameter, known: known)
    }

    /// The `application/problem+json` document.
    package var json: String {
        var writer = JSONWriter()
        writer.beginObject()
        writer.member("type", "urn:sluice:problem:" + kind.rawValue)
        writer.member("title", kind.title)
        writer.member("status", .integer(Int64(kind.status)))
        writer.member("detail", detail)
        if let parameter { writer.member("parameter", parameter) }
        if !known.isEmpty {
            writer.key("known")
            writer.beginArray()
            for name in known { writer.value(.text(name)) }
            writer.endArray()
        }
        writer.endObject()
        return writer.text
    }
}
