/// The server's settings and access rules, as text of its configuration files.
enum ClusterSettings {
    /// Settings and why; everything else stays PostgreSQL's default.
    ///
    /// What makes a commit durable is not touched: `fsync`, `full_page_writes` and
    /// `synchronous_commit` are written out because exactly-once stands on them.
    static let defaults: [(name: String, value: String, why: String)] = [
        ("fsync", "on", "a committed fold must survive a power cut"),
        ("full_page_writes", "on", "torn pages are repaired from the write-ahead log"),
        ("synchronous_commit", "on", "positions and counts become durable together, at COMMIT"),
        ("listen_addresses", "''", "reached by its socket only"),
        (
            "unix_socket_permissions", "0777",
            "the directory is 0700, and peer authentication decides"
        ),
        ("max_connections", "64", "aggregator, query pool, commands, and psql beside them"),
        ("shared_buffers", "256MB", "the delta tables and the newest partitions stay in memory"),
        ("work_mem", "16MB", "group-by of a dashboard question without spilling"),
        ("maintenance_work_mem", "128MB", "vacuum of the delta tables in one pass"),
        ("max_wal_size", "2GB", "a checkpoint by time, not by volume, at full ingest"),
        ("min_wal_size", "256MB", "recycled segments cost less than new ones"),
        ("checkpoint_timeout", "15min", "fewer full-page images; recovery stays within a minute"),
        ("checkpoint_completion_target", "0.9", "spread the writes"),
        ("wal_compression", "on", "full-page images shrink several times"),
        ("jit", "off", "our questions take milliseconds; compiling them takes longer"),
        (
            "max_parallel_workers_per_gather", "0",
            "parallel hash joins need /dev/shm, which containers keep at 64 MB"
        ),
        ("random_page_cost", "1.1", "solid-state disks"),
        ("autovacuum_naptime", "15s", "delta rows live for seconds"),
        ("autovacuum_vacuum_scale_factor", "0.05", "small, busy tables"),
        ("autovacuum_vacuum_insert_scale_factor", "0.2", "index-only scans on new partitions"),
        (
            "idle_in_transaction_session_timeout", "5min",
            "a frozen process must not hold locks for ever"
        ),
        ("timezone", "'UTC'", "buckets are UTC"),
        ("log_timezone", "'UTC'", "one clock in all logs"),
        ("log_min_messages", "warning", "errors and warnings only"),
        ("log_min_error_statement", "panic", "statements may carry personal data"),
        ("logging_collector", "on", "log files that rotate"),
        ("log_directory", "'log'", "inside the cluster"),
        ("log_filename", "'postgresql-%a.log'", "seven files, each overwritten after a week"),
        ("log_truncate_on_rotation", "on", "bounds the logs to a week"),
        ("log_rotation_age", "1d", "one file per weekday"),
        ("log_rotation_size", "0", "by age only"),
    ]

    /// The text of `postgresql.conf`; `overrides` come last and win.
    static func settings(
        socketDirectory: String,
        paths: ClusterPaths,
        overrides: [(name: String, value: String)]
    ) -> String {
        var text = "# Written by sluice at every start: changes here are lost.\n"
        text += "port = \(ClusterPaths.port)\n"
        text += "unix_socket_directories = \(quoted(socketDirectory))\n"
        text += "hba_file = \(quoted(paths.configuration + "/pg_hba.conf"))\n"
        text += "ident_file = \(quoted(paths.configuration + "/pg_ident.conf"))\n"
        for setting in defaults {
            text += "\(setting.name) = \(setting.value)  # \(setting.why)\n"
        }
        for override in overrides { text += "\(override.name) = \(quoted(override.value))\n" }
        return text
    }

    /// The text of `pg_hba.conf`: by the socket, as who the operating system says you are.
    static let access = "local all all peer map=sluice\n"

    /// The text of `pg_ident.conf`: each of `users` may be `sluice`, and `postgres` for upkeep.
    static func identities(_ users: [String]) -> String {
        var text = ""
        for user in users {
            text += "sluice \"\(user)\" sluice\nsluice \"\(user)\" postgres\n"
        }
        return text
    }

    /// A quoted value of a configuration file.
    static func quoted(_ value: String) -> String {
        "'" + value.replacing("\\", with: "\\\\").replacing("'", with: "''") + "'"
    }
}
