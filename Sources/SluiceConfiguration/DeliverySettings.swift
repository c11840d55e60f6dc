/// Connection to Kafka.
package struct KafkaSettings: Equatable, Sendable {
    /// Brokers to begin with, as `host:port`; empty only if nothing uses Kafka.
    package var brokers: [String] = []

    /// Topic of the records.
    package var topic = "sluice.records"

    /// Partitions of the topic if it has to be created.
    package var partitions = 12

    /// Copies of each partition if the topic has to be created; the broker decides if nil.
    package var replication: Int?

    /// Consumer group of the aggregators.
    package var group = "sluice-aggregator"

    /// Name of this one aggregator in the group (`group.instance.id`), for static membership.
    package var instance: String?

    /// How the group divides the partitions.
    package var assignor = PartitionAssignor.cooperativeSticky

    /// Other librdkafka properties; each value may be a password, so none is ever shown.
    package var client: [String: Secret] = [:]

    /// The defaults alone.
    package init() {}
}

/// How a consumer group divides the partitions, in Kafka's own words.
package enum PartitionAssignor: String, Equatable, Sendable, CaseIterable {
    /// Partitions stay where they are if they can, and the others go on meanwhile.
    case cooperativeSticky = "cooperative-sticky"
    /// Everybody stops, and gets a range of partitions.
    case range
}

/// Delivery of records to sinks.
package struct PumpSettings: Equatable, Sendable {
    /// Name of the Kafka sink that `transport: kafka` implies.
    package static let impliedSinkName = "central"

    /// The sinks, the implied one first.
    package var sinks: [SinkSettings] = []

    /// The defaults alone.
    package init() {}
}

/// One sink.
package struct SinkSettings: Equatable, Sendable {
    /// Name in status, metrics and checkpoints; unique.
    package var name: String

    /// Where it leads.
    package var kind: SinkKind

    /// How records are put together for it.
    package var batch = SinkBatchSettings()

    /// Batches that wait for its answer at once.
    package var inFlight = 8

    /// Wait before the first repetition.
    package var retryDelayMin = Duration.milliseconds(100)

    /// Longest wait between two repetitions.
    package var retryDelayMax = Duration.seconds(30)

    /// A sink with the defaults for all else.
    package init(name: String, kind: SinkKind) {
        self.name = name
        self.kind = kind
    }

    /// Longest wait for more records before a batch leaves: as configured, else longer for gzip,
    /// where each batch is compressed on its own.
    package var batchWait: Duration {
        if let wait = batch.wait { return wait }
        if case .file(let file) = kind, file.compress == .gzip { return .seconds(1) }
        return .milliseconds(50)
    }

    /// Name of the consumer whose checkpoints it has in the data directory.
    package var consumer: String { "sink-\(name)" }
}

/// Where a sink leads.
package enum SinkKind: Equatable, Sendable {
    /// The topic of `kafka`.
    case kafka
    /// Files of a directory.
    case file(FileSinkSettings)

    /// As it is written in the configuration.
    package var name: String {
        switch self {
        case .kafka: "kafka"
        case .file: "file"
        }
    }
}

/// How records are put together for a sink.
package struct SinkBatchSettings: Equatable, Sendable {
    /// Most records of a batch.
    package var records = 5_000

    /// Most bytes of a batch.
    package var bytes = 1 << 20

    /// Longest wait for more records before a batch leaves; as the sink likes if nil.
    package var wait: Duration?

    /// The defaults alone.
    package init() {}
}

/// The files of a file sink.
package struct FileSinkSettings: Equatable, Sendable {
    /// Their directory.
    package var path: String

    /// How they are compressed.
    package var compress = FileCompression.none

    /// Size at which a file is finished.
    package var rotateBytes = 256 << 20

    /// Age at which a file is finished.
    package var rotateAge = Duration.seconds(3_600)

    /// Files in `path`, with the defaults for all else.
    package init(path: String) { self.path = path }
}

/// How the files of a sink are compressed.
package enum FileCompression: String, Equatable, Sendable, CaseIterable {
    /// Not at all.
    case none
    /// As gzip does.
    case gzip
}
