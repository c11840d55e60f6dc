import Postgres
import Rollups

/// A question to `/v1/records`, checked.
struct RecordsRequest: Sendable {
    /// Parameters that the endpoint knows.
    static let knownParameters = [
        "from", "to", "tz", "filter", "order", "limit", "cursor", "format",
    ]

    /// In which order records come.
    enum Order: String, CaseIterable, Sendable {
        /// Newest first.
        case newestFirst = "-completed_at"
        /// Oldest first.
        case oldestFirst = "completed_at"
    }

    /// Start of the range, microseconds since the Unix epoch.
    let from: Int64
    /// End of the range, exclusive.
    let to: Int64
    /// Conditions, ANDed.
    let filters: [RecordFilter]
    /// In which order records come.
    let order: Order
    /// Most records of the answer; nil for all, written as they are read.
    var limit: Int?
    /// The cursor of the page that is asked for; nil for the first.
    let cursor: RecordCursor?
    /// How the answer is written.
    let format: UsageRequest.Format
    /// Hash of everything that the client sent but cursor, limit and format.
    let fingerprint: UInt64

    /// Records of an answer that names no limit.
    static let limitDefault = 100

    /// Checks `parameters` of somebody who may see some fields; relative times count from `now`
    /// (microseconds since the Unix epoch).
    init(
        _ parameters: UsageParameters,
        now: Int64,
        visible: [RecordColumn]
    ) throws(Problem) {
        let values = try UsageRequest.collect(parameters, Self.knownParameters)
        let zone = try UsageRequest.zoneName(values.single["tz"])
        let passing: Set<String> = ["cursor", "limit", "format"]
        let lines = parameters.pairs.filter { !passing.contains($0.name) }
            .map { "\($0.name)=\($0.value)" }.sorted()
        fingerprint = StableHash.hash((["records"] + lines).joined(separator: "\0"))
        if let text = values.single["cursor"] {
            guard let cursor = RecordCursor(text) else {
                throw .invalid("cursor", "the cursor is damaged; send next of an answer as it was")
            }
            guard cursor.fingerprint == fingerprint else {
                throw .invalid(
                    "cursor",
                    "the cursor is not of this question; send all other parameters as for the "
                        + "first page"
                )
            }
            self.cursor = cursor
            (from, to) = (cursor.from, cursor.to)
        } else {
            cursor = nil
            from = try UsageRequest.time("from", values.single["from"] ?? "-24h", now, zone)
            to = try UsageRequest.time("to", values.single["to"] ?? "now", now, zone)
        }
        guard from < to, UsageRequest.timesAllowed.contains(from),
            UsageRequest.timesAllowed.contains(to)
        else { throw .invalid("to", "to must be later than from; swap them or widen the range") }
        guard values.filters.count <= UsageRequest.filtersMax else {
            throw .invalid("filter", "send at most \(UsageRequest.filtersMax) filters")
        }
        var filters: [RecordFilter] = []
        for text in values.filters { filters.append(try RecordFilter(text, visible)) }
        self.filters = filters
        order = try UsageRequest.named("order", values.single["order"], .newestFirst)
        format = try UsageRequest.named("format", values.single["format"], .json)
        switch values.single["limit"] {
        case nil: limit = Self.limitDefault
        case "none":
            guard format != .json, cursor == nil else {
                throw .invalid("limit", "limit=none is for csv and ndjson, without cursor")
            }
            limit = nil
        case let text?:
            guard let number = Int(text), text.utf8.first != UInt8(ascii: "+"),
                (1...UsageRequest.limitMax).contains(number)
            else {
                throw .invalid(
                    "limit",
                    "limit must be a number from 1 to \(UsageRequest.limitMax)"
                )
            }
            limit = number
        }
    }

    /// The statement for a page, and for one record more, which tells whether there is a next one;
    /// or for all records.
    func statement(_ columns: [RecordColumn], _ forced: [RecordFilter]) -> Statement {
        var statement = Statement()
        let start = statement.bind(.timestamp(from))
        let end = statement.bind(.timestamp(to))
        var conditions = [
            "completed_at >= \(start)::timestamptz", "completed_at < \(end)::timestamptz",
        ]
        if let cursor {
            let time = statement.bind(.timestamp(cursor.completedAt))
            let log = statement.bind(.uuid(high: cursor.logHigh, low: cursor.logLow))
            let offset = statement.bind(.int(cursor.offset))
            conditions.append(
                "(completed_at, log_id, \"offset\") \(order == .newestFirst ? "<" : ">") "
                    + "(\(time)::timestamptz, \(log)::uuid, \(offset)::int8)"
            )
        }
        for filter in forced + filters { conditions.append(filter.condition(&statement)) }
        let direction = order == .newestFirst ? "DESC" : "ASC"
        statement.text = """
            SELECT \(columns.map(\.expression).joined(separator: ", ")),
              r.completed_at, r.log_id, r."offset"
            FROM sluice.records r
            WHERE \(conditions.joined(separator: " AND "))
            ORDER BY r.completed_at \(direction), r.log_id \(direction),
              r."offset" \(direction)
            \(limit.map { "LIMIT \($0 + 1)" } ?? "")
            """
        return statement
    }
}

/// Where the next page of records begins: after the record with this place. As `Cursor`, opaque to
/// clients and without authority.
struct RecordCursor: Equatable, Sendable {
    /// Hash of the question that the cursor belongs to.
    var fingerprint: UInt64
    /// Start of the range, microseconds since the Unix epoch.
    var from: Int64
    /// End of the range, exclusive.
    var to: Int64
    /// When the last record of the page completed.
    var completedAt: Int64
    /// The first half of its log's id.
    var logHigh: UInt64
    /// The second half of its log's id.
    var logLow: UInt64
    /// Its offset.
    var offset: Int64
}

extension RecordCursor {
    /// The format; the first byte, another one than that of `Cursor`.
    private static let version: UInt8 = 101

    /// The text that clients send back: base64url of version, fields and a hash of them.
    var text: String {
        var writer = ByteWriter()
        writer.bytes.append(Self.version)
        for number in [
            fingerprint, UInt64(bitPattern: from), UInt64(bitPattern: to),
            UInt64(bitPattern: completedAt), logHigh, logLow, UInt64(bitPattern: offset),
        ] {
            writer.number(number)
        }
        writer.number(StableHash.hash(writer.bytes.span))
        return Base64URL.encode(writer.bytes)
    }

    /// Reads the text of a cursor; nil if it is none of ours.
    init?(_ text: String) {
        guard text.utf8.count <= 200, let bytes = Base64URL.decode(text), bytes.count == 65
        else { return nil }
        var reader = ByteReader(bytes: bytes)
        guard reader.byte() == Self.version, let fingerprint = reader.number(),
            let from = reader.number(), let to = reader.number(), let time = reader.number(),
            let high = reader.number(), let low = reader.number(), let offset = reader.number(),
            reader.number() == StableHash.hash(Array(bytes.dropLast(8)).span)
        else { return nil }
        self.init(
            fingerprint: fingerprint,
            from: Int64(bitPattern: from),
            to: Int64(bitPattern: to),
            completedAt: Int64(bitPattern: time),
            logHigh: high,
            logLow: low,
            offset: Int64(bitPattern: offset)
        )
    }
}
