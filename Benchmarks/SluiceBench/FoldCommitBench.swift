import Aggregator
import EmbeddedPostgres
import EventLog
import FileIO
import Glibc
import Logging
import Postgres
import Records
import Telemetry
import Threads

/// Throughput from log to PostgreSQL: a sealed log on disk, a durable cluster of its own, one
/// aggregator with its compactor, in `sluice-bench.tmp` in the working directory, which is removed.
struct FoldCommitBench {
    /// How many records the log holds.
    static let recordCount = 1_000_000

    /// Folds platform traffic or that of ten keys and prints rates: by the clock and per second of
    /// processor time of this process and PostgreSQL together (two cores give twice that, if
    /// nothing else runs).
    static func run(isPlatform: Bool) async {
        let path = "./sluice-bench.tmp"
        let fileSystem = PosixFileSystem()
        try? fileSystem.removeTree(path)
        var logger = Logger(label: "bench")
        logger.logLevel = .error
        do {
            try fileSystem.createDirectory(path)
            let cluster = EmbeddedCluster(
                EmbeddedClusterConfiguration(dataDirectory: path),
                logger: logger
            )
            let uri = try await cluster.start()
            do {
                _ = try await Migrator().migrate(uri)
                let directory = try LogDirectory(
                    path: path,
                    fileSystem: fileSystem,
                    time: SystemTimeSource()
                )
                try write(Traffic(count: recordCount, isPlatform: isPlatform, seed: 3), directory)
                try await fold(directory, uri, cluster, isPlatform ? "platform" : "ten", logger)
            } catch {
                print("failed: \(error)")
            }
            try await cluster.stop()
        } catch {
            print("failed: \(error)")
        }
        try? fileSystem.removeTree(path)
    }

    /// Writes traffic as one sealed log.
    private static func write(_ traffic: Traffic, _ directory: LogDirectory) throws {
        var random = SystemRandom()
        _ = try directory.writeSealedLog(id: LogID(random: &random)) {
            writer throws(EventLogError) in
            let bytes = traffic.bytes.span
            for (number, range) in traffic.ranges.enumerated() {
                // The writer puts schema version, log id and offset itself.
                var prefix = 2 + 18 + 2
                var rest = number >> 7
                while rest > 0 {
                    prefix += 1
                    rest >>= 7
                }
                let record = bytes.extracting((range.lowerBound + prefix)..<range.upperBound)
                try writer.append(eventTime: 0) { $0.put(encoded: record) }
            }
        }
    }

