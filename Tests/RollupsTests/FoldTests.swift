import Records
import Rollups
import Testing

/// The fold: a pure, commutative function of the records.
@Suite("Fold")
struct FoldTests {
    @Test("any order and any split of the same records gives identical rows", arguments: 1...2)
    func commutes(seed: Int) throws {
        print("seed \(seed)")
        var random = SeededRandom(seed: UInt64(seed))
        var records = (0..<1_000).map { _ in RequestRecord.random(&random) }
        var whole = FoldBatch()
        for record in records { try whole.fold(record) }
        for rollup in whole.definitions.indices {
            let expected = whole.rows(of: rollup)
            #expect(expected.count > 50)

            records.shuffle(using: &random)
            var batch = FoldBatch()
            var sums: [RowKey: MeasureAccumulator] = [:]
            for record in records {
                try batch.fold(record)
                guard random.below(300) == 0 else { continue }
                try Self.flush(&batch, rollup, &sums)
            }
            try Self.flush(&batch, rollup, &sums)
            let merged = sums.mapValues(\.row)
            let isSame = merged == expected
            #expect(isSame)
        }
    }

    @Test(
        "rows come ascending by bucket and ids",
        arguments: [Int32(1), Int32.max / 64]
    )
    func ascending(step: Int32) throws {
        var random = SeededRandom(seed: 10)
        var batch = FoldBatch()
        for _ in 0..<1_000 { try batch.fold(RequestRecord.random(&random)) }
        // Ids descend where values ascend.
        let ids = batch.dimensions.indices.map { place in
            (0..<Int32(max(1, batch.valueCount(at: place)))).map { (63 - $0) * step }
        }
        for (rollup, definition) in batch.definitions.enumerated() {
            var keys: [[Int64]] = []
            var orders: [[[UInt8]]] = [[], []]
            batch.forEachRow(of: rollup, ascendingBy: ids) { row in
                var key = [row.bucket]
                for (index, dimension) in definition.dimensions.enumerated() {
                    let value = row.valueIDs[index]
                    let place = batch.dimensions.firstIndex(of: dimension) ?? 0
                    key.append(
                        dimension.isInteger || value == 0
                            ? Int64(value) : Int64(ids[place][Int(value)])
                    )
                }
                keys.append(key)
                orders[0].append(row.latencyHistogram.copied() + row.clients.copied())
            }
            batch.forEachRow(of: rollup) { row in
                orders[1].append(row.latencyHistogram.copied() + row.clients.copied())
            }
            #expect(Set(keys).count == keys.count && keys.count == orders[1].count)
            #expect(Set(orders[0]) == Set(orders[1]))
            let isAscending = zip(keys, keys.dropFirst()).allSatisfy {
                $0.lexicographicallyPrecedes($1)
            }
            #expect(isAscending)
        }
    }

    /// Merges a batch's rows into sums and empties it.
    private static func flush(
        _ batch: inout FoldBatch,
        _ rollup: Int,
        _ sums: inout [RowKey: MeasureAccumulator]
    ) throws {
        for (key, row) in batch.rows(of: rollup) {
            try sums[key, default: MeasureAccumulator()].merge(row)
        }
        batch.removeAll()
        #expect(batch.isEmpty)
        #expect(batch.rowCount(of: rollup) == 0)
    }

    @Test("rows say what a plain loop over the records counts")
    func model() throws {
        var random = SeededRandom(seed: 9)
        let records = (0..<1_000).map { _ in RequestRecord.random(&random) }
        let everything = RollupDefinition(
            name: "everything",
            dimensions: Dimension.allCases,
            tiers: [.day, .minute],
            countsKeys: false
        )
        #expect(everything.finestTier == .minute)
        var batch = FoldBatch(RollupDefinition.builtIn + [everything])
        for record in records { try batch.fold(record) }
        for (rollup, definition) in batch.definitions.enumerated() {
            let groups = Dictionary(grouping: records.filter { $0.kind == .request }) {
                Self.key(of: $0, definition)
            }
            let rows = batch.rows(of: rollup)
            #expect(rows.count == groups.count)
            for (key, members) in groups {
                let row = try #require(rows[key])
                try Self.compare(row, members, definition)
            }
        }
    }

