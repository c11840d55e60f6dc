/// The keys of `kafka` and `pump`.
extension ConfigurationSchema {
    static let kafka = Shape.map([
        Shape.Key("brokers", .list(.broker), "Brokers to begin with; the others are found."),
        Shape.Key("topic", .topic, "Topic of the records.", standard: "sluice.records"),
        Shape.Key(
            "partitions",
            .integer(1...10_000),
            "Partitions of the topic if it has to be created.",
            standard: "12"
        ),
        Shape.Key(
            "replication",
            .integer(1...100),
            "Copies of each partition if the topic has to be created.",
            standard: "the broker's default"
        ),
        Shape.Key(
            "group",
            .name,
            "Consumer group of the aggregators.",
            standard: "sluice-aggregator"
        ),
        Shape.Key(
            "instance",
            .name,
            "Name of this one aggregator in the group: it keeps its partitions over a restart."
        ),
        Shape.Key(
            "assignor",
            .choice(PartitionAssignor.allCases.map(\.rawValue)),
            "How the group divides the partitions; equal on all aggregators.",
            standard: PartitionAssignor.cooperativeSticky.rawValue
        ),
        Shape.Key(
            "client",
            .properties,
            "Other librdkafka properties; values may be env:NAME or file:PATH."
        ),
    ])

    static let pump = Shape.map([
        Shape.Key("sinks", .list(sink), "Where records go besides the rollups.", standard: "[]")
    ])

    private static let sink = Shape.map([
        Shape.Key("name", .sinkName, "Name in status, metrics and checkpoints.", isRequired: true),
        Shape.Key("type", .choice(["kafka", "file"]), "Kind of the sink.", isRequired: true),
        Shape.Key("path", .text, "Directory of a file sink."),
        Shape.Key("format", .choice(["ndjson"]), "Format of its files.", standard: "ndjson"),
        Shape.Key(
            "compress",
            .choice(FileCompression.allCases.map(\.rawValue)),
            "Compression of its files.",
            standard: "none"
        ),
        Shape.Key(
            "rotate",
            .map([
                Shape.Key(
                    "bytes",
                    .bytes((64 << 10)...(1 << 40)),
                    "Size at which a file is finished and the next one begun.",
                    standard: "256MiB"
                ),
                Shape.Key(
                    "age",
                    .duration(second...second * 86_400 * 366),
                    "Age at which a file is finished.",
                    standard: "1h"
                ),
            ]),
            "When a file sink begins a new file."
        ),
        Shape.Key(
            "batch",
            .map([
                Shape.Key(
                    "records",
                    .integer(1...1_000_000),
                    "Most records of a batch.",
                    standard: "5000"
                ),
                Shape.Key(
                    "bytes",
                    .bytes((1 << 10)...(256 << 20)),
                    "Most bytes of a batch.",
                    standard: "1MiB"
                ),
                Shape.Key(
                    "wait",
                    .duration(.zero...second * 60),
                    "Longest wait for more records before a batch leaves.",
                    standard: "50ms; 1s with gzip"
                ),
            ]),
            "How records are put together for the sink."
        ),
        Shape.Key(
            "in_flight",
            .integer(1...1_000),
            "Batches that wait for the sink's answer at once.",
            standard: "8"
        ),
        Shape.Key(
            "retry",
            .map([
                Shape.Key(
                    "delay_min",
                    .duration(.milliseconds(1)...second * 3_600),
                    "Wait before the first repetition; doubled for each further one, with jitter.",
                    standard: "100ms"
                ),
                Shape.Key(
                    "delay_max",
                    .duration(.milliseconds(1)...second * 86_400),
                    "Longest wait between two repetitions.",
                    standard: "30s"
                ),
            ]),
            "How a sink that fails is tried again, which never ends."
        ),
        Shape.Key("filter", .list(.text), "Records to leave out."),
        Shape.Key("sample", .text, "Share of records to deliver."),
    ])
}
