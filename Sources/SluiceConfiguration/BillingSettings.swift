/// A quantity that is counted per application and period.
package struct MeterSettings: Equatable, Sendable {
    /// Name in bills; unique.
    package var name: String

    /// `count`, `sum`, `unique` or `max`.
    package var aggregate: String

    /// What is added up, told apart or compared; nil for `count`.
    package var field: String?

    /// Which records, as `dimension:op:value`; all must hold.
    package var filter: [String] = []

    /// `day`, `week` or `month`.
    package var period = "month"

    /// IANA name of the zone that periods follow.
    package var timezone = "UTC"

    /// A date of the first period, days since 1970-01-01; that of the first sight if nil.
    package var start: Int64?

    /// How long after its end a period stays open for late records.
    package var grace = Duration.seconds(3_600)

    /// A meter with the defaults for all else.
    package init(name: String, aggregate: String) {
        self.name = name
        self.aggregate = aggregate
    }
}

/// Who is told of alerts.
package struct WebhookSettings: Equatable, Sendable {
    /// Name that alerts use; unique.
    package var name: String

    /// Where events are sent; a secret, since paths of webhooks often are.
    package var url: Secret

    /// Key of the signature.
    package var secret: Secret
}

/// Something that is watched.
package struct AlertSettings: Equatable, Sendable {
    /// Name in events; unique.
    package var name: String

    /// A metric of the query API, `freshness`, `lag` or `quota`.
    package var metric: String

    /// Something is wrong above this; nil if `below` is given.
    package var above: Double?

    /// Something is wrong below this.
    package var below: Double?

    /// How far back a metric looks.
    package var window = Duration.seconds(300)

    /// How long it must be wrong before anybody hears.
    package var hold = Duration.zero

    /// Which requests, as `dimension:op:value`; all must hold.
    package var filter: [String] = []

    /// Of `quota`: the meter.
    package var meter: String?

    /// Of `quota`: what each application may use.
    package var limit: Double?

    /// Names of the webhooks that are told.
    package var notify: [String] = []

    /// An alert with the defaults for all else.
    package init(name: String, metric: String) {
        self.name = name
        self.metric = metric
    }
}

/// What only the modules that use a setting can say of it; the loader asks.
package struct Refusals: Sendable {
    /// What is wrong with a meter: the key at fault and a sentence.
    package var meter: @Sendable (MeterSettings) -> [(key: String, message: String)] = { _ in [] }

    /// What works, but only with something else that is configured.
    package var meterNotes:
        @Sendable (MeterSettings, Settings) -> [(key: String, message: String)] = { _, _ in [] }

    /// What is wrong with an alert.
    package var alert: @Sendable (AlertSettings) -> [(key: String, message: String)] = { _ in [] }

    /// Refuses nothing.
    package init() {}
}
