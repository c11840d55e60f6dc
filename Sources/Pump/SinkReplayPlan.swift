import EventLog
import FileIO
import Records

/// What a replay into a sink looks at, how far it has come, and what it did: the contents of its
/// file, `replay/<sink>` in the data directory, which lets the next process go on.
///
/// Text, one line each: `sluice-sink-replay 1 <from> <to>`, a line `log <id> <start> <next> <limit>
/// <end>` for each log, `counts …`, and the CRC32C of all lines before it.
struct SinkReplayPlan: Equatable {
    /// One log.
    struct Log: Equatable {
        let id: LogID
        /// The first offset that was there.
        let start: UInt64
        /// Everything below is done.
        var next: UInt64
        /// From here on the pump has not delivered, and will.
        let limit: UInt64
        /// Where the log ended when the replay began.
        let end: UInt64
    }

    /// Records that completed at or after this, µs since the epoch.
    let from: Int64
    /// Records that completed before this; nil when there is no such bound.
    let to: Int64?
    /// In the order in which they are read.
    var logs: [Log] = []
    var counts = SinkReplayCounts()

    private static let magic = "sluice-sink-replay 1"

    /// Offsets that are done.
    var done: UInt64 { logs.reduce(0) { $0 + $1.next - $1.start } }
    /// All offsets.
    var total: UInt64 { logs.reduce(0) { $0 + $1.end - $1.start } }

    /// A plan of nothing.
    init(from: Int64, to: Int64?) {
        self.from = from
        self.to = to
    }

    /// The file.
    var bytes: [UInt8] {
        var text = "\(Self.magic) \(from) \(to.map(String.init) ?? "-")\n"
        for log in logs {
            text += "log \(log.id) \(log.start) \(log.next) \(log.limit) \(log.end)\n"
        }
        text += "counts " + counts.values.map(String.init).joined(separator: " ") + "\n"
        let sum = Checksum.crc32c(Array(text.utf8))
        return Array((text + String(sum, radix: 16) + "\n").utf8)
    }

    /// Reads a file; nil when it is damaged.
    init?(_ bytes: [UInt8]) {
        let text = String(decoding: bytes, as: UTF8.self)
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        guard lines.count >= 4, lines.last == "",
            let sum = UInt32(lines[lines.count - 2], radix: 16)
        else { return nil }
        let body = lines.dropLast(2).map { $0 + "\n" }.joined()
        guard Checksum.crc32c(Array(body.utf8)) == sum else { return nil }
        let head = lines[0].split(separator: " ")
        guard head.count == 4, head[0] + " " + head[1] == Self.magic, let from = Int64(head[2])
        else { return nil }
        self.init(from: from, to: Int64(head[3]))
        for line in lines.dropFirst().dropLast(2) {
            let fields = line.split(separator: " ")
            let numbers = fields.compactMap { UInt64($0) }
            if fields.first == "log", fields.count == 6, let id = LogID(String(fields[1])),
                let start = UInt64(fields[2]), let next = UInt64(fields[3]),
                let limit = UInt64(fields[4]), let end = UInt64(fields[5]),
                start <= next, next <= end, limit <= end
            {
                logs.append(Log(id: id, start: start, next: next, limit: limit, end: end))
            } else if fields.first == "counts", numbers.count + 1 == fields.count,
                let counts = SinkReplayCounts(numbers)
            {
                self.counts = counts
            } else {
                return nil
            }
        }
    }
}

/// What a replay into a sink did.
package struct SinkReplayCounts: Equatable, Sendable {
    /// Records that the sink took.
    package var delivered: UInt64 = 0
    /// Records that the destination had already.
    package var present: UInt64 = 0
    /// Records that the sink will never take.
    package var rejected: UInt64 = 0
    /// Records that the pump has not delivered yet, and will.
    package var pending: UInt64 = 0
    /// Offsets without records, of which a transport was told.
    package var skipped: UInt64 = 0
    /// Offsets that were deleted before, of records that may have been of the range.
    package var deleted: UInt64 = 0
    /// Offsets that could not be read, whether damaged or deleted meanwhile.
    package var unreadable: UInt64 = 0

    /// Nothing.
    package init() {}

    /// The numbers in their order in the file.
    fileprivate var values: [UInt64] {
        [delivered, present, rejected, pending, skipped, deleted, unreadable]
    }

    /// Numbers of a file; nil when there are more or fewer.
    fileprivate init?(_ values: [UInt64]) {
        guard values.count == 7 else { return nil }
        delivered = values[0]
        present = values[1]
        rejected = values[2]
        pending = values[3]
        skipped = values[4]
        deleted = values[5]
        unreadable = values[6]
    }

    /// Adds what was done besides.
    static func += (left: inout SinkReplayCounts, right: SinkReplayCounts) {
        left.delivered += right.delivered
        left.present += right.present
        left.rejected += right.rejected
        left.pending += right.pending
        left.skipped += right.skipped
        left.deleted += right.deleted
        left.unreadable += right.unreadable
    }
}
