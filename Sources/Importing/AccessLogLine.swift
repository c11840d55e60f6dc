package import Records

/// Where the parts of one access log line lie, and the numbers in it.
///
/// Ranges are positions in the line that was parsed; text is still escaped as the server wrote it.
package struct AccessLogLine: BitwiseCopyable, Sendable {
    /// A piece of the line and what is needed to read it as text.
    package struct Text: BitwiseCopyable, Sendable {
        /// Where it lies; empty when absent.
        package var range = ByteRange(start: 0, count: 0)
        /// Whether it has a backslash.
        package var hasEscape = false
        /// Whether all bytes are ASCII.
        package var isASCII = true
    }

    /// The address or host name of the client.
    package var client = Text()
    /// When the server logged the request, in microseconds since 1970 UTC.
    package var time: Int64 = 0
    /// The request line, without its quotes.
    package var request = Text()
    /// The status; nil when logged as "-" or below 100, as servers do when they sent no response.
    package var status: UInt32?
    /// The size that was logged; 0 for "-".
    package var size: UInt64 = 0
    /// The referrer, without its quotes; empty in the Common format.
    package var referrer = Text()
    /// The user agent, without its quotes; empty in the Common format.
    package var userAgent = Text()
    /// Whether referrer and user agent are there, and the last quote too.
    package var isWholeCombined = false

    /// A line of nothing.
    init() {}
}
