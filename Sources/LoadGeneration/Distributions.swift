import Glibc

/// Draws indices with given weights in constant time: Vose's alias method.
package struct WeightedChoice: Sendable {
    private let thresholds: [Double]
    private let aliases: [Int]

    /// Index `i` comes up in proportion to `weights[i]`; there is at least one, all are positive.
    package init(weights: [Double]) {
        precondition(!weights.isEmpty, "a choice needs something to choose from")
        let count = weights.count
        let total = weights.reduce(0, +)
        var scaled = weights.map { $0 * Double(count) / total }
        var thresholds = [Double](repeating: 1, count: count)
        var aliases = Array(0..<count)
        var small = scaled.indices.filter { scaled[$0] < 1 }
        var large = scaled.indices.filter { scaled[$0] >= 1 }
        while let less = small.popLast(), let more = large.last {
            thresholds[less] = scaled[less]
            aliases[less] = more
            scaled[more] -= 1 - scaled[less]
            if scaled[more] < 1 {
                large.removeLast()
                small.append(more)
            }
        }
        self.thresholds = thresholds
        self.aliases = aliases
    }

    /// Zipf's law over `count` ranks: rank `k` comes up in proportion to `1 / k^exponent`.
    package init(zipf count: Int, exponent: Double) {
        self.init(weights: (1...count).map { pow(Double($0), -exponent) })
    }

    /// Draws one index.
    package func draw(_ random: inout SeededGenerator) -> Int {
        let slot = random.below(thresholds.count)
        return random.unit() < thresholds[slot] ? slot : aliases[slot]
    }
}

/// Latencies of one shape, drawn from a table of equally likely values made once.
package struct LatencyShape: Sendable {
    /// Equally likely values in the table: 4,096 resolves the 99.9th percentile (chosen).
    private static let tableSize = 4096
    private let table: [UInt64]

    /// A log-normal shape with this median and 99th percentile in microseconds.
    package init(medianMicroseconds: Double, p99Microseconds: Double) {
        // The 99th percentile of a standard normal is 2.326.
        let sigma = log(p99Microseconds / medianMicroseconds) / 2.326
        var random = SeededGenerator(seed: 0x51_1C_E)
        table = (0..<Self.tableSize).map { _ in
            UInt64(medianMicroseconds * exp(sigma * Self.normal(&random)))
        }
    }

    /// Two log-normal humps, such as cache hits and misses: a draw is from `slow` with `slowShare`.
    package init(fast: LatencyShape, slow: LatencyShape, slowShare: Double) {
        let fromSlow = Int(Double(Self.tableSize) * slowShare)
        table = Array(fast.table.dropLast(fromSlow)) + Array(slow.table.prefix(fromSlow))
    }

    /// Always the same value.
    package init(constantMicroseconds: UInt64) {
        table = [constantMicroseconds]
    }

    /// Draws one latency in microseconds.
    package func draw(_ random: inout SeededGenerator) -> UInt64 {
        table[random.below(table.count)]
    }

    /// A standard normal number, by Box and Muller.
    private static func normal(_ random: inout SeededGenerator) -> Double {
        let radius = (-2 * log(1 - random.unit())).squareRoot()
        return radius * cos(2 * Double.pi * random.unit())
    }
}
