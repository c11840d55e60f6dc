import LoadGeneration
import Records
import Testing

@Suite("Traffic")
struct TrafficTests {
    @Test("the same seed gives the same requests and records, another seed others")
    func deterministic() {
        func requests(_ seed: UInt64) -> [DemoTraffic.Request] {
            var random = SeededGenerator(seed: seed)
            return (0..<200).map { _ in DemoTraffic.request(&random) }
        }
        func records(_ seed: UInt64) -> [UInt8] {
            var synthesizer = RecordSynthesizer(
                TrafficProfile(.ten),
                seed: seed,
                start: 1_700_000_000_000_000,
                stepMicroseconds: 200
            )
            var encoder = RecordEncoder()
            for _ in 0..<200 { synthesizer.encodeNext(into: &encoder) }
            return encoder.bytes
        }
        #expect(requests(7) == requests(7))
        #expect(requests(7) != requests(8))
        #expect(records(7) == records(7))
        #expect(records(7) != records(8))
    }

    @Test("Zipf's law gives rank 1 twice the share of rank 2")
    func zipf() {
        let choice = WeightedChoice(zipf: 1000, exponent: 1)
        var random = SeededGenerator(seed: 1)
        var counts = [Int](repeating: 0, count: 1000)
        for _ in 0..<400_000 { counts[choice.draw(&random)] += 1 }
        let ratio = Double(counts[0]) / Double(counts[1])
        #expect(abs(ratio - 2) < 0.06)
        #expect(counts.allSatisfy { $0 > 0 })
    }

    @Test("latency tables have the median and the tail that were asked for")
    func latencies() {
        let shape = LatencyShape(medianMicroseconds: 8_000, p99Microseconds: 120_000)
        var random = SeededGenerator(seed: 2)
        let drawn = (0..<100_000).map { _ in shape.draw(&random) }.sorted()
        #expect(abs(Double(drawn[50_000]) / 8_000 - 1) < 0.1)
        #expect(abs(Double(drawn[99_000]) / 120_000 - 1) < 0.25)
    }

    @Test("every record of a profile decodes as a request with its identity's fields missing")
    func decodes() throws {
        for name in TrafficProfile.Name.allCases {
            var synthesizer = RecordSynthesizer(
                TrafficProfile(name),
                seed: 3,
                start: 1_700_000_000_000_000,
                stepMicroseconds: 10
            )
            for _ in 0..<500 {
                var encoder = RecordEncoder()
                synthesizer.encodeNext(into: &encoder)
                let view = try RecordView.decode(encoder.bytes.span.raw)
                #expect(view.kind == .request)
                #expect(view.org.count > 0 && view.route.count > 0 && view.keyID.count > 0)
            }
        }
    }
}
