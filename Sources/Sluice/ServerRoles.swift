/// The parts of Sluice that one process may run.
struct ServerRoles: OptionSet, Sendable {
    let rawValue: Int
    /// The proxy, which writes the event log.
    static let gateway = ServerRoles(rawValue: 1)
    /// The fold and the compactor.
    static let aggregator = ServerRoles(rawValue: 2)
    /// The query API.
    static let serve = ServerRoles(rawValue: 4)
    /// The delivery to sinks.
    static let pump = ServerRoles(rawValue: 8)
    /// Everything, as `sluice up` does.
    static let all: ServerRoles = [.gateway, .pump, .aggregator, .serve]

    /// Their names, in the order of the data flow.
    var names: [String] {
        let named: [(ServerRoles, String)] = [
            (.gateway, "gateway"), (.pump, "pump"), (.aggregator, "aggregator"), (.serve, "serve"),
        ]
        return named.filter { contains($0.0) }.map(\.1)
    }
}
