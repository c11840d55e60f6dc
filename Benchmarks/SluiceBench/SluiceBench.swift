import EventLog
import Glibc
import Records
import Rollups

/// Timings of the hot path: `SluiceBench [NAME…]` prints each rate per second of processor time, so
/// that a busy machine disturbs little; the best of five rounds.
@main
struct SluiceBench {
    /// Every benchmark: its name on the command line and its body.
    static var benchmarks: [(name: String, run: () -> Void)] {
        [
            ("decode", decode),
            ("encode", encode),
            ("fold platform", { fold(isPlatform: true) }),
            ("fold ten", { fold(isPlatform: false) }),
            ("merge", merge),
            ("user-agent", userAgent),
            ("append interval", { LogBench.append(.interval) }),
            ("append strict", { LogBench.append(.strict) }),
            ("append os", { LogBench.append(.os) }),
            ("latency strict", LogBench.latency),
            ("read", LogBench.read),
        ]
    }

    /// Runs the benchmarks whose names begin with the arguments, or all; `kafka` needs a broker.
    static func main() async {
        if CommandLine.arguments.dropFirst().first == "kafka" {
            return KafkaBench.run(Array(CommandLine.arguments.dropFirst(2)))
        }
        let wanted = CommandLine.arguments.dropFirst().joined(separator: " ")
        for benchmark in benchmarks where benchmark.name.hasPrefix(wanted) {
            benchmark.run()
        }
        for isPlatform in [true, false]
        where "fold-commit \(isPlatform ? "platform" : "ten")".hasPrefix(wanted) {
            await FoldCommitBench.run(isPlatform: isPlatform)
        }
    }

    /// Times a body and prints the best of five rounds as a rate.
    static func measure(_ name: String, count: Int, _ unit: String, _ body: () -> Void) {
        var best = Double.infinity
        for _ in 0..<5 {
            let start = clock()
            body()
            best = min(best, Double(clock() - start) / Double(CLOCKS_PER_SEC))
        }
        let nanoseconds = best / Double(count) * 1e9
        let rate = Int(Double(count) / best)
        print("\(name): \(rate) \(unit)/s, \(Int(nanoseconds.rounded())) ns each")
    }

    /// Decodes records into views.
    static func decode() {
        let traffic = Traffic(count: 100_000, isPlatform: true, seed: 1)
        measure("decode (\(traffic.averageSize) B)", count: traffic.ranges.count, "records") {
            var sum: UInt64 = 0
            let span = traffic.bytes.span.raw
            for range in traffic.ranges {
                guard let view = try? RecordView.decode(span.extracting(range)) else { continue }
                sum &+= view.responseBytes &+ UInt64(view.clientIP.count)
            }
            sink(sum)
        }
    }

    /// Encodes a record of about 250 bytes.
    static func encode() {
        let traffic = Traffic(count: 1, isPlatform: true, seed: 1)
        guard let record = try? RequestRecord(decoding: traffic.bytes.span.raw) else { return }
        var encoder = RecordEncoder(capacity: 1_000_000)
        measure("encode (\(traffic.averageSize) B)", count: 100_000, "records") {
            for _ in 0..<100 {
                encoder.removeAll()
                for _ in 0..<1_000 { record.encode(into: &encoder) }
            }
            sink(UInt64(encoder.bytes.count))
        }
    }

    /// Decodes and folds records into the built-in rollups: without making the rows, with, and with
    /// the rows in order, as for a replay.
    static func fold(isPlatform: Bool) {
        let traffic = Traffic(count: 300_000, isPlatform: isPlatform, seed: 2)
        let name = isPlatform ? "fold platform" : "fold ten"
        var batch = FoldBatch()
        var rows = 0
        for mode in ["", " with rows", " with rows in order"] {
            measure(name + mode, count: traffic.ranges.count, "records") {
                let span = traffic.bytes.span.raw
                var number = 0
                for range in traffic.ranges {
                    let bytes = span.extracting(range)
                    guard let view = try? RecordView.decode(bytes) else { continue }
                    batch.fold(view, bytes)
                    number += 1
                    guard number % 100_000 == 0 else { continue }
                    rows = batch.rowCount(of: 0) + batch.rowCount(of: 1)
                    if !mode.isEmpty { emit(batch, inOrder: mode.hasSuffix("in order")) }
                    batch.removeAll()
                }
            }
        }
        print("  \(rows) rows per 100000 records, \(batch.byteCount / 1024) KiB")
    }

    /// Makes every row.
    private static func emit(_ batch: FoldBatch, inOrder: Bool) {
        var sum = 0
        func add(_ row: borrowing FoldedRow) {
            sum += row.latencyHistogram.count + row.clients.count
        }
        // Another order than that in which the values came.
        let ids = batch.dimensions.indices.map { place in
            let count = batch.valueCount(at: place)
            return (0..<count).map { Int32($0 == 0 ? 0 : count - $0) }
        }
        for rollup in batch.definitions.indices {
            if inOrder {
                batch.forEachRow(of: rollup, ascendingBy: ids, add)
            } else {
                batch.forEachRow(of: rollup, add)
            }
        }
        sink(UInt64(sum))
    }

    /// Merges rows of 30 durations and 10 clients each, 20 rows to a key.
    static func merge() {
        var random = SplitMix64(state: 3)
        let histograms = (0..<1_000).map { _ in
            LatencyHistogram.encode(
                (0..<30).map { _ in UInt64(1_000 / (1.001 - random.fraction())) }
            )
        }
        let sketches = (0..<1_000).map { _ in
            DistinctSketch.encode(hashes: (0..<10).map { _ in random.next() })
        }
        var accumulator = MeasureAccumulator()
        var output: [UInt8] = []
        measure("merge", count: 100_000, "rows") {
            for row in 0..<100_000 {
                let histogram = histograms[row % 1_000]
                let sketch = sketches[row % 1_000]
                do throws(MeasureError) {
                    accumulator.merge(Counts())
                    try accumulator.mergeLatency(histogram.span)
                    try accumulator.mergeUpstream(histogram.span)
                    try accumulator.mergeClients(sketch.span)
                } catch {
                    print(error)
                }
                guard row % 20 == 19 else { continue }
                output.removeAll(keepingCapacity: true)
                accumulator.latency.encode(into: &output)
                accumulator.upstream.encode(into: &output)
                accumulator.clients.encode(into: &output)
                accumulator.removeAll()
            }
            sink(UInt64(output.count))
        }
    }

    /// Classifies a browser's user agent.
    static func userAgent() {
        let text = Array(
            ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
                + "Chrome/124.0.0.0 Safari/537.36").utf8
        )
        measure("user-agent family and platform", count: 100_000, "texts") {
            var sum: UInt64 = 0
            for _ in 0..<100_000 {
                sum &+= UInt64(UserAgentFamily(text.span).rawValue)
                sum &+= UInt64(ClientPlatform(text.span).rawValue)
            }
            sink(sum)
        }
    }

    /// Keeps a result from being optimised away.
    @inline(never)
    static func sink(_ value: UInt64) {
        if value == 0x1234_5678_9ABC_DEF0 { print("unlikely") }
    }
}
