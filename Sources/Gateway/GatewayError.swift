/// What can keep the gateway from starting or running.
package enum GatewayError: Error, Sendable {
    /// A value of the configuration cannot be used; says which and why.
    case invalidConfiguration(String)

    /// The listening socket could not be opened.
    case cannotListen(host: String, port: Int, reason: String)

    /// A lane of the event log could not be opened or closed.
    case log(String)
}

extension GatewayError: CustomStringConvertible {
    /// A lower-case sentence without a full stop.
    package var description: String {
        switch self {
        case .invalidConfiguration(let reason): reason
        case .cannotListen(let host, let port, let reason):
            "could not listen on \"\(host)\" port \(port): \(reason)"
        case .log(let reason): reason
        }
    }
}
