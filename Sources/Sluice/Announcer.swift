import FileIO
import Foundation
import Synchronization

/// Says once where everything listens, to people, to scripts, and to other commands.
final class Announcer: Sendable {
    private struct State {
        var process: RunningProcess
        var gateway: String?
        var serve: String?
        var metrics: String?
        var isDone = false
    }

    private let roles: ServerRoles
    private let data: DataDirectory
    private let registry: ProcessRegistry
    private let file: any File
    private let state: Mutex<State>
    private let hasMetrics: Bool

    /// Registers this process with its roles, not yet listening; with a page of metrics or not.
    init(roles: ServerRoles, hasMetrics: Bool, data: DataDirectory) throws {
        self.roles = roles
        self.hasMetrics = hasMetrics
        self.data = data
        registry = ProcessRegistry(data)
        let process = RunningProcess(
            pid: ProcessInfo.processInfo.processIdentifier,
            roles: roles.names
        )
        file = try registry.register(process)
        state = Mutex(State(process: process))
        if roles.isDisjoint(with: [.gateway, .serve]), !hasMetrics {
            let names = roles.names.joined(separator: " and ")
            Terminal.announce("\(names) runs on \(data.path)\n")
        }
    }

    /// The gateway listens.
    func proxies(_ host: String, _ port: Int) {
        announce {
            $0.gateway = Self.address(host, port)
            $0.process.gateway = "http://" + Self.address(Self.reachable(host), port)
        }
    }

    /// The query API listens.
    func serves(_ host: String, _ port: Int) {
        announce {
            $0.serve = Self.address(host, port)
            $0.process.serve = "http://" + Self.address(Self.reachable(host), port)
        }
    }

    /// The page of metrics listens.
    func showsMetrics(_ host: String, _ port: Int) {
        announce {
            $0.metrics = Self.address(host, port)
            $0.process.metrics = "http://\(Self.address(Self.reachable(host), port))/metrics"
        }
    }

    /// A sink is in trouble, or out of it if nil.
    func report(_ trouble: SinkTrouble?, of sink: String) {
        let known = state.withLock { state -> (process: RunningProcess, isDone: Bool)? in
            var troubles = state.process.troubles ?? [:]
            guard troubles[sink] != trouble else { return nil }
            troubles[sink] = trouble
            state.process.troubles = troubles
            return (state.process, state.isDone)
        }
        guard let known else { return }
        // What a sink's state is can be seen in the metrics and the log as well.
        try? registry.update(known.process, file, publishes: known.isDone)
    }

    /// The process ends.
    func withdraw() {
        registry.unregister(state.withLock { $0.process }, file)
    }

    private func announce(_ change: (inout State) -> Void) {
        let ready = state.withLock { state -> State? in
            change(&state)
            let isWaiting =
                roles.contains(.gateway) && state.gateway == nil
                || roles.contains(.serve) && state.serve == nil
                || hasMetrics && state.metrics == nil
            guard !isWaiting, !state.isDone else { return nil }
            state.isDone = true
            return state
        }
        guard let ready else { return }
        do {
            try registry.update(ready.process, file)
        } catch {
            Terminal.error("could not write \(data.path)/endpoints.json: \(error)")
        }
        Terminal.announce(text(ready))
    }

    private func text(_ state: State) -> String {
        var lines = ["", Terminal.bold("Sluice is running")]
        var machine = "listening"
        if let gateway = state.gateway, let url = state.process.gateway {
            lines.append("  gateway      \(url)")
            machine += " gateway=\(gateway)"
        }
        if let serve = state.serve, let url = state.process.serve {
            lines.append("  query API    \(url)/v1/usage")
            lines.append("  admin token  \(data.path)/admin.token")
            machine += " serve=\(serve)"
        }
        if let metrics = state.metrics, let url = state.process.metrics {
            lines.append("  metrics      \(url)")
            machine += " metrics=\(metrics)"
        }
        lines.append("  data         \(data.path)")
        lines.append("  stop         Ctrl-C, or SIGTERM to process \(state.process.pid)")
        lines.append("")
        lines.append(machine)
        return lines.joined(separator: "\n") + "\n"
    }

    private static func address(_ host: String, _ port: Int) -> String {
        host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    }

    /// An address that a client on this machine can use.
    private static func reachable(_ host: String) -> String {
        switch host {
        case "0.0.0.0": "127.0.0.1"
        case "::": "::1"
        default: host
        }
    }
}
