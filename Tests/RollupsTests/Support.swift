import Records
import Rollups

/// A seeded generator, so that a failure can be repeated.
struct SeededRandom: RandomNumberGenerator {
    /// The state of SplitMix64.
    private var state: UInt64

    /// Starts from a seed.
    init(seed: UInt64) { state = seed }

    /// The next 64 bits.
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    /// A number below a bound.
    mutating func below(_ bound: Int) -> Int { Int.random(in: 0..<bound, using: &self) }

    /// True so often out of a hundred.
    mutating func chance(_ percent: Int) -> Bool { below(100) < percent }

    /// Some bytes.
    mutating func bytes(_ count: Int) -> [UInt8] {
        (0..<count).map { _ in UInt8.random(in: 0...255, using: &self) }
    }

    /// A number that is normally distributed about 0 (the sum of twelve uniform ones).
    mutating func normal() -> Double {
        (0..<12).reduce(-6.0) { sum, _ in sum + Double.random(in: 0..<1, using: &self) }
    }
}

extension RequestRecord {
    /// A record whose values come from small pools, so that keys repeat; fields are now and then
    /// absent.
    static func random(_ random: inout SeededRandom) -> RequestRecord {
        var record = RequestRecord(kind: random.chance(95) ? .request : .heartbeat)
        record.completedAt = 1_700_000_000_000_000 + Int64(random.below(3_600)) * 1_000_000
        record.org = "org-\(random.below(2))"
        record.api = random.chance(95) ? "api-\(random.below(3))" : ""
        record.apiVersion = random.chance(50) ? "v1" : ""
        record.route = random.chance(80) ? "/things/{id}" : Route.unmatched
        record.method = random.chance(70) ? "GET" : "POST"
        record.status =
            random.chance(90) ? [200, 201, 404, 502].randomElement(using: &random) : nil
        record.outcome = Outcome.allCases.randomElement(using: &random) ?? .ok
        record.region = "eu"
        record.application = random.chance(70) ? "app-\(random.below(3))" : ""
        record.keyID = random.chance(80) ? "key-\(random.below(5))" : ""
        record.plan = random.chance(60) ? "gold" : ""
        record.clientIP = random.chance(90) ? "192.0.2.\(random.below(200))" : ""
        record.country = random.chance(50) ? ["DE", "FR"].randomElement(using: &random) ?? "" : ""
        record.userAgentFamily = random.chance(50) ? "curl" : ""
        record.platform = random.chance(50) ? "Linux" : ""
        record.upstreamAddress = random.chance(50) ? "10.0.0.\(random.below(2)):80" : ""
        record.requestBytes = UInt64(random.below(10_000))
        record.responseBytes = UInt64(random.below(1_000_000))
        record.durationUS = random.chance(90) ? UInt64(random.below(5_000_000)) : nil
        record.upstreamDurationUS = random.chance(80) ? UInt64(random.below(4_000_000)) : nil
        return record
    }
}

extension FoldBatch {
    /// Folds a record given as a value; false when its kind counts nothing.
    @discardableResult
    mutating func fold(_ record: RequestRecord) throws -> Bool {
        let bytes = record.encoded()
        let view = try RecordView.decode(bytes.span.raw)
        return fold(view, bytes.span.raw)
    }

    /// The rows of a rollup as values, by key.
    func rows(of rollup: Int) -> [RowKey: RowValue] {
        var rows: [RowKey: RowValue] = [:]
        forEachRow(of: rollup) { row in
            let texts = row.definition.dimensions.indices.map { row.text(of: $0) }
            rows[RowKey(bucket: row.bucket, texts: texts)] = RowValue(
                counts: row.counts,
                latency: row.latencyHistogram.copied(),
                upstream: row.upstreamHistogram.copied(),
                clients: row.clients.copied(),
                keys: row.keys.copied()
            )
        }
        return rows
    }
}

/// The key of a row.
struct RowKey: Hashable {
    let bucket: Int64
    let texts: [String]
}

/// The measures of a row.
struct RowValue: Equatable {
    let counts: Counts
    let latency: [UInt8]
    let upstream: [UInt8]
    let clients: [UInt8]
    let keys: [UInt8]
}

extension MeasureAccumulator {
    /// Adds a row.
    mutating func merge(_ row: RowValue) throws(MeasureError) {
        merge(row.counts)
        try mergeLatency(row.latency.span)
        try mergeUpstream(row.upstream.span)
        try mergeClients(row.clients.span)
        try mergeKeys(row.keys.span)
    }

    /// The sum as a row.
    var row: RowValue {
        RowValue(
            counts: counts,
            latency: latency.encoded(),
            upstream: upstream.encoded(),
            clients: clients.encoded(),
            keys: keys.encoded()
        )
    }
}
