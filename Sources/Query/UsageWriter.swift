import Rollups

/// Writes answers in the three formats of the contract.
package enum UsageWriter {
    /// Media type of a format.
    package static func mediaType(_ format: UsageRequest.Format) -> String {
        switch format {
        case .json: "application/json"
        case .csv: "text/csv; charset=utf-8; header=present"
        case .ndjson: "application/x-ndjson"
        }
    }

    /// The whole body of `answer` in the format that its question asks for.
    package static func body(_ answer: UsageAnswer) -> [UInt8] {
        switch answer.request.format {
        case .json: json(answer)
        case .csv: csv(answer)
        case .ndjson: ndjson(answer)
        }
    }

    private static func json(_ answer: UsageAnswer) -> [UInt8] {
        let plan = answer.plan
        var writer = JSONWriter()
        writer.beginObject()
        writer.member("from", plan.zone.text(plan.from / 1_000_000))
        writer.member("to", plan.zone.text(plan.to / 1_000_000))
        writer.member("granularity", plan.granularity.rawValue)
        writer.member("tz", plan.zone.name)
        writer.member("rollup", plan.rollup.name)
        writer.member("complete_to", answer.completeTo.map { lowerBound($0, plan.zone.name) })
        writer.member("complete_since", answer.completeSince.map { upperBound($0, plan.zone.name) })
        if answer.otherRequests > 0 {
            writer.member("other_requests", .integer(answer.otherRequests))
        }
        writer.key("rows")
        writer.beginArray()
        let labels = labels(answer)
        for row in answer.rows { write(row, answer, labels, &writer) }
        writer.endArray()
        if answer.isTruncated {
            writer.key("truncated")
            writer.value(true)
        }
        writer.member("next", .null)
        writer.endObject()
        return writer.utf8
    }

    private static func ndjson(_ answer: UsageAnswer) -> [UInt8] {
        var writer = JSONWriter()
        let labels = labels(answer)
        for row in answer.rows {
            write(row, answer, labels, &writer)
            writer.endLine()
        }
        return writer.utf8
    }

    private static func write(
        _ row: UsageAnswer.Row,
        _ answer: UsageAnswer,
        _ labels: [String],
        _ writer: inout JSONWriter
    ) {
        writer.beginObject()
        if !labels.isEmpty { writer.member("bucket", labels[row.bucket]) }
        for (dimension, value) in zip(answer.request.groupBy, row.groups) {
            writer.member(dimension.name, value)
        }
        for (metric, value) in zip(answer.request.metrics, row.metrics) {
            writer.member(metric.rawValue, value)
        }
        writer.endObject()
    }

    private static func csv(_ answer: UsageAnswer) -> [UInt8] {
        let labels = labels(answer)
        var names = labels.isEmpty && answer.plan.granularity == .total ? [] : ["bucket"]
        names += answer.request.groupBy.map(\.name) + answer.request.metrics.map(\.rawValue)
        var bytes = Array(names.joined(separator: ",").utf8)
        bytes += [0x0D, 0x0A]
        for row in answer.rows {
            var cells: [Value] = labels.isEmpty ? [] : [.text(labels[row.bucket])]
            cells += row.groups + row.metrics
            for (index, cell) in cells.enumerated() {
                if index > 0 { bytes.append(UInt8(ascii: ",")) }
                append(cell, &bytes)
            }
            bytes += [0x0D, 0x0A]
        }
        return bytes
    }

    /// One field of RFC 4180; null is empty, so an empty text would be quoted.
    private static func append(_ cell: Value, _ bytes: inout [UInt8]) {
        switch cell {
        case .null: break
        case .integer(let number): bytes += Array(String(number).utf8)
        case .number(let number): bytes += Array(number.description.utf8)
        case .text(let text):
            let special: Set<UInt8> = [0x0A, 0x0D, UInt8(ascii: "\""), UInt8(ascii: ",")]
            guard text.isEmpty || text.utf8.contains(where: special.contains) else {
                bytes += Array(text.utf8)
                return
            }
            bytes.append(UInt8(ascii: "\""))
            for byte in text.utf8 {
                if byte == UInt8(ascii: "\"") { bytes.append(byte) }
                bytes.append(byte)
            }
            bytes.append(UInt8(ascii: "\""))
        }
    }

    /// The text of every bucket's start; none for `total`.
    private static func labels(_ answer: UsageAnswer) -> [String] {
        answer.plan.buckets.starts.map { answer.plan.zone.text($0) }
    }

    /// Whole seconds before a time up to which something holds.
    static func lowerBound(_ microseconds: Int64, _ zoneName: String) -> String {
        text(CivilTime.floorDivide(microseconds, 1_000_000), zoneName)
    }

    /// Whole seconds after a time from which something holds.
    static func upperBound(_ microseconds: Int64, _ zoneName: String) -> String {
        text(CivilTime.floorDivide(microseconds + 999_999, 1_000_000), zoneName)
    }

    private static func text(_ seconds: Int64, _ zoneName: String) -> String {
        // The zone of the plan knows only the offsets around its range.
        Zone(zoneName, from: seconds, to: seconds)?.text(seconds)
            ?? CivilTime.text(local: seconds, offset: 0, isUTC: true)
    }
}
