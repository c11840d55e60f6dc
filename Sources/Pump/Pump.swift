package import EventLog
package import FileIO
package import Logging
import ServiceLifecycle
import Sinks
import Synchronization
package import Telemetry
import Threads

/// The service that ships the logs of a data directory to sinks, each for itself.
///
/// One per data directory and sink: two pumps with the same sink would deliver everything twice and
/// overwrite each other's checkpoints.
package final class Pump: Service {
    private let configuration: PumpConfiguration
    private let directory: LogDirectory
    private let sinks: [PumpedSink]
    private let time: any TimeSource
    private let metrics: MetricsRegistry
    private let logger: Logger
    private let isStopping = Atomic<Bool>(false)
    /// Rung when a driver begins to wait for a change of the logs.
    private let watcher = Doorbell()

    /// A pump that does nothing before `run()`.
    ///
    /// - Parameters:
    ///   - configuration: Every limit.
    ///   - logs: The logs to read.
    ///   - sinks: Where they go; the names must differ.
    ///   - time: The clocks.
    ///   - metrics: Where its metrics are registered.
    ///   - logger: Where it reports.
    package init(
        _ configuration: PumpConfiguration,
        logs: LogDirectory,
        sinks: [PumpedSink],
        time: any TimeSource,
        metrics: MetricsRegistry,
        logger: Logger
    ) {
        precondition(Set(sinks.map(\.name)).count == sinks.count, "two sinks have the same name")
        self.configuration = configuration
        self.directory = logs
        self.sinks = sinks
        self.time = time
        self.metrics = metrics
        self.logger = logger
    }

    /// Ships until graceful shutdown or cancellation.
    ///
    /// A graceful shutdown first delivers what is in the logs, to sinks that take it and at most
    /// for `drainLimit`; after a cancellation only what is under way is waited for. What is not
    /// acknowledged by then is sent again by the next pump.
    ///
    /// - Throws: When a directory of checkpoints cannot be made.
    package func run() async throws {
        let runners = try sinks.map { pumped in
            let driver = try SinkDriver(
                configuration,
                pumped,
                directory: directory,
                time: time,
                metrics: PumpMetrics(metrics, sink: pumped.name),
                logger: logger
            )
            return SinkRunner(
                pumped,
                configuration,
                directory: directory,
                time: time,
                driver: driver,
                watcher: watcher
            )
        }
        await withTaskCancellationHandler {
            await withGracefulShutdownHandler {
                await withTaskGroup { group in
                    for runner in runners {
                        group.addTask { await runner.run() }
                    }
                    group.addTask {
                        await ThreadOwned(name: "pump-watch", ()).run { _ in self.watch(runners) }
                    }
                }
            } onGracefulShutdown: {
                self.end(runners, drains: true)
            }
        } onCancel: {
            self.end(runners, drains: false)
        }
    }

    /// Wakes drivers when the logs change; waits for the bell only while one of them wants to know,
    /// so that writers need no system call while all are busy.
    private func watch(_ runners: [SinkRunner]) {
        while !isStopping.load(ordering: .acquiring) {
            let rung = watcher.count
            let change = directory.changeCount
            var isAnyoneWaiting = false
            for runner in runners where runner.wake(change) { isAnyoneWaiting = true }
            if isAnyoneWaiting {
                directory.waitForChange(since: change, timeout: .seconds(1))
            } else {
                watcher.wait(since: rung)
            }
        }
    }

    /// Lets every thread return from what it waits for.
    private func end(_ runners: [SinkRunner], drains: Bool) {
        isStopping.store(true, ordering: .releasing)
        watcher.ring()
        directory.ringBell()
        for runner in runners { runner.stop(drains: drains) }
    }
}
