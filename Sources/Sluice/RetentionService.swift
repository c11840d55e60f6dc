import EventLog
import Logging
import ServiceLifecycle
import Telemetry

/// Deletes consumed segments that the configuration does not keep, every half minute.
struct RetentionService: Service {
    /// Where the consumers of the last run are kept.
    let data: DataDirectory
    /// The logs.
    let logs: LogDirectory
    /// What is kept.
    let policy: RetentionPolicy
    /// Consumers that hold back deletion.
    let consumers: [String]
    /// Deleted segments, counted.
    let deleted: Counter
    /// Where deletions are reported.
    let logger: Logger

    /// Chosen: segments are a quarter GiB, which takes longer than this to fill.
    private static let interval = Duration.seconds(30)

    /// A service that reports to the given registry and log.
    init(
        data: DataDirectory,
        logs: LogDirectory,
        policy: RetentionPolicy,
        consumers: [String],
        metrics: MetricsRegistry,
        logger: Logger
    ) {
        self.data = data
        self.logs = logs
        self.policy = policy
        self.consumers = consumers
        self.logger = logger
        deleted = metrics.counter(
            "event_log_segments_deleted_total",
            help: "Ranges of offsets deleted by retention after every consumer had passed them."
        )
    }

    /// Looks at once and then every half minute, until graceful shutdown.
    func run() async throws {
        reportRemovedConsumers()
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                await deleteOnce()
                try? await Task.sleep(for: Self.interval)
            }
        }
    }

    /// Says who no longer holds back deletion: it may be somebody who should.
    private func reportRemovedConsumers() {
        do {
            for consumer in try data.replaceConsumers(by: consumers) {
                logger.notice("consumer_removed", metadata: ["consumer": "\(consumer)"])
            }
        } catch {
            logger.warning("consumers_unknown", metadata: ["error": "\(error)"])
        }
    }

    private func deleteOnce() async {
        do {
            let gone = try await blocking("retention") { [logs, policy, consumers] in
                try logs.deleteSegments(consumedBy: consumers, retain: policy)
            }
            deleted.add(UInt64(gone.count))
            for tombstone in gone {
                logger.info(
                    "retention_deleted",
                    metadata: [
                        "log": "\(tombstone.log)",
                        "offsets":
                            "\(tombstone.offsets.lowerBound)..<\(tombstone.offsets.upperBound)",
                    ]
                )
            }
        } catch {
            logger.warning("retention_failed", metadata: ["error": "\(error)"])
        }
    }
}
