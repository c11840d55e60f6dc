import Records
import Rollups
import Testing

/// The sketch of distinct values: error bounds, encodings, hashing.
@Suite("Distinct sketch")
struct SketchTests {
    @Test("estimates stay within five standard errors at every size")
    func errors() throws {
        var worst = 0.0
        for start in 0..<2 {
            var accumulator = SketchAccumulator()
            var next = 1
            for number in 0..<120_000 {
                accumulator.add(hash: StableHash.hash("10.\(start).\(number >> 8).\(number & 255)"))
                guard number + 1 == next else { continue }
                let estimate = accumulator.estimate
                let error = abs(estimate - Double(next)) / Double(next)
                worst = max(worst, error)
                #expect(error < 0.081, "\(next): \(estimate)")
                if next <= 20 { #expect(Int(estimate.rounded()) == next) }
                let decoded = try DistinctSketch.estimate(accumulator.encoded().span)
                #expect(decoded == estimate)
                next = next * 5 / 4 + 1
            }
        }
        print("worst error \(worst)")
    }

    @Test("the average error is that of 4,096 registers")
    func standardError() throws {
        var sum = 0.0
        let rounds = 40
        for round in 0..<rounds {
            var accumulator = SketchAccumulator()
            for number in 0..<6_000 {
                accumulator.add(hash: StableHash.hash(integer: Int64(round) << 32 | Int64(number)))
            }
            let error = (accumulator.estimate - 6_000) / 6_000
            sum += error * error
        }
        let deviation = (sum / Double(rounds)).squareRoot()
        #expect(deviation < 0.022)
    }

    @Test("order, repetition and splitting change nothing; encodings are canonical")
    func merging() throws {
        var random = SeededRandom(seed: 37)
        for count in [0, 1, 2, 10, 100, 1_000, 1_500, 1_800, 2_200, 5_000, 50_000] {
            let hashes = (0..<count).map { _ in random.next() }
            let whole = DistinctSketch.encode(hashes: hashes)
            let shuffled = DistinctSketch.encode(
                hashes: hashes.shuffled(using: &random) + hashes.prefix(count / 2)
            )
            #expect(shuffled == whole)
            let left = DistinctSketch.encode(hashes: hashes.prefix(count / 3))
            let right = DistinctSketch.encode(hashes: hashes.dropFirst(count / 3))
            #expect(try DistinctSketch.merge(left, right) == whole)
            #expect(try DistinctSketch.merge(right, left) == whole)
            #expect(try DistinctSketch.merge(whole, whole) == whole)
            #expect(whole.count <= 3_073)
            #expect(whole.isEmpty == (count == 0))
            if count > 0, count < 1_400 { #expect(whole[0] == 1) }
            if count >= 5_000 { #expect(whole[0] == 2 && whole.count == 3_073) }
        }
    }

    @Test("hashes are the documented ones for ever")
    func vectors() {
        #expect(StableHash.hash("") == 0xFA1CA1B0D6583FD0)
        #expect(StableHash.hash("a") == 0x1CC6744E25E78222)
        #expect(StableHash.hash("192.0.2.7") == 0x85F0FEA654DE75E8)
        #expect(StableHash.hash("0123456789abcdef") == 0x6796FB9852EB2D29)
        #expect(StableHash.hash("0123456789abcdefg") == 0xE35EEA000AF8F7C9)
        #expect(StableHash.hash(integer: 200) == 0x395510D46680A654)
        let bytes: [UInt8] = [200, 0, 0, 0, 0, 0, 0, 0]
        let hash = StableHash.hash(bytes.span)
        #expect(StableHash.hash(integer: 200) == hash)
    }

    @Test("hashes of neighbours spread over all bits")
    func avalanche() {
        var flips = [Int](repeating: 0, count: 64)
        var random = SeededRandom(seed: 41)
        let rounds = 4_000
        for _ in 0..<rounds {
            var bytes = random.bytes(1 + random.below(40))
            let before = StableHash.hash(bytes.span)
            bytes[random.below(bytes.count)] ^= 1 << UInt8(random.below(8))
            let after = StableHash.hash(bytes.span)
            for bit in 0..<64 where (before ^ after) >> UInt64(bit) & 1 == 1 { flips[bit] += 1 }
        }
        for count in flips { #expect(abs(Double(count) / Double(rounds) - 0.5) < 0.05) }
    }

    @Test("the example of the documentation")
    func example() {
        // Register 0 rank 1 and register 5 rank 3.
        let hashes: [UInt64] = [0x0008_0000_0000_0000, 0x0052_0000_0000_0000]
        #expect(DistinctSketch.encode(hashes: hashes) == [1, 0x01, 0x83, 0x02])
    }

    @Test("any bytes are refused or read, and never trap")
    func fuzz() {
        var random = SeededRandom(seed: 43)
        var accepted = 0
        for round in 0..<6_000 {
            var bytes: [UInt8]
            switch round % 60 {
            case 0: bytes = [2] + random.bytes(3_072)
            case 1...30: bytes = [1] + random.bytes(random.below(12))
            case 31: bytes = random.bytes(random.below(12))
            default: bytes = DistinctSketch.encode(hashes: (0..<6).map { _ in random.next() })
            }
            if round % 3 == 0, !bytes.isEmpty {
                bytes[random.below(bytes.count)] = UInt8(random.below(256))
            }
            var accumulator = SketchAccumulator()
            guard (try? accumulator.merge(bytes.span)) != nil else { continue }
            accepted += 1
            if accumulator.encoded() != bytes { Issue.record("not canonical: \(bytes)") }
            _ = accumulator.estimate
        }
        #expect(accepted > 1_000)
    }

    static let malformed: [[UInt8]] = [
        [0], [1], [3, 1], [2], [1, 0], [1, 64], [1, 54], [1, 0x80, 0], [1, 0x81],
        [1, 0x81, 0x80, 0x10], [1, 0x81, 0x80, 0], [1, 0x81, 0x80, 0x80, 0], [1, 0x81, 0, 1],
        [2] + [UInt8](repeating: 0xFF, count: 3_072),
        [1] + [UInt8](repeating: 1, count: 4_097),
    ]

    @Test("what is no sketch is refused", arguments: malformed)
    func refused(bytes: [UInt8]) {
        #expect(throws: MeasureError.self) { try DistinctSketch.estimate(bytes.span) }
        for other: [UInt8] in [[], [1, 0x01, 0x83, 0x02]] {
            #expect(throws: MeasureError.self) { try DistinctSketch.merge(bytes, other) }
            #expect(throws: MeasureError.self) { try DistinctSketch.merge(other, bytes) }
        }
    }
}

/// Merging rows.
@Suite("Measures")
struct MeasureTests {
    @Test("minima and maxima ignore rows without durations")
    func durations() {
        var sum = Counts.Durations()
        sum.merge(Counts.Durations())
        #expect(sum == Counts.Durations())
        sum.merge(Counts.Durations(count: 2, sum: 30, min: 10, max: 20))
        sum.merge(Counts.Durations())
        #expect(sum == Counts.Durations(count: 2, sum: 30, min: 10, max: 20))
        sum.merge(Counts.Durations(count: 1, sum: 5, min: 5, max: 5))
        #expect(sum == Counts.Durations(count: 3, sum: 35, min: 5, max: 20))
    }

    @Test("an emptied accumulator is as good as new")
    func reuse() throws {
        var random = SeededRandom(seed: 47)
        var reused = MeasureAccumulator()
        for _ in 0..<50 {
            let durations = (0..<random.below(50)).map { _ in
                random.next() >> UInt64(random.below(64))
            }
            let hashes = (0..<random.below(50)).map { _ in random.next() }
            let histogram = LatencyHistogram.encode(durations)
            let sketch = DistinctSketch.encode(hashes: hashes)
            reused.removeAll()
            try reused.mergeLatency(histogram.span)
            try reused.mergeClients(sketch.span)
            #expect(reused.latency.encoded() == histogram)
            #expect(reused.clients.encoded() == sketch)
            #expect(reused.keys.encoded().isEmpty)
        }
    }
}
