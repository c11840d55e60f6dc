package import Records

/// What became of the offsets of one log on the way to one sink, as `/v1/ledger` tells it.
package struct SinkLedger: Sendable {
    /// The sink's name.
    package let sink: String
    /// The log.
    package let log: LogID
    /// Counts by name: `appended`, then those that add up to it, then `unaccounted`.
    package let counts: [(name: String, count: Int64)]

    /// A sink's account of a log.
    package init(sink: String, log: LogID, counts: [(name: String, count: Int64)]) {
        self.sink = sink
        self.log = log
        self.counts = counts
    }

    /// Writes it as an object.
    func write(_ writer: inout JSONWriter) {
        writer.beginObject()
        writer.member("sink", sink)
        writer.member("log_id", log.description)
        for (name, count) in counts { writer.member(name, .integer(count)) }
        writer.endObject()
    }
}