    /// Runs an aggregator until everything is folded, then until everything is compacted.
    private static func fold(
        _ directory: LogDirectory,
        _ uri: String,
        _ cluster: EmbeddedCluster,
        _ name: String,
        _ logger: Logger
    ) async throws {
        let clock = SystemTimeSource()
        let postmaster = cluster.postmasterProcessID ?? 0
        let began = clock.monotonicNanoseconds()
        let processor = processorSeconds(postmaster)
        func report(_ what: String, _ detail: String) {
            let seconds = Double(clock.monotonicNanoseconds() - began) / 1e9
            let used = processorSeconds(postmaster)
            let own = used.own - processor.own
            let server = used.server - processor.server
            let rate = Int(Double(recordCount) / seconds)
            let perProcessor = Int(Double(recordCount) / (own + server))
            print(
                """
                fold-commit \(name) \(what): \(rate) records/s; \(perProcessor) per processor \
                second (sluice \(Int(own * 1e9) / recordCount) ns, PostgreSQL \
                \(Int(server * 1e9) / recordCount) ns each)\(detail)
                """
            )
        }
        let registry = MetricsRegistry()
        let aggregator = Aggregator(
            AggregatorConfiguration(postgres: uri, data: directory.path),
            source: .local(directory),
            time: clock,
            metrics: registry,
            logger: logger
        )
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await aggregator.run() }
            await wait(directory, uri, "SELECT count(*) > 0 FROM sluice.log WHERE end_offset > 0")
            report("folded", "")
            await wait(
                directory,
                uri,
                """
                SELECT NOT EXISTS (SELECT FROM sluice_g1.api_delta)
                    AND NOT EXISTS (SELECT FROM sluice_g1.consumer_delta)
                    AND NOT EXISTS (SELECT FROM sluice_g1.upstream_delta)
                    AND NOT EXISTS (SELECT FROM sluice_g1.client_geo_delta)
                    AND NOT EXISTS (SELECT FROM sluice_g1.client_agent_delta)
                    AND NOT EXISTS (SELECT FROM sluice_g1.summary_delta)
                    AND NOT EXISTS (SELECT FROM sluice_g1.total_delta)
                    AND NOT EXISTS (SELECT FROM sluice_g1.route_delta)
                    AND NOT EXISTS (SELECT FROM sluice_g1.status_delta)
                """
            )
            let connection = try PostgresConnection(uri, applicationName: "bench")
            let rows = try connection.query(
                """
                SELECT (SELECT sum(requests) FROM sluice_g1.api_1d),
                    (SELECT sum(requests) FROM sluice_g1.consumer_15m),
                    (SELECT count(*) FROM sluice_g1.api_1m),
                    (SELECT count(*) FROM sluice_g1.consumer_15m)
                """
            )
            let isComplete =
                rows.int(0, 0) == Int64(recordCount)
                && rows.int(0, 1) == Int64(recordCount)
            report(
                "compacted",
                """
                ; \(rows.int(0, 2) ?? 0) api and \(rows.int(0, 3) ?? 0) consumer rows\
                \(isComplete ? "" : ", NOT COMPLETE")
                """
            )
            group.cancelAll()
            try await group.waitForAll()
        }
        for line in registry.render().split(separator: "\n")
        where line.contains("_sum") || line.contains("_rows_total") || line.contains("_count")
            || line.contains("rounds_total")
        {
            print("  \(line)")
        }
    }

    /// Blocks on a thread of its own until a query is true.
    private static func wait(_ directory: LogDirectory, _ uri: String, _ sql: String) async {
        await ThreadOwned(name: "wait", ()).run { _ in
            guard let connection = try? PostgresConnection(uri, applicationName: "bench") else {
                return
            }
            while (try? connection.query(sql).bool(0, 0)) != true {
                let bell = Doorbell()
                bell.wait(since: bell.count, timeoutNanoseconds: 50_000_000)
            }
        }
    }

    /// Processor time of this process and of the server with all its processes, in seconds.
    private static func processorSeconds(_ postmaster: Int32) -> (own: Double, server: Double) {
        let own = Double(Glibc.clock()) / Double(CLOCKS_PER_SEC)
        var ticks: Int64 = 0
        let fileSystem = PosixFileSystem()
        for name in (try? fileSystem.list("/proc")) ?? [] {
            guard let process = Int32(name), let fields = statistics(process) else { continue }
            // Fields as in proc(5), counted after the name: parent, user, system, children's.
            if process == postmaster {
                ticks += fields[11] + fields[12] + fields[13] + fields[14]
            } else if fields[1] == Int64(postmaster) {
                ticks += fields[11] + fields[12]
            }
        }
        return (own, Double(ticks) / 100)
    }

    /// The numbers of `/proc/PID/stat` after the name; the state is 0.
    private static func statistics(_ process: Int32) -> [Int64]? {
        guard
            let file = try? PosixFileSystem().open("/proc/\(process)/stat", .read),
            let bytes = try? file.read(at: 0, count: 4_096)
        else { return nil }
        let text = String(decoding: bytes, as: UTF8.self)
        guard let end = text.lastIndex(of: ")") else { return nil }
        let fields = text[text.index(after: end)...].split(separator: " ")
        return fields.count > 15 ? fields.map { Int64($0) ?? 0 } : nil
    }
}
