internal import Records

/// What is known about the request that a client connection is serving; becomes its record.
struct Exchange {
    /// When its first byte came; monotonic nanoseconds.
    var startedAt: UInt64 = 0
    /// Random id of the request.
    var requestID: (high: UInt64, low: UInt64) = (0, 0)
    /// W3C trace id, taken over or made.
    var traceID: (high: UInt64, low: UInt64) = (0, 0)
    /// Whether the trace id was made here.
    var hasOwnTrace = false
    /// The API; nil if no API claims the path, or the head was never complete.
    var api: CompiledAPI?
    /// Number of the route in the API; nil for none.
    var route: Int?
    /// Whose API key was shown.
    var owner: CredentialTable.Owner?
    /// Status sent to the client; 0 if none was.
    var status = 0
    /// How it ended, once it has.
    var outcome = Outcome.unspecified
    /// Bytes of head and body read from the socket.
    var requestBytes = 0
    /// Bytes of heads and body handed to the socket, or about to be.
    var responseBytes = 0
    /// Log space promised for the record; 0 when there is no promise.
    var reservedBytes = 0

    /// The upstream in use or used last.
    var pool: UpstreamPool?
    /// When the present upstream was asked for; 0 if none was.
    var acquiredAt: UInt64 = 0
    /// When a connection to it was there; 0 if none is.
    var connectedAt: UInt64 = 0
    /// Whether that connection had served another request before.
    var isReused = false
    /// When the first byte of its response came; 0 if none did.
    var firstByteAt: UInt64 = 0
    /// When its response ended, one way or another; 0 if it has not.
    var upstreamEndedAt: UInt64 = 0
    /// Status of its response; 0 if there was none.
    var upstreamStatus = 0
    /// How often the request was sent, or tried to be sent, once more.
    var retries = 0
    /// Whether bytes of the body have gone to an upstream, so that it cannot be sent again.
    var hasSentBody = false
}
