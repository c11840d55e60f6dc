/// The librdkafka properties that `kafka.client` may not name, and why.
package enum KafkaProperties {
    /// One property that is refused.
    struct Refusal: Sendable {
        /// Names of the property: its own, and what librdkafka also takes for it.
        let names: [String]
        /// Follows "is", up to what to do.
        let reason: String
    }

    /// All of them: first those whose other values lose, repeat or reorder records.
    static let refusals: [Refusal] = [
        Refusal(
            names: ["acks", "request.required.acks"],
            reason: "set by Sluice itself to all, because other values lose records with a broker"
        ),
        Refusal(
            names: ["enable.idempotence"],
            reason: "set by Sluice itself to true, because without it retries reorder records"
        ),
        Refusal(
            names: ["message.timeout.ms", "delivery.timeout.ms"],
            reason: "set by Sluice itself to 0, because other values give up on records"
        ),
        Refusal(
            names: ["partitioner"],
            reason: "set by Sluice itself, because a log must stay in one partition"
        ),
        Refusal(
            names: ["auto.offset.reset", "topic.auto.offset.reset"],
            reason: "set by Sluice itself to earliest, because other values skip records"
        ),
        Refusal(
            names: ["enable.auto.commit", "auto.commit.enable"],
            reason: "set by Sluice itself to false, because positions are kept in PostgreSQL"
        ),
        Refusal(
            names: ["delivery.report.only.error"],
            reason: "set by Sluice itself to false, because delivery reports move the checkpoints"
        ),
        Refusal(
            names: ["transactional.id"],
            reason: "not used, because the identity of records makes delivery exact"
        ),
        Refusal(
            names: ["enable.partition.eof", "enabled_events", "statistics.interval.ms"],
            reason: "set by Sluice itself, which reads those events"
        ),
        Refusal(
            names: ["bootstrap.servers", "metadata.broker.list"],
            reason: "what kafka.brokers says"
        ),
        Refusal(names: ["group.id"], reason: "what kafka.group says"),
        Refusal(names: ["group.instance.id"], reason: "what kafka.instance says"),
        Refusal(names: ["partition.assignment.strategy"], reason: "what kafka.assignor says"),
    ]

    /// Why `name` may not be given, as a sentence about it; nil if it may.
    package static func refusal(of name: String) -> String? {
        refusals.first { $0.names.contains(name) }.map { "is \($0.reason); remove it" }
    }

    /// Whether the value of `name` is nobody's business even where it is written out.
    static func isSensitive(_ name: String) -> Bool {
        ["password", "secret", "key", "pem", "token", "credential", "config", "certificate"]
            .contains { name.contains($0) }
    }
}