    /// The key of a record, the slow way.
    private static func key(of record: RequestRecord, _ definition: RollupDefinition) -> RowKey {
        let texts = definition.dimensions.map { dimension -> String in
            switch dimension {
            case .org: record.org
            case .api: record.api
            case .version: record.apiVersion
            case .route: record.route
            case .method: record.method
            case .status: record.status.map { String($0) } ?? ""
            case .statusClass: record.status.map { "\($0 / 100)xx" } ?? ""
            case .outcome: record.outcome == .unspecified ? "" : record.outcome.name
            case .region: record.region
            case .application: record.application
            case .key: record.keyID
            case .plan: record.plan
            case .country: record.country
            case .userAgent: record.userAgentFamily
            case .platform: record.platform
            case .upstream: record.upstreamAddress
            case .tag(let name): record.tags.first { $0.key == name }?.value ?? ""
            }
        }
        let length = definition.finestTier.microseconds
        return RowKey(bucket: record.completedAt / length * length, texts: texts)
    }

    /// Compares a row with its records.
    private static func compare(
        _ row: RowValue,
        _ members: [RequestRecord],
        _ definition: RollupDefinition
    ) throws {
        let latencies = members.compactMap(\.durationUS)
        let upstreams = members.compactMap(\.upstreamDurationUS)
        #expect(row.counts.requests == Int64(members.count))
        #expect(row.counts.bytesIn == members.reduce(0) { $0 + Int64($1.requestBytes) })
        #expect(row.counts.bytesOut == members.reduce(0) { $0 + Int64($1.responseBytes) })
        #expect(row.counts.latency.count == Int64(latencies.count))
        #expect(row.counts.latency.sum == Int64(latencies.reduce(0, +)))
        #expect(row.counts.latency.min == Int64(latencies.min() ?? 0))
        #expect(row.counts.latency.max == Int64(latencies.max() ?? 0))
        #expect(row.counts.upstream.count == Int64(upstreams.count))
        #expect(row.latency == LatencyHistogram.encode(latencies))
        #expect(row.upstream == LatencyHistogram.encode(upstreams))
        let clients = members.map(\.clientIP).filter { !$0.isEmpty }.map { StableHash.hash($0) }
        #expect(row.clients == DistinctSketch.encode(hashes: clients))
        let keys = members.map(\.keyID).filter { !$0.isEmpty }.map { StableHash.hash($0) }
        #expect(row.keys == (definition.countsKeys ? DistinctSketch.encode(hashes: keys) : []))
    }

    static let errors: [(UInt32?, Outcome, client: Int64, server: Int64, aborted: Int64)] = [
        (200, .ok, 0, 0, 0),
        (200, .upstreamError, 0, 1, 0),
        (304, .ok, 0, 0, 0),
        (399, .ok, 0, 0, 0),
        (400, .clientError, 1, 0, 0),
        (404, .gatewayError, 1, 0, 0),
        (429, .rateLimited, 1, 0, 0),
        (499, .clientAborted, 0, 0, 1),
        (503, .clientAborted, 0, 0, 1),
        (500, .upstreamError, 0, 1, 0),
        (504, .upstreamTimeout, 0, 1, 0),
        (599, .ok, 0, 1, 0),
        (nil, .upstreamUnreachable, 0, 1, 0),
        (nil, .gatewayError, 0, 1, 0),
        (nil, .clientAborted, 0, 0, 1),
        (200, .clientAborted, 0, 0, 1),
        (nil, .unspecified, 0, 0, 0),
        (0, .ok, 0, 0, 0),
        (1_000, .ok, 0, 0, 0),
        (UInt32.max, .ok, 0, 0, 0),
    ]

    @Test("errors are counted by status and outcome", arguments: errors)
    func errorClasses(
        status: UInt32?,
        outcome: Outcome,
        client: Int64,
        server: Int64,
        aborted: Int64
    ) throws {
        var record = RequestRecord(kind: .request)
        record.status = status
        record.outcome = outcome
        var batch = FoldBatch()
        try batch.fold(record)
        let counts = try #require(batch.rows(of: 0).values.first).counts
        #expect(counts.requests == 1)
        #expect(counts.clientErrors == client)
        #expect(counts.serverErrors == server)
        #expect(counts.aborted == aborted)
    }

