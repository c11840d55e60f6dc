import Synchronization

/// Label names and values of one time series, in the order in which they are printed.
package typealias MetricLabels = [(name: String, value: String)]

/// A count that only grows, such as records appended.
package final class Counter: Sendable {
    private let total = Atomic<UInt64>(0)

    /// Adds `amount` events; one relaxed atomic addition.
    package func add(_ amount: UInt64 = 1) { total.wrappingAdd(amount, ordering: .relaxed) }

    /// Events counted since the process started.
    package var value: UInt64 { total.load(ordering: .relaxed) }
}

/// A level that moves both ways, such as records waiting.
package final class Gauge: Sendable {
    private let level = Atomic<Int64>(0)

    /// Replaces the level.
    package func set(_ value: Int64) { level.store(value, ordering: .relaxed) }

    /// Moves the level by `amount`.
    package func add(_ amount: Int64) { level.wrappingAdd(amount, ordering: .relaxed) }

    /// The level as last set.
    package var value: Int64 { level.load(ordering: .relaxed) }
}

/// Durations counted into fixed buckets, printed as a Prometheus histogram in seconds.
package final class DurationHistogram: Sendable {
    /// Upper bounds in microseconds: 50 µs to 10 s, chosen to span a page-cache write and a
    /// stalled disk.
    package static let boundsMicroseconds: [Int64] = [
        50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000,
        500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000,
    ]

    private struct State {
        var counts: [UInt64]
        var sumMicroseconds: Int64 = 0
    }

    private let state = Mutex(
        State(counts: [UInt64](repeating: 0, count: boundsMicroseconds.count + 1))
    )

    /// Counts one duration of `microseconds`; takes a short lock: once per batch, not per record.
    package func record(microseconds: Int64) {
        let slot =
            Self.boundsMicroseconds.firstIndex { microseconds <= $0 }
            ?? Self.boundsMicroseconds.count
        state.withLock {
            $0.counts[slot] += 1
            $0.sumMicroseconds += microseconds
        }
    }

    /// Counts per bucket (the last is unbounded) and the sum of all durations in microseconds.
    package var snapshot: (counts: [UInt64], sumMicroseconds: Int64) {
        state.withLock { ($0.counts, $0.sumMicroseconds) }
    }
}

/// The metrics of a process, printed for Prometheus at `/metrics`.
///
/// Owner: itself (one lock around the list of series). Series are registered when a module starts,
/// with labels from fixed sets, so their number is bounded; asking twice for the same series gives
/// the same object.
package final class MetricsRegistry: Sendable {
    private enum Instrument: Sendable {
        case counter(Counter)
        case gauge(Gauge)
        case histogram(DurationHistogram)
        case computed(@Sendable () -> Double)

        var typeName: String {
            switch self {
            case .counter: "counter"
            case .gauge, .computed: "gauge"
            case .histogram: "histogram"
            }
        }
    }

    private struct Family: Sendable {
        var help: String
        var typeName: String
        var series: [(labels: String, instrument: Instrument)] = []
    }

    private let families = Mutex<[String: Family]>([:])

    /// Media type of the page: Prometheus' text format.
    package static let mediaType = "text/plain; version=0.0.4; charset=utf-8"

    /// An empty registry.
    package init() {}

    /// The counter `name` with `labels`; names end in `_total`.
    package func counter(_ name: String, help: String, labels: MetricLabels = []) -> Counter {
        let made = register(name, help, labels, .counter(Counter()))
        guard case .counter(let counter) = made else { return Counter() }
        return counter
    }

    /// The gauge `name` with `labels`.
    package func gauge(_ name: String, help: String, labels: MetricLabels = []) -> Gauge {
        let made = register(name, help, labels, .gauge(Gauge()))
        guard case .gauge(let gauge) = made else { return Gauge() }
        return gauge
    }

    /// The duration histogram `name` with `labels`; names end in `_seconds`.
    package func histogram(
        _ name: String,
        help: String,
        labels: MetricLabels = []
    ) -> DurationHistogram {
        let made = register(name, help, labels, .histogram(DurationHistogram()))
        guard case .histogram(let histogram) = made else { return DurationHistogram() }
        return histogram
    }

    /// A gauge whose value is computed when the page is printed; replaces an earlier computation.
    package func computed(
        _ name: String,
        help: String,
        labels: MetricLabels = [],
        _ value: @escaping @Sendable () -> Double
    ) {
        let key = Self.render(labels)
        families.withLock { families in
            var family = families[name] ?? Family(help: help, typeName: "gauge")
            family.series.removeAll { $0.labels == key }
            family.series.append((key, .computed(value)))
            families[name] = family
        }
    }

    private func register(
        _ name: String,
        _ help: String,
        _ labels: MetricLabels,
        _ instrument: Instrument
    ) -> Instrument {
        let key = Self.render(labels)
        return families.withLock { families in
            var family = families[name] ?? Family(help: help, typeName: instrument.typeName)
            if let existing = family.series.first(where: { $0.labels == key }) {
                return existing.instrument
            }
            family.series.append((key, instrument))
            families[name] = family
            return instrument
        }
    }

    /// The page in Prometheus' text format 0.0.4, families and series sorted by name.
    package func render() -> String {
        var page = ""
        let snapshot = families.withLock { $0 }
        for (name, family) in snapshot.sorted(by: { $0.key < $1.key }) {
            page += "# HELP \(name) \(family.help)\n# TYPE \(name) \(family.typeName)\n"
            for series in family.series.sorted(by: { $0.labels < $1.labels }) {
                Self.render(name, series.labels, series.instrument, into: &page)
            }
        }
        return page
    }

    private static func render(
        _ name: String,
        _ labels: String,
        _ instrument: Instrument,
        into page: inout String
    ) {
        let braces = labels.isEmpty ? "" : "{\(labels)}"
        switch instrument {
        case .counter(let counter): page += "\(name)\(braces) \(counter.value)\n"
        case .gauge(let gauge): page += "\(name)\(braces) \(gauge.value)\n"
        case .computed(let value): page += "\(name)\(braces) \(value())\n"
        case .histogram(let histogram):
            let (counts, sum) = histogram.snapshot
            let separator = labels.isEmpty ? "" : ","
            var cumulative: UInt64 = 0
            for (slot, bound) in DurationHistogram.boundsMicroseconds.enumerated() {
                cumulative += counts[slot]
                let seconds = Double(bound) / 1_000_000
                page += "\(name)_bucket{\(labels)\(separator)le=\"\(seconds)\"} \(cumulative)\n"
            }
            cumulative += counts[DurationHistogram.boundsMicroseconds.count]
            page += "\(name)_bucket{\(labels)\(separator)le=\"+Inf\"} \(cumulative)\n"
            page += "\(name)_sum\(braces) \(Double(sum) / 1_000_000)\n"
            page += "\(name)_count\(braces) \(cumulative)\n"
        }
    }

    /// Labels as they stand between the braces, values escaped as the format asks.
    private static func render(_ labels: MetricLabels) -> String {
        labels.map { label in
            var value = ""
            for character in label.value.unicodeScalars {
                switch character {
                case "\\": value += "\\\\"
                case "\"": value += "\\\""
                case "\n": value += "\\n"
                default: value.unicodeScalars.append(character)
                }
            }
            return "\(label.name)=\"\(value)\""
        }.joined(separator: ",")
    }
}
