import Records
import Rollups
import Testing

/// The latency histogram: bounds, quantiles, encodings.
@Suite("Latency histogram")
struct HistogramTests {
    @Test("buckets follow one another and are within 1/128 of their middle")
    func bounds() {
        for index in 0..<LatencyHistogram.bucketCount {
            let low = LatencyHistogram.lowerBound(of: index)
            let isLast = index + 1 == LatencyHistogram.bucketCount
            let high = isLast ? UInt64.max : LatencyHistogram.lowerBound(of: index + 1) - 1
            let middle = LatencyHistogram.representative(of: index)
            var isRight = low <= middle && middle <= high
            for value in [low, middle, high] {
                let distance = value > middle ? value - middle : middle - value
                isRight =
                    isRight && LatencyHistogram.index(of: value) == index
                    && Double(distance) <= Double(value) / 128
            }
            if !isRight { Issue.record("bucket \(index)") }
        }
        #expect(LatencyHistogram.index(of: .max) == LatencyHistogram.bucketCount - 1)
    }

    /// Named samples of many shapes.
    static func samples(_ random: inout SeededRandom) -> [(String, [UInt64])] {
        func power(_ exponent: Double) -> Double {
            // 2 to a power, without a mathematics library.
            var result = 1.0
            var rest = exponent
            while rest >= 1 { (result, rest) = (result * 2, rest - 1) }
            while rest < 0 { (result, rest) = (result / 2, rest + 1) }
            return result * (1 + rest * (0.6931 + rest * (0.2402 + rest * 0.0667)))
        }
        var samples: [(String, [UInt64])] = []
        for count in [1, 2, 3, 10, 999, 5_000] {
            samples.append(
                (
                    "log-normal",
                    (0..<count).map { _ in
                        UInt64(12_000 * power(random.normal() * 1.5))
                    }
                )
            )
            samples.append(
                (
                    "bimodal",
                    (0..<count).map { _ in
                        random.chance(70)
                            ? UInt64(800 + random.below(200))
                            : UInt64(2_000_000 + random.below(9_000))
                    }
                )
            )
            samples.append(("constant", [UInt64](repeating: 4_242, count: count)))
            samples.append(
                (
                    "any size",
                    (0..<count).map { _ in
                        random.next() >> UInt64(random.below(64))
                    }
                )
            )
            samples.append(("small", (0..<count).map { _ in UInt64(random.below(70)) }))
        }
        return samples
    }

    @Test("quantiles are within 1 % of the exact nearest rank")
    func quantiles() throws {
        var random = SeededRandom(seed: 17)
        for (name, values) in Self.samples(&random) {
            let sorted = values.sorted()
            let encoded = LatencyHistogram.encode(values)
            for quantile in [0, 0.001, 0.01, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1] {
                let rank = Int((quantile * Double(sorted.count)).rounded(.up))
                let exact = sorted[max(1, rank) - 1]
                let found = try LatencyHistogram.quantile(
                    quantile,
                    of: encoded.span,
                    min: sorted[0],
                    max: sorted[sorted.count - 1]
                )
                let value = try #require(found)
                let distance = value > exact ? value - exact : exact - value
                #expect(
                    Double(distance) <= 0.01 * Double(exact),
                    "\(name) n=\(sorted.count) q=\(quantile): \(value), not \(exact)"
                )
                var accumulator = HistogramAccumulator()
                try accumulator.merge(encoded.span)
                let again = accumulator.quantile(
                    quantile,
                    min: sorted[0],
                    max: sorted[sorted.count - 1]
                )
                #expect(again == value)
            }
        }
    }

    @Test("a single value and the extremes are exact when minimum and maximum are known")
    func clamping() throws {
        let encoded = LatencyHistogram.encode([1_000_003])
        let value = try LatencyHistogram.quantile(
            0.5,
            of: encoded.span,
            min: 1_000_003,
            max: 1_000_003
        )
        #expect(value == 1_000_003)
        let none = try LatencyHistogram.quantile(0.5, of: [UInt8]().span)
        #expect(none == nil)
    }

    @Test("merging is exact, commutative and associative; encodings are canonical")
    func merging() throws {
        var random = SeededRandom(seed: 23)
        for _ in 0..<60 {
            let parts = (0..<3).map { _ in
                (0..<random.below(200)).map { _ in random.next() >> UInt64(random.below(64)) }
            }
            let encoded = parts.map { LatencyHistogram.encode($0) }
            let all = LatencyHistogram.encode(parts.flatMap { $0 }.shuffled(using: &random))
            let left = try LatencyHistogram.merge(
                LatencyHistogram.merge(encoded[0], encoded[1]),
                encoded[2]
            )
            let right = try LatencyHistogram.merge(
                encoded[0],
                LatencyHistogram.merge(encoded[2], encoded[1])
            )
            #expect(left == all)
            #expect(right == all)
            #expect(try LatencyHistogram.merge(all, []) == all)
            let total = try LatencyHistogram.total(all.span)
            #expect(total == UInt64(parts.reduce(0) { $0 + $1.count }))
        }
        #expect(LatencyHistogram.encode([]).isEmpty)
    }

    @Test("the example of the documentation")
    func example() {
        // 3 twice, 5, and 1000 (exponent 9, sub-bucket 61: index 317).
        #expect(LatencyHistogram.encode([3, 1_000, 5, 3]) == [3, 2, 1, 1, 0xB7, 0x02, 1])
    }

    @Test("any bytes are refused or canonical, and never trap")
    func fuzz() {
        var random = SeededRandom(seed: 29)
        var accepted = 0
        for round in 0..<8_000 {
            var bytes =
                round % 2 == 0
                ? random.bytes(random.below(12))
                : LatencyHistogram.encode((0..<5).map { _ in random.next() >> 40 })
            if round % 2 == 1, !bytes.isEmpty {
                bytes[random.below(bytes.count)] = UInt8(random.below(256))
            }
            var accumulator = HistogramAccumulator()
            guard (try? accumulator.merge(bytes.span)) != nil else { continue }
            accepted += 1
            if accumulator.encoded() != bytes { Issue.record("not canonical: \(bytes)") }
            _ = accumulator.quantile(0.5)
        }
        #expect(accepted > 500)
    }

    static let malformed: [[UInt8]] = [
        [0], [0, 0], [0x80, 0, 1], [1, 0x80], [0xC0, 0x1D, 1], [0x81, 0x80, 0, 1],
        [0x81, 0x80, 0x80, 0, 1], [0, 0x81, 0, 1, 1],
        [0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01],
        [0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F, 0, 1],
        [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01, 1],
    ]

    @Test("what is no histogram is refused", arguments: malformed)
    func refused(bytes: [UInt8]) {
        #expect(throws: MeasureError.self) { try LatencyHistogram.total(bytes.span) }
        for other: [UInt8] in [[], [5, 1]] {
            #expect(throws: MeasureError.self) { try LatencyHistogram.merge(bytes, other) }
            #expect(throws: MeasureError.self) { try LatencyHistogram.merge(other, bytes) }
        }
    }
}
