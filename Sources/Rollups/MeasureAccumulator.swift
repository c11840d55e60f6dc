/// Adds up rollup rows of one key: counts, histograms and sketches.
///
/// Reuse one accumulator for many keys (`removeAll` keeps the capacity) where rows come grouped.
package struct MeasureAccumulator: Sendable {
    /// The integer measures.
    package private(set) var counts = Counts()
    /// The histogram of total durations.
    package private(set) var latency = HistogramAccumulator()
    /// The histogram of upstream durations.
    package private(set) var upstream = HistogramAccumulator()
    /// The sketch of distinct clients.
    package private(set) var clients = SketchAccumulator()
    /// The sketch of distinct keys.
    package private(set) var keys = SketchAccumulator()

    /// Makes an accumulator of nothing.
    package init() {}

    /// Forgets everything and keeps the capacity.
    package mutating func removeAll() {
        counts = Counts()
        latency.removeAll()
        upstream.removeAll()
        clients.removeAll()
        keys.removeAll()
    }

    /// Adds the integer measures of a row.
    package mutating func merge(_ counts: Counts) { self.counts.merge(counts) }

    /// Adds the encoded histogram of total durations of a row.
    package mutating func mergeLatency(_ encoded: Span<UInt8>) throws(MeasureError) {
        try latency.merge(encoded)
    }

    /// Adds the encoded histogram of upstream durations of a row.
    package mutating func mergeUpstream(_ encoded: Span<UInt8>) throws(MeasureError) {
        try upstream.merge(encoded)
    }

    /// Adds the encoded sketch of distinct clients of a row.
    package mutating func mergeClients(_ encoded: Span<UInt8>) throws(MeasureError) {
        try clients.merge(encoded)
    }

    /// Adds the encoded sketch of distinct keys of a row.
    package mutating func mergeKeys(_ encoded: Span<UInt8>) throws(MeasureError) {
        try keys.merge(encoded)
    }

    /// Adds one total duration to the histogram.
    package mutating func addLatency(_ microseconds: UInt64) {
        latency.add(index: LatencyHistogram.index(of: microseconds), count: 1)
    }

    /// Adds one upstream duration to the histogram.
    package mutating func addUpstream(_ microseconds: UInt64) {
        upstream.add(index: LatencyHistogram.index(of: microseconds), count: 1)
    }

    /// Adds one client's address to the sketch.
    package mutating func addClient(_ address: Span<UInt8>) {
        clients.add(hash: StableHash.hash(address))
    }

    /// Adds one key to the sketch.
    package mutating func addKey(_ key: Span<UInt8>) { keys.add(hash: StableHash.hash(key)) }

    /// A quantile of total durations in microseconds; nil when none is known.
    package func latencyQuantile(_ quantile: Double) -> UInt64? {
        latency.quantile(
            quantile,
            min: UInt64(clamping: counts.latency.min),
            max: UInt64(clamping: counts.latency.max)
        )
    }

    /// A quantile of upstream durations in microseconds; nil when none is known.
    package func upstreamQuantile(_ quantile: Double) -> UInt64? {
        upstream.quantile(
            quantile,
            min: UInt64(clamping: counts.upstream.min),
            max: UInt64(clamping: counts.upstream.max)
        )
    }
}
