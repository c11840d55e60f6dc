/// Why a line of an access log is no record; the raw value is stored beside the line.
package enum LineProblem: String, Error, CaseIterable, Sendable {
    /// The line begins with a blank, where the client should be.
    case noClient = "no_client"
    /// There is no time in brackets.
    case noTime = "no_time"
    /// What stands in brackets is no time.
    case badTime = "bad_time"
    /// After the time there is no request in quotes.
    case noRequest = "no_request"
    /// The request's closing quote is missing.
    case unterminatedRequest = "unterminated_request"
    /// After the request there is no status of three digits or "-".
    case badStatus = "bad_status"
    /// After the status there is no size in bytes or "-".
    case badSize = "bad_size"
    /// The line is longer than `AccessLogParser.lineBytesMax`.
    case tooLong = "too_long"
}
