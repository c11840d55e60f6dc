import Postgres
import Records
import Rollups

/// How a request's record becomes a row of `sluice.records`.
enum RecordRow {
    /// The columns, in the order in which they are copied.
    static let columns = [
        "completed_at", "log_id", "\"offset\"", "started_at", "org", "api", "version", "route",
        "method", "scheme", "host", "path", "query", "status", "outcome", "error", "latency",
        "upstream", "upstream_status", "upstream_latency", "upstream_connect",
        "upstream_first_byte", "gateway_latency", "bytes_in", "bytes_out", "application", "key",
        "developer", "plan", "node", "region", "client_ip", "country", "platform", "user_agent",
        "user_agent_string", "cache", "retries", "request_id", "trace_id", "tags",
    ]

    /// The statement that takes the rows.
    static let copy =
        "COPY sluice.records (\(columns.joined(separator: ", "))) FROM STDIN (FORMAT binary)"

    /// Writes the row of a record.
    static func write(
        _ view: RecordView,
        _ bytes: RawSpan,
        at offset: Offset,
        of log: LogID,
        to writer: inout CopyWriter
    ) throws(PostgresError) {
        let octets = bytes.octets
        try writer.row(columns: columns.count)
        writer.timestamp(view.completedAt)
        writer.uuid(high: log.high, low: log.low)
        writer.int64(Int64(clamping: offset.rawValue))
        if timesKnown.contains(view.startedAt) {
            writer.timestamp(view.startedAt)
        } else {
            writer.null()
        }
        for range in [
            view.org, view.api, view.apiVersion, view.route, view.method, view.scheme, view.host,
            view.path, view.query,
        ] {
            writer.optionalText(octets, range)
        }
        if view.knownStatus > 0 {
            writer.int16(Int16(truncatingIfNeeded: view.knownStatus))  // three digits
        } else {
            writer.null()
        }
        writer.optionalText(view.outcome == .unspecified ? nil : view.outcome.name)
        switch view.errorKind {
        case .none: writer.null()
        case .client: writer.text("client")
        case .server: writer.text("server")
        }
        writer.optionalInt64(view.durationUS)
        writer.optionalText(octets, view.upstreamAddress)
        if let status = view.upstreamStatus {
            writer.int32(Int32(clamping: status))
        } else {
            writer.null()
        }
        writer.optionalInt64(view.upstreamDurationUS)
        writer.optionalInt64(view.upstreamConnectUS)
        writer.optionalInt64(view.upstreamFirstByteUS)
        writer.optionalInt64(view.gatewayDurationUS)
        writer.int64(Int64(clamping: view.requestBytes))
        writer.int64(Int64(clamping: view.responseBytes))
        for range in [
            view.application, view.keyID, view.developer, view.plan, view.node, view.region,
            view.clientIP, view.country, view.platform, view.userAgentFamily, view.userAgent,
            view.cacheResult,
        ] {
            writer.optionalText(octets, range)
        }
        writer.int32(Int32(clamping: view.retryCount))
        writer.optionalBytes(octets, view.requestID)
        writer.optionalBytes(octets, view.traceID)
        writeTags(view, bytes, to: &writer)
    }

    /// Starts from 1970 on that PostgreSQL can store; a record need not say when it started.
    private static let timesKnown: ClosedRange<Int64> = 1...253_402_300_799_000_000

    /// Writes the tags as `text[]` of `name=value`, null if there are none.
    private static func writeTags(
        _ view: RecordView,
        _ bytes: RawSpan,
        to writer: inout CopyWriter
    ) {
        var count: UInt32 = 0
        var elements: [UInt8] = []
        view.forEachTag(in: bytes) { key, value in
            let text = "\(view.text(key, in: bytes))=\(view.text(value, in: bytes))"
            let stored = TextRepair.repaired(text.utf8.span)
            elements.append(bigEndian: UInt32(truncatingIfNeeded: stored.count))
            elements += stored
            count += 1
        }
        guard count > 0 else { return writer.null() }
        var array: [UInt8] = []
        // One dimension, no nulls, type text, so many elements from 1.
        for number in [1, 0, PostgresType.text, count, 1] { array.append(bigEndian: number) }
        writer.bytes(array + elements)
    }
}

extension [UInt8] {
    /// Appends a number, most significant byte first.
    fileprivate mutating func append(bigEndian number: UInt32) {
        for shift: UInt32 in [24, 16, 8, 0] { append(UInt8(truncatingIfNeeded: number >> shift)) }
    }
}

extension CopyWriter {
    /// A text, null if it is absent.
    fileprivate mutating func optionalText(_ octets: Span<UInt8>, _ range: ByteRange) {
        if range.isEmpty { null() } else { text(octets.extracting(range.range)) }
    }

    /// A text, null if it is absent.
    fileprivate mutating func optionalText(_ content: String?) {
        if let content { text(content) } else { null() }
    }

    /// Bytes, null if they are absent.
    fileprivate mutating func optionalBytes(_ octets: Span<UInt8>, _ range: ByteRange) {
        if range.isEmpty { null() } else { bytes(octets.extracting(range.range)) }
    }

    /// A number, null if it is not known.
    fileprivate mutating func optionalInt64(_ number: UInt64?) {
        if let number { int64(Int64(clamping: number)) } else { null() }
    }
}
