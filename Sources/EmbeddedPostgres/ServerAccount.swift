import Foundation

/// The operating-system user that the server runs as, and how to become it.
///
/// PostgreSQL refuses to run as root. When sluice is root, the server runs as `postgres` (or
/// `nobody`) through `setpriv`; otherwise as the user that sluice runs as.
struct ServerAccount {
    let name: String
    let userID: Int
    let groupID: Int
    /// Whether `setpriv` has to change to this user.
    let isSwitchNeeded: Bool
    /// A capability that the server keeps, as `dac_read_search`; see `granting(access:)`.
    private(set) var capability: String?

    /// Users tried in turn when running as root.
    static let candidates = ["postgres", "nobody"]

    /// The account for the process's effective user; for root, the one that an existing cluster
    /// belongs to.
    static func current(ownerOf cluster: String) throws(EmbeddedPostgresError) -> ServerAccount {
        let userID = Int(geteuid())
        if userID != 0 {
            return ServerAccount(
                name: NSUserName(),
                userID: userID,
                groupID: Int(getegid()),
                isSwitchNeeded: false,
                capability: nil
            )
        }
        var candidates = Self.candidates
        let attributes = try? FileManager.default.attributesOfItem(atPath: cluster)
        if let owner = (attributes?[.ownerAccountID] as? NSNumber)?.intValue, owner != 0 {
            let outcome = try ExternalCommand(
                executable: "/usr/bin/id",
                arguments: ["-u", "-n", "\(owner)"]
            ).run("look up user id \(owner)", timeoutSeconds: 30)
            if outcome.status == 0 { candidates.insert(outcome.output, at: 0) }
        }
        for name in candidates {
            guard let user = try identity("-u", name), let group = try identity("-g", name) else {
                continue
            }
            return ServerAccount(
                name: name,
                userID: user,
                groupID: group,
                isSwitchNeeded: true,
                capability: nil
            )
        }
        throw .noUnprivilegedUser(tried: candidates)
    }

    /// The command that runs `executable` as this user.
    func command(_ executable: String, _ arguments: [String]) -> ExternalCommand {
        guard isSwitchNeeded else {
            return ExternalCommand(executable: executable, arguments: arguments)
        }
        var options = ["--reuid=\(userID)", "--regid=\(groupID)", "--clear-groups"]
        if let capability {
            options += [
                "--inh-caps=-all,+\(capability)", "--ambient-caps=-all,+\(capability)",
                "--bounding-set=-all,+\(capability)",
            ]
        } else {
            options += ["--inh-caps=-all", "--bounding-set=-all"]
        }
        return ExternalCommand(
            executable: Self.setpriv,
            arguments: options + ["--", executable] + arguments
        )
    }

    /// The same account, able to reach `directory`.
    ///
    /// A data directory below a directory that only root may enter (`/root/…`, a 0700 temporary
    /// directory) is out of reach for the server's user although it owns the directory itself.
    /// Opening the parents to others is not ours to do. Instead the server keeps one capability
    /// of root: `CAP_DAC_READ_SEARCH`, to enter and read directories regardless of their mode;
    /// where a container has taken that away, `CAP_DAC_OVERRIDE`, which also covers it.
    func granting(access directory: String) throws(EmbeddedPostgresError) -> ServerAccount {
        guard isSwitchNeeded, try !canReach(directory) else { return self }
        for capability in ["dac_read_search", "dac_override"] {
            var account = self
            account.capability = capability
            if try account.canReach(directory) { return account }
        }
        throw .fileSystem(
            attempted: "reach",
            path: directory,
            reason:
                "user \"\(name)\" may not enter its parent directories; hint: chmod o+x them, "
                + "or choose another data directory"
        )
    }

    private func canReach(_ directory: String) throws(EmbeddedPostgresError) -> Bool {
        try command("/bin/sh", ["-c", "cd \"$1\" && test -w .", "sh", directory])
            .run("reach \"\(directory)\" as user \"\(name)\"", timeoutSeconds: 30).status == 0
    }

    private static let setpriv = "/usr/bin/setpriv"

    private static func identity(
        _ option: String,
        _ name: String
    ) throws(EmbeddedPostgresError) -> Int? {
        let outcome = try ExternalCommand(executable: "/usr/bin/id", arguments: [option, name])
            .run("look up user \"\(name)\"", timeoutSeconds: 30)
        return outcome.status == 0 ? Int(outcome.output) : nil
    }
}
