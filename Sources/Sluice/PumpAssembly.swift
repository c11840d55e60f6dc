import EventLog
import FileIO
import Logging
import Pump
import ServiceLifecycle
import Sinks
import SluiceConfiguration
import Telemetry

extension ServerProcess {
    /// The pump over all configured sinks.
    func pumpService(_ logs: LogDirectory, _ announcer: Announcer) -> any Service {
        var configuration = PumpConfiguration()
        configuration.reshipFrom = reshipFrom
        configuration.onStateChange = { sink, state in
            let isFine = state.breaker == .closed && state.reason == nil
            let trouble = SinkTrouble(breaker: state.breaker.rawValue, reason: state.reason)
            announcer.report(isFine ? nil : trouble, of: sink)
        }
        return Pump(
            configuration,
            logs: logs,
            sinks: settings.pump.sinks.map(pumped),
            time: SystemTimeSource(),
            metrics: metrics,
            logger: Logger(label: "sluice.pump")
        )
    }

    /// A sink with its batches and repetitions.
    private func pumped(_ settings: SinkSettings) -> PumpedSink {
        let sink = SinkAssembly.sink(
            settings,
            self.settings,
            fileSystem: data.fileSystem,
            metrics: metrics
        )
        return SinkAssembly.pumped(sink, settings)
    }
}

/// How a configured sink is made.
enum SinkAssembly {
    /// A sink with its batches and repetitions.
    static func pumped(_ sink: any Sink, _ settings: SinkSettings) -> PumpedSink {
        var pumped = PumpedSink(name: settings.name, sink: sink)
        pumped.batchRecordsMax = settings.batch.records
        pumped.batchBytesMax = settings.batch.bytes
        pumped.batchWait = settings.batchWait
        pumped.inFlightMax = settings.inFlight
        pumped.retryDelayMin = settings.retryDelayMin
        pumped.retryDelayMax = settings.retryDelayMax
        return pumped
    }

    /// A sink that has not been opened.
    ///
    /// - Parameters:
    ///   - sink: What is configured of it.
    ///   - settings: The whole configuration.
    ///   - fileSystem: For sinks that write files.
    ///   - metrics: Where its metrics are registered.
    ///   - isReplay: Whether it works beside the pump's own.
    static func sink(
        _ sink: SinkSettings,
        _ settings: Settings,
        fileSystem: any FileSystem,
        metrics: MetricsRegistry,
        isReplay: Bool = false
    ) -> any Sink {
        let logger = Logger(label: "sluice.sink.\(sink.name)")
        switch sink.kind {
        case .kafka:
            var configuration = KafkaSinkConfiguration(settings.kafkaConfiguration())
            configuration.topic = settings.kafka.topic
            configuration.partitions = settings.kafka.partitions
            configuration.replication = settings.kafka.replication ?? -1
            return KafkaSink(
                configuration,
                time: SystemTimeSource(),
                metrics: metrics,
                logger: logger
            )
        case .file(let file):
            var configuration = FileSinkConfiguration(path: file.path)
            configuration.isCompressed = file.compress == .gzip
            configuration.rotateBytes = UInt64(file.rotateBytes)
            configuration.rotateAge = file.rotateAge
            configuration.isReplay = isReplay
            return FileSink(
                configuration,
                fileSystem: fileSystem,
                time: SystemTimeSource(),
                logger: logger
            )
        }
    }
}
