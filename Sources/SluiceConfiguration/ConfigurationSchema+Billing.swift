/// The keys of `meters`, `webhooks` and `alerts`.
extension ConfigurationSchema {
    static let meter = Shape.map([
        Shape.Key("name", .sinkName, "Name in bills, for ever.", isRequired: true),
        Shape.Key(
            "aggregate",
            .choice(["count", "sum", "unique", "max"]),
            "How records become one number.",
            isRequired: true
        ),
        Shape.Key(
            "field",
            .choice(["bytes_in", "bytes_out", "latency", "upstream_latency", "client", "key"]),
            "What of them: bytes or latencies for sum, latencies for max, client or key for unique."
        ),
        Shape.Key(
            "filter",
            .list(.text),
            "Which records: dimension:op:value as in the query API; all must hold."
        ),
        Shape.Key(
            "period",
            .choice(["day", "week", "month"]),
            "What is billed at once; never changes.",
            standard: "month"
        ),
        Shape.Key(
            "timezone",
            .name,
            "IANA zone that periods follow; never changes.",
            standard: "UTC"
        ),
        Shape.Key(
            "start",
            .date,
            "A date of the first period.",
            standard: "the day on which the meter is first seen"
        ),
        Shape.Key(
            "grace",
            .duration(.zero...second * 86_400 * 366),
            "How long after its end a period stays open for late records.",
            standard: "1h"
        ),
    ])

    static let webhook = Shape.map([
        Shape.Key("name", .sinkName, "Name that alerts use.", isRequired: true),
        Shape.Key("url", .secret, "Where events are sent with POST.", isRequired: true),
        Shape.Key("secret", .secret, "Key of the events' signature.", isRequired: true),
    ])

    static let alert = Shape.map([
        Shape.Key("name", .sinkName, "Name in events.", isRequired: true),
        Shape.Key(
            "metric",
            .name,
            "A metric of the query API such as error_rate or latency_p99, or freshness (seconds "
                + "since everything is counted), lag (records not yet counted), quota.",
            isRequired: true
        ),
        Shape.Key("above", .number, "Something is wrong above this; durations in seconds."),
        Shape.Key("below", .number, "Something is wrong below this; one of both is given."),
        Shape.Key(
            "window",
            .duration(second * 60...second * 86_400 * 31),
            "How far back a metric of the query API looks.",
            standard: "5m"
        ),
        Shape.Key(
            "for",
            .duration(.zero...second * 86_400 * 31),
            "How long it must be wrong before anybody hears.",
            standard: "0s"
        ),
        Shape.Key(
            "filter",
            .list(.text),
            "Which requests: dimension:op:value as in the query API; all must hold."
        ),
        Shape.Key("meter", .sinkName, "Of quota: the meter, in its open period."),
        Shape.Key(
            "limit",
            .number,
            "Of quota: what each application may use; the metric is the share of it used."
        ),
        Shape.Key("notify", .list(.sinkName), "The webhooks that are told.", standard: "[]"),
    ])
}
