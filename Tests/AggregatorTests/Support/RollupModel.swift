import Postgres
import Records
import Rollups

/// A row of a rollup table, by values instead of ids.
struct ModelRow: Equatable, CustomStringConvertible {
    var sums: [Int64]
    var latency: [UInt8]
    var upstream: [UInt8]
    var clients: [UInt8]
    var keys: [UInt8]

    var description: String { "\(sums) \(latency.count)/\(upstream.count)/\(clients.count)" }
}

/// What identifies a row; text as UTF-8, because Swift holds differently composed text equal.
struct ModelKey: Hashable, CustomStringConvertible {
    var bucket: Int64
    var values: [[UInt8]]

    var description: String {
        "\(bucket) " + values.map { String(decoding: $0, as: UTF8.self) }.joined(separator: "|")
    }
}

typealias ModelTable = [ModelKey: ModelRow]

/// The rollups as a naive program would compute them: group everything, then add up.
struct RollupModel {
    /// What is gathered of a row.
    private struct Cell {
        var requests: [SampleRequest] = []
    }

    let definition: RollupDefinition
    private var requests: [SampleRequest] = []

    init(_ definition: RollupDefinition) { self.definition = definition }

    mutating func add(_ request: SampleRequest) { requests.append(request) }

    /// The value of a dimension as text; numbers in decimal, absent empty.
    static func value(_ dimension: Dimension, of request: SampleRequest) -> String {
        switch dimension {
        case .org: request.org
        case .api: request.api
        case .version: request.version
        case .route: request.route
        case .method: request.method
        case .status: request.status.map(String.init) ?? ""
        case .statusClass: request.status.map { "\($0 / 100)xx" } ?? ""
        case .outcome: request.outcome == .unspecified ? "" : request.outcome.name
        case .region: request.region
        case .application: request.application
        case .key: request.key
        case .plan: request.plan
        case .country: request.country
        case .userAgent: request.userAgent
        case .platform: request.platform
        case .upstream: request.address
        case .tag(let name): name == SampleRequest.tag ? request.tenant : ""
        }
    }

    /// The rows of a tier when each bucket keeps so many keys per organisation.
    func table(_ tier: Tier, keysMax: Int = .max) -> ModelTable {
        var cells: [ModelKey: Cell] = [:]
        for request in requests {
            let values = definition.dimensions.map { Array(Self.value($0, of: request).utf8) }
            let key = ModelKey(bucket: tier.bucket(of: request.completedAt), values: values)
            cells[key, default: Cell()].requests.append(request)
        }
        let hasOrg = definition.dimensions[0] == .org
        var groups: [ModelKey: [ModelKey]] = [:]
        for key in cells.keys {
            let org = hasOrg ? [key.values[0]] : []
            groups[ModelKey(bucket: key.bucket, values: org), default: []].append(key)
        }
        var bounded: [ModelKey: Cell] = [:]
        for (group, keys) in groups {
            let ranked = keys.map { key in
                let texts = key.values.map { String(decoding: $0, as: UTF8.self) }
                return (rank: keyRank(of: definition.dimensions, values: texts), key: key)
            }.sorted { $0.rank < $1.rank }
            for (index, entry) in ranked.enumerated() {
                var key = entry.key
                if index >= keysMax {
                    key.values = definition.dimensions.enumerated().map { place, dimension in
                        place == 0 && hasOrg
                            ? group.values[0]
                            : Array((dimension.isInteger ? "-1" : "__other__").utf8)
                    }
                }
                let cell = cells[entry.key] ?? Cell()
                bounded[key, default: Cell()].requests.append(contentsOf: cell.requests)
            }
        }
        return bounded.mapValues(row)
    }

    private func row(_ cell: Cell) -> ModelRow {
        let requests = cell.requests
        func count(_ predicate: (SampleRequest) -> Bool) -> Int64 {
            Int64(requests.filter(predicate).count)
        }
        func durations(_ values: [UInt64]) -> [Int64] {
            [
                Int64(values.count), Int64(values.reduce(0, +)), Int64(values.min() ?? 0),
                Int64(values.max() ?? 0),
            ]
        }
        func isError(_ request: SampleRequest) -> Bool {
            request.outcome != .clientAborted && (request.status ?? 0) >= 400
                || [.upstreamError, .upstreamTimeout, .upstreamUnreachable, .gatewayError]
                    .contains(request.outcome)
        }
        func isClientError(_ request: SampleRequest) -> Bool {
            isError(request) && (400..<500).contains(request.status ?? 0)
        }
        let latencies = requests.compactMap(\.duration)
        let upstreams = requests.compactMap(\.upstream)
        func sketch(_ values: [String]) -> [UInt8] {
            DistinctSketch.encode(
                hashes: values.filter { !$0.isEmpty }.map { StableHash.hash($0) }
            )
        }
        return ModelRow(
            sums: [
                Int64(requests.count), count(isClientError),
                count { isError($0) && !isClientError($0) },
                count { $0.outcome == .clientAborted },
                Int64(requests.reduce(0) { $0 + $1.bytesIn }),
                Int64(requests.reduce(0) { $0 + $1.bytesOut }),
            ] + durations(latencies) + durations(upstreams),
            latency: LatencyHistogram.encode(latencies),
            upstream: LatencyHistogram.encode(upstreams),
            clients: sketch(requests.map(\.client)),
            keys: definition.countsKeys ? sketch(requests.map(\.key)) : []
        )
    }
}

/// Reads a rollup table by values.
func readTable(
    _ definition: RollupDefinition,
    _ tier: Tier,
    _ connection: PostgresConnection
) throws -> ModelTable {
    let dimensions = definition.dimensions.map { dimension in
        dimension.isInteger
            ? "CASE WHEN t.\(dimension.name) = 0 THEN '' ELSE t.\(dimension.name)::text END"
            : """
            CASE WHEN t."\(dimension.name)" = 0 THEN '' ELSE
            (SELECT value FROM sluice.dimension d
            WHERE d.id = t."\(dimension.name)" AND d.name = '\(dimension.name)') END
            """
    }
    let result = try connection.query(
        """
        SELECT t.bucket, \(dimensions.joined(separator: ", ")),
            requests, client_errors, server_errors, aborted, bytes_in, bytes_out,
            latency_count, latency_sum, latency_min, latency_max,
            upstream_count, upstream_sum, upstream_min, upstream_max,
            latency_hist, upstream_hist, clients, \(definition.countsKeys ? "keys" : "''::bytea")
        FROM sluice_g\(try activeGeneration(connection))."\(definition.name)_\(tier.rawValue)" t
        """
    )
    var table: ModelTable = [:]
    let width = definition.dimensions.count
    for row in 0..<result.rowCount {
        let key = ModelKey(
            bucket: result.timestamp(row, 0) ?? 0,
            values: (1...width).map { result.bytes(row, $0) ?? [] }
        )
        let blob = { (place: Int) in result.bytes(row, width + 15 + place) ?? [] }
        table[key] = ModelRow(
            sums: (0..<14).map { result.int(row, width + 1 + $0) ?? 0 },
            latency: blob(0),
            upstream: blob(1),
            clients: blob(2),
            keys: blob(3)
        )
    }
    return table
}

/// The differences between two tables, for messages; empty when they are the same.
func differences(_ found: ModelTable, _ expected: ModelTable) -> [String] {
    var lines: [String] = []
    for (key, row) in expected where found[key] != row {
        lines.append("\(key): expected \(row), found \(found[key].map { "\($0)" } ?? "none")")
    }
    for key in found.keys where expected[key] == nil { lines.append("\(key): unexpected") }
    return Array(lines.prefix(10))
}
