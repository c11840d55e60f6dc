import Postgres
import Rollups

extension QueryAPI {
    /// Answers a page of raw records, or all of them.
    func records(_ request: APIRequest) async throws(Problem) -> APIReply {
        let scope = try await access.scope(authorization: request.authorization)
        let columns = RecordColumn.visible(to: scope)
        let question = try RecordsRequest(
            try await parameters(request),
            now: now(),
            visible: columns
        )
        if question.limit == nil { return try await export(question, columns, scope) }
        return try await database.read { connection throws(QueryFailure) in
            let forced = try Self.forced(scope)
            let statement = question.statement(columns, forced)
            let (freshness, rows) = try Self.read(statement, scope, connection)
            return Self.reply(question, columns, freshness, rows)
        }
    }

    /// Answers one raw record, by the path's log id and offset.
    func record(_ request: APIRequest) async throws(Problem) -> APIReply {
        let scope = try await access.scope(authorization: request.authorization)
        guard request.query.isEmpty else {
            throw Problem(.unknownParameter, "\(request.path) takes no parameters; leave them out")
        }
        let parts = request.path.dropFirst(Endpoint.record.rawValue.count)
            .split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2, Self.isUUID(parts[0]), let offset = Int64(parts[1]), offset >= 0
        else {
            throw Problem(
                .notFound,
                "a record's path is /v1/records/{log_id}/{offset}, as in the rows of /v1/records"
            )
        }
        let log = String(parts[0])
        let columns = RecordColumn.visible(to: scope)
        return try await database.read { connection throws(QueryFailure) in
            var statement = Statement()
            var conditions = [
                "log_id = \(statement.bind(.text(log)))::uuid",
                "\"offset\" = \(statement.bind(.int(offset)))",
            ]
            for filter in try Self.forced(scope) {
                conditions.append(filter.condition(&statement))
            }
            statement.text = """
                SELECT \(columns.map(\.expression).joined(separator: ", "))
                FROM sluice.records WHERE \(conditions.joined(separator: " AND ")) LIMIT 1
                """
            let (_, rows) = try Self.read(statement, scope, connection)
            guard rows.rowCount == 1 else {
                throw .problem(
                    Problem(
                        .notFound,
                        "no record of this log has this offset, or it is no longer kept"
                    )
                )
            }
            var writer = JSONWriter()
            Self.write(rows, 0, columns, &writer)
            return APIReply("application/json", writer.utf8)
        }
    }

    /// Answers with every record, written as it is read, in one snapshot.
    private func export(
        _ question: RecordsRequest,
        _ columns: [RecordColumn],
        _ scope: TokenScope
    ) async throws(Problem) -> APIReply {
        // A refusal must come before the first byte.
        let since = try await database.read(as: scope) { connection throws(QueryFailure) in
            _ = try Self.forced(scope)
            return try Self.freshness(connection).recordsSinceText
        }
        var reply = APIReply(UsageWriter.mediaType(question.format))
        if let since { reply.headers.append(("Sluice-Complete-Since", since)) }
        let database = database
        reply.stream = ExportStream { channel in
            try await database.export { connection throws(QueryFailure) in
                let statement = question.statement(columns, try Self.forced(scope))
                try connection.beginReading(as: scope)
                defer { connection.rollback() }
                try Self.export(statement, columns, question.format, connection, channel)
            }
        }
        return reply
    }

    /// Sends the records that a statement finds into a channel, one in memory at a time.
    private static func export(
        _ statement: Statement,
        _ columns: [RecordColumn],
        _ format: UsageRequest.Format,
        _ connection: PostgresConnection,
        _ channel: ExportChannel
    ) throws(QueryFailure) {
        var pieces = ExportPieces(channel)
        if format == .csv { pieces.bytes += head(columns) }
        do throws(PostgresError) {
            try connection.forEachRow(statement.text, statement.parameters) {
                row throws(PostgresError) in
                if format == .csv {
                    line(row, 0, columns, &pieces.bytes)
                } else {
                    var writer = JSONWriter()
                    write(row, 0, columns, &writer)
                    writer.endLine()
                    pieces.bytes += writer.utf8
                }
                pieces.sendIfLong()
                if pieces.isAbandoned { throw ExportPieces.abandoned }
            }
        } catch {
            guard error != ExportPieces.abandoned else { return }
            throw .database(error)
        }
        pieces.send()
    }

    /// The header line of CSV.
    private static func head(_ columns: [RecordColumn]) -> [UInt8] {
        Array(columns.map(\.rawValue).joined(separator: ",").utf8) + [0x0D, 0x0A]
    }

    /// The conditions that every question of this scope gets.
    private static func forced(_ scope: TokenScope) throws(QueryFailure) -> [RecordFilter] {
        var forced: [RecordFilter] = []
        for filter in try scope.filters {
            do throws(Problem) {
                forced.append(try RecordFilter(filter))
            } catch { throw .problem(error) }
        }
        return forced
    }

