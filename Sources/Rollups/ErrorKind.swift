package import Records

/// Whose fault an error is.
package enum ErrorKind: Sendable, BitwiseCopyable {
    /// The request was no error.
    case none
    /// A status of 400 to 499.
    case client
    /// Any other error.
    case server
}

extension RecordView {
    /// The status if it is one of three digits, else 0 for absent.
    @inline(__always)
    package var knownStatus: UInt32 {
        guard let status, status >= 100, status <= 999 else { return 0 }
        return status
    }

    /// Whether the request is an error, and whose; the rule of the query API.
    @inline(__always)
    package var errorKind: ErrorKind {
        // A request that its client broke off is no error, whatever its status says.
        guard outcome != .clientAborted else { return .none }
        let status = knownStatus
        guard status >= 400 || outcome.isServerFault else { return .none }
        return status >= 400 && status < 500 ? .client : .server
    }
}
