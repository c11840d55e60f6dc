import Foundation

/// An installation of PostgreSQL: where its programs are, and which version they are.
struct ServerBinaries {
    /// The oldest version supported: the first with `MERGE`, `multirange` and `wal_compression`
    /// in the form that the schema and the settings use.
    static let majorVersionMin = 15

    let directory: String
    let majorVersion: Int

    /// The full path of one of the programs.
    func path(_ program: String) -> String { directory + "/" + program }

    /// The newest installation, or the newest of `majorVersion` when a cluster needs just that.
    ///
    /// Looks in `explicit` alone if given, else in Debian's and Red Hat's places and in the
    /// directories of `searchPath` (a `PATH`).
    static func find(
        explicit: String?,
        searchPath: String?,
        majorVersion: Int? = nil
    ) throws(EmbeddedPostgresError) -> ServerBinaries {
        var directories: [String] = []
        if let explicit {
            directories = [explicit]
        } else {
            for (parent, suffix) in [("/usr/lib/postgresql", "/bin"), ("/usr", "/bin")] {
                let names = (try? FileManager.default.contentsOfDirectory(atPath: parent)) ?? []
                let versions = names.filter { name in
                    parent != "/usr" || name.hasPrefix("pgsql-")
                }
                directories += versions.sorted(by: >).map { "\(parent)/\($0)\(suffix)" }
            }
            directories += (searchPath ?? "").split(separator: ":").map { String($0) }
        }
        var found: [ServerBinaries] = []
        for directory in directories {
            let isComplete = ["initdb", "pg_ctl", "postgres"].allSatisfy {
                FileManager.default.isExecutableFile(atPath: "\(directory)/\($0)")
            }
            guard isComplete else { continue }
            let text = try ExternalCommand(
                executable: "\(directory)/postgres",
                arguments: ["--version"]
            ).runChecked("find the version of PostgreSQL", timeoutSeconds: 30)
            guard let version = Self.majorVersion(text) else { continue }
            found.append(ServerBinaries(directory: directory, majorVersion: version))
        }
        let fitting = found.filter { binaries in
            if let majorVersion { return binaries.majorVersion == majorVersion }
            return binaries.majorVersion >= majorVersionMin
        }
        if let newest = fitting.max(by: { $0.majorVersion < $1.majorVersion }) { return newest }
        throw .serverNotFound(
            wanted: majorVersion.map { "\($0) (the version of the existing cluster)" }
                ?? "\(majorVersionMin) or newer",
            looked: explicit == nil ? ["/usr/lib/postgresql/*/bin", "PATH"] : directories
        )
    }

    /// The number in `postgres (PostgreSQL) 15.4 (Debian …)` or `… 17beta1`.
    static func majorVersion(_ text: String) -> Int? {
        guard let start = text.range(of: "(PostgreSQL) ")?.upperBound else { return nil }
        return Int(text[start...].prefix { $0.isNumber })
    }
}