    /// The state of the data and what a statement finds, in one snapshot.
    private static func read(
        _ statement: Statement,
        _ scope: TokenScope,
        _ connection: PostgresConnection
    ) throws(QueryFailure) -> (Freshness, PostgresResult) {
        try connection.beginReading(as: scope)
        defer { connection.rollback() }
        let freshness = try freshness(connection)
        do throws(PostgresError) {
            return (freshness, try connection.query(statement.text, statement.parameters))
        } catch { throw .database(error) }
    }

    /// The state of the data; refuses where no records are kept.
    private static func freshness(
        _ connection: PostgresConnection
    ) throws(QueryFailure) -> Freshness {
        let freshness = try Freshness(connection)
        guard freshness.recordsSince != nil else {
            throw .problem(
                Problem(
                    .notCovered,
                    "raw records are not kept; say how long in the configuration of the "
                        + "aggregators: records: { retain: 3d }"
                )
            )
        }
        return freshness
    }

    private static func reply(
        _ question: RecordsRequest,
        _ columns: [RecordColumn],
        _ freshness: Freshness,
        _ rows: PostgresResult
    ) -> APIReply {
        let count = min(rows.rowCount, question.limit ?? .max)
        let next = rows.rowCount > count ? cursor(question, rows, count - 1, columns.count) : nil
        var bytes: [UInt8] = []
        switch question.format {
        case .json:
            var writer = JSONWriter()
            writer.beginObject()
            writer.member("from", CivilTime.precise(microseconds: question.from))
            writer.member("to", CivilTime.precise(microseconds: question.to))
            writer.member("complete_since", freshness.recordsSinceText)
            writer.member(
                "complete_to",
                freshness.completeTo.map { CivilTime.utc(microseconds: $0) }
            )
            writer.key("rows")
            writer.beginArray()
            for row in 0..<count { write(rows, row, columns, &writer) }
            writer.endArray()
            if next != nil {
                writer.key("truncated")
                writer.value(true)
            }
            writer.member("next", next?.text)
            writer.endObject()
            bytes = writer.utf8
        case .ndjson:
            var writer = JSONWriter()
            for row in 0..<count {
                write(rows, row, columns, &writer)
                writer.endLine()
            }
            bytes = writer.utf8
        case .csv:
            bytes = head(columns)
            for row in 0..<count { line(rows, row, columns, &bytes) }
        }
        var reply = APIReply(UsageWriter.mediaType(question.format), bytes)
        if let next {
            reply.headers.append(("Sluice-Truncated", "true"))
            reply.headers.append(("Sluice-Next", next.text))
        }
        if let since = freshness.recordsSinceText {
            reply.headers.append(("Sluice-Complete-Since", since))
        }
        return reply
    }

    private static func cursor(
        _ question: RecordsRequest,
        _ rows: PostgresResult,
        _ row: Int,
        _ column: Int
    ) -> RecordCursor? {
        guard let time = rows.timestamp(row, column), let log = rows.uuid(row, column + 1),
            let offset = rows.int(row, column + 2)
        else { return nil }
        return RecordCursor(
            fingerprint: question.fingerprint,
            from: question.from,
            to: question.to,
            completedAt: time,
            logHigh: log.high,
            logLow: log.low,
            offset: offset
        )
    }

    private static func write(
        _ rows: PostgresResult,
        _ row: Int,
        _ columns: [RecordColumn],
        _ writer: inout JSONWriter
    ) {
        writer.beginObject()
        for (index, column) in columns.enumerated() {
            if column.kind == .tags {
                writer.member(column.rawValue, RecordColumn.tags(rows, row, index))
            } else {
                writer.member(column.rawValue, column.value(rows, row, index))
            }
        }
        writer.endObject()
    }

    private static func line(
        _ rows: PostgresResult,
        _ row: Int,
        _ columns: [RecordColumn],
        _ bytes: inout [UInt8]
    ) {
        for (index, column) in columns.enumerated() {
            if index > 0 { bytes.append(UInt8(ascii: ",")) }
            if column.kind == .tags {
                let tags = RecordColumn.tags(rows, row, index)
                UsageWriter.append(
                    tags.isEmpty ? .null : .text(tags.joined(separator: "\n")),
                    &bytes
                )
            } else {
                UsageWriter.append(column.value(rows, row, index), &bytes)
            }
        }
        bytes += [0x0D, 0x0A]
    }

    /// Whether a text is a UUID as the rows have it.
    private static func isUUID(_ text: Substring) -> Bool {
        let bytes = Array(text.utf8)
        guard bytes.count == 36 else { return false }
        return bytes.enumerated().allSatisfy { place, byte in
            if [8, 13, 18, 23].contains(place) { return byte == UInt8(ascii: "-") }
            return switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "f"),
                UInt8(ascii: "A")...UInt8(ascii: "F"):
                true
            default: false
            }
        }
    }
}
