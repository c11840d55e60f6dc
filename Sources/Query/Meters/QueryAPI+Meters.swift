import Postgres

extension QueryAPI {
    /// Answers which meters there are: all for admins, for others those with something of theirs.
    func meters(_ request: APIRequest) async throws(Problem) -> APIReply {
        let scope = try await access.scope(authorization: request.authorization)
        let list = MeterList(
            meters: configuration.meters,
            quotas: configuration.quotas,
            scope: scope,
            now: now(),
            includesOpen: try MeterList.includesOpen(request.query),
            engine: engine
        )
        let body = try await database.read(as: scope) { connection throws(QueryFailure) in
            try list.body(connection)
        }
        return APIReply("application/json", body)
    }

    /// Answers the quantities of a meter's closed periods.
    func meter(_ request: APIRequest) async throws(Problem) -> APIReply {
        let scope = try await access.scope(authorization: request.authorization)
        let name = String(request.path.dropFirst(Endpoint.meter.rawValue.count))
        let question = try MeterQuestion(
            try UsageParameters(query: request.query),
            now: now()
        )
        let body = try await database.read(as: scope) { connection throws(QueryFailure) in
            try Self.meter(name, question, connection)
        }
        return APIReply(UsageWriter.mediaType(question.format), body)
    }

    private static func meter(
        _ name: String,
        _ question: MeterQuestion,
        _ connection: PostgresConnection
    ) throws(QueryFailure) -> [UInt8] {
        let meter: PostgresResult
        let rows: PostgresResult
        do throws(PostgresError) {
            meter = try connection.query(
                "SELECT zone, closed_to FROM sluice.meter WHERE name = $1::text",
                [.text(name)]
            )
            let statement = question.statement(name)
            rows = try connection.query(statement.text, statement.parameters)
        } catch { throw .database(error) }
        guard meter.rowCount == 1 else {
            throw .problem(
                Problem(.notFound, "there is no meter of this name; /v1/meters lists them")
            )
        }
        guard rows.rowCount <= MeterQuestion.rowsMax else {
            throw .problem(
                Problem(
                    .tooCostly,
                    "the answer has more than \(MeterQuestion.rowsMax) rows; narrow from and to",
                    parameter: "from"
                )
            )
        }
        var times: [Int64: String] = [:]
        let amounts = (0..<rows.rowCount).map { StoredAmount(rows, $0, &times) }
        return MeterWriter.body(
            name,
            closedTo: meter.timestamp(0, 1).map {
                UsageWriter.lowerBound($0, meter.text(0, 0) ?? "UTC")
            },
            amounts,
            question.format
        )
    }
}

/// A question to `/v1/meters/{name}`, checked.
struct MeterQuestion: Sendable {
    /// Parameters that the endpoint knows.
    static let knownParameters = ["from", "to", "tz", "revision", "format"]

    /// Most rows of an answer; chosen: 20 MB.
    static let rowsMax = 100_000

    /// Which rows are asked for.
    enum Revision: Equatable, Sendable {
        /// The latest row of everybody.
        case latest
        /// Every row of every revision.
        case all
        /// Everybody's row as of this revision.
        case number(Int64)
    }

    /// Periods that end after this, microseconds since the Unix epoch; nil for all.
    let from: Int64?
    /// Periods that start before this.
    let to: Int64?
    /// Which rows.
    let revision: Revision
    /// How the answer is written.
    let format: UsageRequest.Format

    /// Checks `parameters`; relative times count from `now` (microseconds since the Unix epoch).
    init(_ parameters: UsageParameters, now: Int64) throws(Problem) {
        let values = try UsageRequest.collect(parameters, Self.knownParameters)
        let zone = try UsageRequest.zoneName(values.single["tz"])
        func time(_ name: String) throws(Problem) -> Int64? {
            guard let text = values.single[name] else { return nil }
            let time = try UsageRequest.time(name, text, now, zone)
            guard UsageRequest.timesAllowed.contains(time) else {
                throw .invalid(name, "\(name) lies outside the years 1 to 9999")
            }
            return time
        }
        from = try time("from")
        to = try time("to")
        switch values.single["revision"] ?? "latest" {
        case "latest": revision = .latest
        case "all": revision = .all
        case let text:
            guard let number = Int64(text), (1...Int64(Int32.max)).contains(number),
                text.utf8.first != UInt8(ascii: "+")
            else {
                throw .invalid("revision", "write latest, all, or the number of a revision")
            }
            revision = .number(number)
        }
        format = try UsageRequest.named("format", values.single["format"], .json)
    }

