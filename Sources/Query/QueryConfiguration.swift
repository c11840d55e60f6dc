/// Everything that the query API may be told; built once by the executable.
package struct QueryConfiguration: Sendable {
    /// Address to listen on; loopback by default, so that nothing is exposed unasked.
    package var host = "127.0.0.1"

    /// Port to listen on; 0 lets the kernel choose, and the caller learns it from `onListening`.
    package var port = 8090

    /// libpq connection string of the database that holds the rollups.
    package var postgresURI: String

    /// libpq connection strings of streaming replicas of it that questions may be read from.
    package var replicaURIs: [String] = []

    /// How far a replica may be behind and still answer. Chosen: no longer than people wait before
    /// they reload.
    package var replicaLagMax = Duration.seconds(10)

    /// What became of the offsets of this node's logs on the way to its sinks, by log; nil where
    /// there are no sinks. May block.
    package var sinkAccounts: (@Sendable () async throws -> [SinkLedger])?

    /// Connections from clients at once; further ones wait to be accepted. Chosen.
    package var connectionsMax = 1_024

    /// Connections to the database, and to each replica, hence queries that run at once; chosen:
    /// enough for a dashboard.
    package var poolSize = 4

    /// Requests that may wait for a connection; the next ones are answered 503. Chosen.
    package var poolWaitersMax = 64

    /// How long one statement may run before the database ends it.
    package var statementTimeoutMilliseconds = 10_000

    /// Answers of any length (`limit=none`) that are written at once, each with a connection of
    /// its own; chosen: few, since a slow reader holds one.
    package var exportsMax = 2

    /// How long the statement of such an answer may run, its reader included.
    package var exportTimeoutMilliseconds = 600_000

    /// Most rollup rows that one question may read, by PostgreSQL's statistics; chosen: what
    /// takes about as long as the statement timeout.
    package var rowsReadMax = 50_000_000.0

    /// Most bytes of answers that are kept to be given again while nothing changes; 0 keeps none.
    package var answerCacheBytes = 32 << 20

    /// Largest accepted request body.
    package var bodyBytesMax = 1 << 20

    /// Longest accepted query string; chosen: ten times what the dashboard sends.
    package var queryBytesMax = 16 << 10

    /// File with Chart.js for the dashboard; Debian's package `libjs-chart.js` puts it here.
    /// Without it the pages show tables.
    package var chartScript = "/usr/share/javascript/chart.js/chart.min.js"

    /// How long a token found in the database is trusted without asking again: the longest time
    /// that a revoked token still works.
    package var tokenCacheMilliseconds = 2_000

    /// Tokens remembered at most; chosen.
    package var tokenCacheMax = 1_024

    /// Requests per second that one token may make on average, five seconds' worth at once; 0: any
    /// number. Chosen: several dashboards.
    package var requestsPerSecondMax = 200

    /// Attempts per second without a valid token that one address may make on average, five
    /// seconds' worth at once; 0: any number. Chosen: more than a mistake makes.
    package var attemptsPerSecondMax = 20

    /// How long it is kept who asked what and when; zero keeps nothing.
    package var auditRetention = Duration.seconds(30 * 86_400)

    /// Origins whose pages may ask, as `https://status.example.com`.
    package var corsOrigins: [String] = []

    /// The meters whose open periods are shown.
    package var meters: [Meter] = []

    /// What each application may use of a meter in a period, in the meter's unit, by its name.
    package var quotas: [String: Double] = [:]

    /// A configuration that differs from the defaults only in its database.
    package init(postgresURI: String) {
        self.postgresURI = postgresURI
    }
}
