/// What is watched, and who hears when it is no longer as it should be.
package struct AlertRule: Equatable, Sendable {
    /// What is measured.
    package enum Measure: Equatable, Sendable {
        /// A metric of the query API over the window.
        case metric(Metric)
        /// Seconds since everything is known to be counted.
        case freshness
        /// Records that are known to be in logs and not counted yet.
        case lag
        /// What each application has used of a limit in the open period of a meter; 1 is all.
        case quota(Meter, limit: Double)

        /// As it is written in the configuration.
        package var name: String {
            switch self {
            case .metric(let metric): metric.rawValue
            case .freshness: "freshness"
            case .lag: "lag"
            case .quota: "quota"
            }
        }

        /// Names that a configuration may have.
        package static let names =
            Metric.allCases.map(\.rawValue) + ["freshness", "lag", "quota"]
    }

    /// On which side of the threshold something is wrong.
    package enum Comparison: String, Equatable, Sendable {
        case above, below

        /// Whether `value` is on the wrong side; one that is not known is not.
        package func isMet(_ value: Double?, _ threshold: Double) -> Bool {
            guard let value else { return false }
            return self == .above ? value > threshold : value < threshold
        }
    }

    /// The name.
    package var name: String
    /// What is measured.
    package var measure: Measure
    /// Which requests, as the query API's `dimension:op:value`; all must hold.
    package var filters: [String]
    /// How far back a metric looks.
    package var window: Duration
    /// On which side of the threshold something is wrong.
    package var comparison: Comparison
    /// The threshold; durations in seconds.
    package var threshold: Double
    /// How long something must be wrong before anybody hears.
    package var hold: Duration
    /// Names of the webhooks that hear.
    package var webhooks: [String]

    /// A rule.
    package init(
        name: String,
        measure: Measure,
        filters: [String] = [],
        window: Duration = .seconds(300),
        comparison: Comparison = .above,
        threshold: Double,
        hold: Duration = .zero,
        webhooks: [String] = []
    ) {
        self.name = name
        self.measure = measure
        self.filters = filters
        self.window = window
        self.comparison = comparison
        self.threshold = threshold
        self.hold = hold
        self.webhooks = webhooks
    }

    /// What is wrong with the rule, by the key of the configuration.
    package var problems: [(key: String, message: String)] {
        var problems: [(String, String)] = []
        for (index, text) in filters.enumerated() {
            do throws(Problem) {
                _ = try Filter(text)
            } catch { problems.append(("filter[\(index)]", error.detail)) }
        }
        if case .metric = measure {
            return problems
        } else if !filters.isEmpty {
            problems.append(("filter", "\(measure.name) has no filter; remove it"))
        }
        return problems
    }
}

/// What a rule knows of one subject: the rule as a whole, or an application under a quota.
package struct AlertState: Equatable, Sendable {
    /// Where a subject stands; the raw value is stored.
    package enum Phase: String, Sendable {
        /// All is well. Next: pending, or firing at once if the rule holds nothing back.
        case normal = "ok"
        /// Something is wrong, not yet for long enough. Next: normal or firing.
        case pending
        /// Somebody has been told. Next: normal, which they are told too.
        case firing
    }

    /// What somebody is told.
    package enum Event: String, Sendable {
        /// Something is wrong.
        case firing
        /// It is over.
        case resolved
    }

    /// Where it stands.
    package var phase: Phase
    /// Since when, microseconds since the Unix epoch.
    package var since: Int64

    /// A state.
    package init(_ phase: Phase, since: Int64) {
        self.phase = phase
        self.since = since
    }

    /// Takes a measurement, and returns what is to be told.
    package mutating func take(isMet: Bool, now: Int64, hold: Duration) -> Event? {
        switch (phase, isMet) {
        case (.normal, false), (.firing, true): return nil
        case (.pending, false):
            self = AlertState(.normal, since: now)
            return nil
        case (.firing, false):
            self = AlertState(.normal, since: now)
            return .resolved
        case (.normal, true), (.pending, true):
            let began = phase == .pending ? since : now
            // A clock that was set back must not hold an alert for ever.
            guard now - began >= hold.microseconds else {
                self = AlertState(.pending, since: min(began, now))
                return nil
            }
            self = AlertState(.firing, since: now)
            return .firing
        }
    }
}
