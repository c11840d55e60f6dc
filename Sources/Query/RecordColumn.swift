import Postgres
import Rollups

/// What `/v1/records` shows of a request; raw values are names in the API, in the order of rows.
enum RecordColumn: String, CaseIterable, Sendable {
    case completedAt = "completed_at"
    case startedAt = "started_at"
    case org, api, version, route, method
    case status
    case statusClass = "status_class"
    case outcome, error, latency
    case scheme, host, path, query
    case application, key, developer, plan
    case region, node
    case clientIP = "client_ip"
    case country, platform
    case userAgent = "user_agent"
    case userAgentString = "user_agent_string"
    case upstream
    case upstreamStatus = "upstream_status"
    case upstreamLatency = "upstream_latency"
    case upstreamConnect = "upstream_connect"
    case upstreamFirstByte = "upstream_first_byte"
    case gatewayLatency = "gateway_latency"
    case bytesIn = "bytes_in"
    case bytesOut = "bytes_out"
    case cache, retries
    case requestID = "request_id"
    case traceID = "trace_id"
    case tags
    case logID = "log_id"
    case offset

    /// How a value is kept and compared.
    enum Kind: String, Sendable {
        /// Text.
        case text
        /// A whole number.
        case integer
        /// Microseconds in the table, seconds outside.
        case seconds
        /// A point in time.
        case time
        /// Texts `name=value`.
        case tags
    }

    /// How the value is kept and compared.
    var kind: Kind {
        switch self {
        case .completedAt, .startedAt: .time
        case .status, .upstreamStatus, .bytesIn, .bytesOut, .retries, .offset: .integer
        case .latency, .upstreamLatency, .upstreamConnect, .upstreamFirstByte, .gatewayLatency:
            .seconds
        case .tags: .tags
        default: .text
        }
    }

    /// SQL of the value; null if it is absent.
    var expression: String {
        switch self {
        case .statusClass: "(status / 100)::text || 'xx'"
        case .requestID, .traceID: "encode(\(Statement.quote(rawValue)), 'hex')"
        case .logID: "log_id::text"
        default: Statement.quote(rawValue)
        }
    }

    /// SQL of the value of the first tag of a name; null if it is absent or empty. Names of tags
    /// have no characters that mean something in SQL.
    static func tagExpression(_ name: String) -> String {
        """
        (SELECT nullif(substr(t, \(name.utf8.count + 2)), '')
        FROM unnest(tags) WITH ORDINALITY AS x (t, n) WHERE starts_with(t, '\(name)=')
        ORDER BY n LIMIT 1)
        """
    }

    /// Names of all, in order.
    static let names = allCases.map(\.rawValue)

    /// What the bearer of a token sees: applications are not told how they are served.
    static func visible(to scope: TokenScope) -> [RecordColumn] {
        guard case .application = scope else { return allCases }
        return allCases.filter { $0 != .node && $0 != .upstream }
    }

    /// The value in a row of a result.
    func value(_ row: PostgresResult, _ index: Int, _ column: Int) -> Value {
        switch kind {
        case .text: row.text(index, column).map { .text($0) } ?? .null
        case .integer: row.int(index, column).map { .integer($0) } ?? .null
        case .seconds: row.int(index, column).map { .number(Double($0) / 1_000_000) } ?? .null
        case .time:
            row.timestamp(index, column).map { .text(CivilTime.precise(microseconds: $0)) }
                ?? .null
        case .tags: .null
        }
    }

    /// The tags in a row of a result.
    static func tags(_ row: PostgresResult, _ index: Int, _ column: Int) -> [String] {
        var tags: [String] = []
        row.withBytes(index, column) { bytes in
            ArrayElements.forEach(bytes) { element in
                var text: [UInt8] = []
                for place in element.indices { text.append(element[place]) }
                tags.append(String(decoding: text, as: UTF8.self))
            }
        }
        return tags
    }
}

extension CivilTime {
    /// A time as RFC 3339 in UTC with microseconds.
    static func precise(microseconds: Int64) -> String {
        let fraction = microseconds - floor(microseconds, to: 1_000_000)
        let digits = String(fraction + 1_000_000).dropFirst()
        return utc(microseconds: microseconds).dropLast() + ".\(digits)Z"
    }
}

extension RollupDefinition {
    /// Raw records, for questions that no rollup covers: everything, by the minute.
    static let records = RollupDefinition(
        name: "records",
        dimensions: Dimension.allCases.filter { $0 != .statusClass },
        tiers: [.minute],
        countsKeys: true
    )

    /// Whether this stands for raw records.
    var isOfRecords: Bool { self == .records }
}