    @Test("only requests fold")
    func kinds() throws {
        var batch = FoldBatch()
        for kind in RecordKind.allCases {
            let folded = try batch.fold(RequestRecord(kind: kind))
            #expect(folded == (kind == .request))
        }
        #expect(batch.recordCount == 1)
        #expect(batch.rowCount(of: 0) == 1)
    }

    @Test("absurd numbers saturate and never trap")
    func extremes() throws {
        var batch = FoldBatch()
        for time in [Int64.min, -1, 0, .max] {
            for _ in 0..<2 {
                var record = RequestRecord(kind: .request)
                record.completedAt = time
                record.durationUS = .max
                record.upstreamDurationUS = .max
                record.requestBytes = .max
                record.responseBytes = .max
                try batch.fold(record)
            }
        }
        for (_, row) in batch.rows(of: 0) {
            #expect(row.counts.requests == 2)
            #expect(row.counts.latency.sum == .max)
            #expect(row.counts.bytesOut == .max)
        }
    }

    @Test("a batch forgets everything but its capacity, and says how large it is")
    func reuse() throws {
        var random = SeededRandom(seed: 3)
        let records = (0..<500).map { _ in RequestRecord.random(&random) }
        var batch = FoldBatch()
        let empty = batch.byteCount
        for record in records { try batch.fold(record) }
        let first = batch.rows(of: 1)
        #expect(batch.byteCount > empty)
        batch.removeAll()
        for record in records.reversed() { try batch.fold(record) }
        let isSame = batch.rows(of: 1) == first
        #expect(isSame)
    }

    @Test("values are interned: every id reads back as its text, and 0 is absent")
    func interning() throws {
        var batch = FoldBatch()
        for number in 0..<5_000 {
            var record = RequestRecord(kind: .request)
            record.api = "api-\(number)"
            record.route = String(repeating: "x", count: number % 70)
            try batch.fold(record)
        }
        #expect(batch.valueCount(of: .api) == 5_001)
        #expect(batch.valueCount(of: .route) == 70)
        #expect(batch.valueCount(of: .plan) == 1)
        let texts = Set((1...5_000).map { batch.text($0, of: .api) })
        #expect(texts.count == 5_000)
        #expect(batch.text(0, of: .api).isEmpty)
        #expect(batch.rowCount(of: 0) == 5_000)
    }

    @Test("buckets are half-open and floor before 1970, too")
    func buckets() {
        for tier in Tier.allCases {
            let length = tier.microseconds
            for multiple in [-3, -1, 0, 1, 29_000] as [Int64] {
                let start = multiple * length
                #expect(tier.bucket(of: start) == start)
                #expect(tier.bucket(of: start + length - 1) == start)
                #expect(tier.bucket(of: start - 1) == start - length)
            }
            _ = tier.bucket(of: .min)
            _ = tier.bucket(of: .max)
        }
    }

    @Test("ranks put matched routes first and are the same everywhere")
    func ranks() {
        let dimensions = RollupDefinition.api.dimensions
        let matched = ["acme", "orders", "v1", "/orders/{id}", "GET", "200", "ok", "eu"]
        var unmatched = matched
        unmatched[3] = Route.unmatched
        let rank = keyRank(of: dimensions, values: matched)
        #expect(rank < keyRank(of: dimensions, values: unmatched))
        #expect(rank >> 63 == 0)
        #expect(keyRank(of: dimensions, values: unmatched) >> 63 == 1)
        #expect(rank == 0x1B4D796909AAA2E3)
        var seen: Set<UInt64> = []
        for status in 100..<600 {
            var values = matched
            values[5] = String(status)
            seen.insert(keyRank(of: dimensions, values: values))
            values.swapAt(0, 1)
            seen.insert(keyRank(of: dimensions, values: values))
        }
        #expect(seen.count == 1_000)
    }
}