    /// The statement for the rows, in the order of the answer.
    func statement(_ meter: String) -> Statement {
        var statement = Statement()
        var conditions = ["meter = \(statement.bind(.text(meter)))::text"]
        if let from {
            conditions.append("ends_at > \(statement.bind(.timestamp(from)))::timestamptz")
        }
        if let to {
            conditions.append("starts_at < \(statement.bind(.timestamp(to)))::timestamptz")
        }
        if case .number(let number) = revision {
            conditions.append("revision <= \(statement.bind(.int(number)))::int8")
        }
        let order = "starts_at, org COLLATE \"C\", application COLLATE \"C\""
        let distinct = revision == .all ? "" : "DISTINCT ON (\(order))"
        statement.text = """
            SELECT \(distinct) org, application, meter, starts_at, ends_at, zone, revision::int8,
              made_at, quantity, unit, correction, is_estimate
            FROM sluice.meter_amount WHERE \(conditions.joined(separator: " AND "))
            ORDER BY \(order), revision \(revision == .all ? "" : "DESC")
            LIMIT \(Self.rowsMax + 1)
            """
        return statement
    }
}

/// A row of `sluice.meter_amount` as answers show it.
struct StoredAmount: Sendable {
    /// Names of the columns.
    static let columns = [
        "application", "org", "meter", "period_start", "period_end", "tz", "revision", "quantity",
        "unit", "correction", "estimate", "made_at",
    ]

    /// The values of the columns; quantities in seconds are texts, for they are exact.
    let values: [Value]

    /// The row `row` of a result of `MeterQuestion.statement`; `times` are the texts of times in
    /// the one zone of the meter, of which there are few.
    init(_ result: PostgresResult, _ row: Int, _ times: inout [Int64: String]) {
        func text(_ column: Int) -> Value { result.text(row, column).map { .text($0) } ?? .null }
        let zone = result.text(row, 5) ?? "UTC"
        func time(_ column: Int) -> Value {
            guard let time = result.timestamp(row, column) else { return .null }
            let text = times[time] ?? UsageWriter.lowerBound(time, zone)
            times[time] = text
            return .text(text)
        }
        let isDuration = result.text(row, 9) == "seconds"
        func quantity(_ column: Int) -> Value {
            let number = result.int(row, column) ?? 0
            return isDuration ? .text(Self.seconds(microseconds: number)) : .integer(number)
        }
        values = [
            text(1), text(0), text(2), time(3), time(4), .text(zone),
            .integer(result.int(row, 6) ?? 0), quantity(8), text(9), quantity(10),
            .text(result.bool(row, 11) == true ? "yes" : "no"), time(7),
        ]
    }

    /// A duration in seconds as a decimal number with six digits after the point.
    static func seconds(microseconds: Int64) -> String {
        let magnitude = microseconds.magnitude
        let digits = String(magnitude % 1_000_000 + 1_000_000).dropFirst()
        return (microseconds < 0 ? "-" : "") + "\(magnitude / 1_000_000).\(digits)"
    }
}

/// Writes the answers of `/v1/meters/{name}`.
enum MeterWriter {
    /// The whole body.
    static func body(
        _ name: String,
        closedTo: String?,
        _ rows: [StoredAmount],
        _ format: UsageRequest.Format
    ) -> [UInt8] {
        switch format {
        case .csv:
            var bytes = Array(StoredAmount.columns.joined(separator: ",").utf8) + [0x0D, 0x0A]
            for row in rows {
                for (index, value) in row.values.enumerated() {
                    if index > 0 { bytes.append(UInt8(ascii: ",")) }
                    UsageWriter.append(value, &bytes)
                }
                bytes += [0x0D, 0x0A]
            }
            return bytes
        case .ndjson:
            var writer = JSONWriter()
            for row in rows {
                write(row, &writer)
                writer.endLine()
            }
            return writer.utf8
        case .json:
            var writer = JSONWriter()
            writer.beginObject()
            writer.member("name", name)
            writer.member("closed_to", closedTo)
            writer.key("rows")
            writer.beginArray()
            for row in rows { write(row, &writer) }
            writer.endArray()
            writer.endObject()
            return writer.utf8
        }
    }

    private static func write(_ row: StoredAmount, _ writer: inout JSONWriter) {
        writer.beginObject()
        let isDuration = row.values[8] == .text("seconds")
        for (name, value) in zip(StoredAmount.columns, row.values) {
            switch (name, value) {
            case ("quantity", .text(let text)), ("correction", .text(let text)):
                // A decimal number is a JSON number as it stands.
                writer.key(name)
                writer.raw(isDuration ? text : "0")
            case ("estimate", _):
                writer.key(name)
                writer.value(value == .text("yes"))
            default: writer.member(name, value)
            }
        }
        writer.endObject()
    }
}
