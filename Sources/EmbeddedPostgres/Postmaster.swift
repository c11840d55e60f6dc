import Foundation

/// What `postmaster.pid` and `/proc` say of the server of one cluster.
struct Postmaster {
    let processID: Int32
    let socketDirectory: String

    /// Reads the pid file; nil when there is none or it is incomplete.
    ///
    /// Lines: process id, data directory, start time, port, socket directory, listen address,
    /// shared memory key, status (PostgreSQL `utils/pidfile.h`).
    init?(cluster: String) {
        self.init(lockFile: cluster + "/postmaster.pid")
    }

    /// Reads the pid file or the lock file of the socket, whose first lines are the same.
    init?(lockFile: String) {
        guard let data = FileManager.default.contents(atPath: lockFile) else { return nil }
        let lines = String(decoding: data, as: UTF8.self)
            .split(separator: "\n", omittingEmptySubsequences: false)
        guard let first = lines.first, let number = Int32(first), number > 0 else { return nil }
        processID = number
        socketDirectory = lines.count > 4 ? String(lines[4]) : ""
    }

    /// Whether the process exists and works in `cluster`, as every process of its server does.
    ///
    /// The number alone proves nothing: after a reboot, and soon in a container, it belongs to
    /// another process.
    func isRunning(in cluster: String) -> Bool {
        Self.workingDirectory(of: processID) == Self.resolved(cluster)
    }

    /// Whether the number now belongs to a process that has nothing to do with `cluster`.
    ///
    /// PostgreSQL would take that process for its predecessor and refuse to start.
    func isAnotherProcess(in cluster: String) -> Bool {
        guard let directory = Self.workingDirectory(of: processID) else { return false }
        return directory != Self.resolved(cluster)
    }

    /// Whether the process has ended and only waits for its parent to notice.
    ///
    /// PostgreSQL takes such a number for a living predecessor, and the parent of a killed
    /// server may be an init process that is in no hurry.
    var isDefunct: Bool {
        guard let data = FileManager.default.contents(atPath: "/proc/\(processID)/stat") else {
            return false
        }
        // "pid (program) state …"; the program's name may hold parentheses itself.
        let text = String(decoding: data, as: UTF8.self)
        guard let end = text.lastIndex(of: ")") else { return false }
        let state = text[text.index(after: end)...].first { $0 != " " }
        return state == "Z" || state == "X"
    }

    /// The processes that work in `cluster`, be they of a living server or left by a killed one.
    static func processes(in cluster: String) -> [Int32] {
        let wanted = resolved(cluster)
        let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        return names.compactMap { Int32($0) }.filter { process in
            guard workingDirectory(of: process) == wanted else { return false }
            let program = try? FileManager.default.destinationOfSymbolicLink(
                atPath: "/proc/\(process)/exe"
            )
            guard let program else { return false }
            // The kernel appends " (deleted)" after an upgrade of the package.
            return program.hasSuffix("/postgres") || program.hasSuffix("/postgres (deleted)")
        }
    }

    private static func workingDirectory(of process: Int32) -> String? {
        try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(process)/cwd")
    }

    /// The path without symbolic links, as the kernel reports it.
    private static func resolved(_ path: String) -> String {
        URL(fileURLWithPath: path).resolvingSymlinksInPath().path
    }
}
