/// What an embedded cluster needs to know before it is started.
package struct EmbeddedClusterConfiguration: Sendable {
    /// Sluice's data directory; the cluster is `postgres` inside it.
    package var dataDirectory: String
    /// The directory of `initdb` and `pg_ctl`; nil finds the newest installation.
    package var binDirectory: String?
    /// The `PATH` to look in after the usual places.
    package var searchPath: String?
    /// Settings that replace or follow our own, by name.
    package var settings: [(name: String, value: String)]
    /// Whether `initdb` waits until the new cluster is on stable storage; false only in tests.
    package var isDurable: Bool
    /// Longest time to wait for the server to become ready; recovery after a crash included.
    package var startTimeoutSeconds: Int

    /// A durable cluster with our own settings, which may take two minutes to recover.
    package init(
        dataDirectory: String,
        binDirectory: String? = nil,
        searchPath: String? = nil,
        settings: [(name: String, value: String)] = [],
        isDurable: Bool = true,
        startTimeoutSeconds: Int = 120
    ) {
        self.dataDirectory = dataDirectory
        self.binDirectory = binDirectory
        self.searchPath = searchPath
        self.settings = settings
        self.isDurable = isDurable
        self.startTimeoutSeconds = startTimeoutSeconds
    }
}
