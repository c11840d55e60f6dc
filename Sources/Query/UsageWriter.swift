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
        if answer.request.format == .json { return json(answer) }
        var bytes = head(answer)
        let labels = labels(answer)
        for index in answer.rows.indices {
            line(answer.rows[index], answer.comparison?.metrics[index], answer, labels, &bytes)
        }
        return bytes
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
        if let comparison = answer.comparison {
            writer.key("compare")
            writer.beginObject()
            writer.member("from", text(comparison.from / 1_000_000, plan.zone.name))
            writer.member("to", text(comparison.to / 1_000_000, plan.zone.name))
            writer.endObject()
        }
        if let whole = answer.whole {
            writer.member("groups", .integer(Int64(whole.groups)))
            writer.key("total")
            writer.beginObject()
            for (metric, value) in zip(answer.request.metrics, whole.metrics) {
                writer.member(metric.rawValue, value)
            }
            writer.endObject()
        }
        writer.key("rows")
        writer.beginArray()
        let labels = labels(answer)
        for index in answer.rows.indices {
            let earlier = answer.comparison?.metrics[index]
            write(answer.rows[index], earlier, answer, labels, &writer)
        }
        writer.endArray()
        if answer.next != nil {
            writer.key("truncated")
            writer.value(true)
        }
        writer.member("next", answer.next?.text)
        writer.endObject()
        return writer.utf8
    }

    /// What comes before the rows: the header line of CSV, else nothing.
    static func head(_ answer: UsageAnswer) -> [UInt8] {
        let request = answer.request
        guard request.format == .csv else { return [] }
        var names = answer.plan.granularity == .total ? [] : ["bucket"]
        names += request.groupBy.map(\.name) + request.metrics.map(\.rawValue)
        if request.comparison != nil { names += request.metrics.map(\.nameOfEarlier) }
        return Array(names.joined(separator: ",").utf8) + [0x0D, 0x0A]
    }

    /// Appends a row as a line of CSV or NDJSON.
    ///
    /// - Parameters:
    ///   - row: The row.
    ///   - earlier: Its metrics in the window that it is compared with.
    ///   - answer: The question and its plan.
    ///   - labels: The texts of the buckets.
    ///   - bytes: Where the line goes.
    static func line(
        _ row: UsageAnswer.Row,
        _ earlier: [Value]?,
        _ answer: UsageAnswer,
        _ labels: [String],
        _ bytes: inout [UInt8]
    ) {
        if answer.request.format == .ndjson {
            var writer = JSONWriter()
            write(row, earlier, answer, labels, &writer)
            writer.endLine()
            bytes += writer.utf8
            return
        }
        var cells: [Value] = labels.isEmpty ? [] : [.text(labels[row.bucket])]
        cells += row.groups + row.metrics + (earlier ?? [])
        for (index, cell) in cells.enumerated() {
            if index > 0 { bytes.append(UInt8(ascii: ",")) }
            append(cell, &bytes)
        }
        bytes += [0x0D, 0x0A]
    }

    private static func write(
        _ row: UsageAnswer.Row,
        _ earlier: [Value]?,
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
        for (metric, value) in zip(answer.request.metrics, earlier ?? []) {
            writer.member(metric.nameOfEarlier, value)
        }
        writer.endObject()
    }

    /// One field of RFC 4180; null is empty, so an empty text would be quoted.
    static func append(_ cell: Value, _ bytes: inout [UInt8]) {
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
    static func labels(_ answer: UsageAnswer) -> [String] {
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

extension Metric {
    /// The name of the column that has the metric of the window compared with.
    var nameOfEarlier: String { rawValue + "_previous" }
}
