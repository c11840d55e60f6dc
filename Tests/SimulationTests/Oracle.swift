import EventLog
import Records
import Rollups
import Sinks

/// What the checker found wrong, by the number of the invariant in `docs/reliability.md`.
struct Violation: Error, CustomStringConvertible {
    let invariant: Int
    let text: String

    var description: String { "invariant \(invariant): \(text)" }
}

/// What stands at an offset of a log.
enum Entry: Equatable {
    case request(Request)
    /// A record that must go to the dead letters.
    case bad
    /// A log's first record, or a heartbeat.
    case marker
}

/// What a request adds to the rollups.
struct Request: Equatable {
    let completedAt: Int64
    let api: String
    let bytes: Int64
    let latency: Int64
}

/// Sums over requests.
struct Totals: Equatable, CustomStringConvertible {
    var requests: Int64 = 0
    var bytes: Int64 = 0
    var latency: Int64 = 0

    var description: String { "\(requests) requests, \(bytes) bytes, \(latency) us" }

    mutating func add(_ request: Request) {
        requests += 1
        bytes += request.bytes
        latency += request.latency
    }
}

/// What ought to be: plain sets of offsets.
struct Oracle {
    /// Every offset that was ever assigned.
    private(set) var entries: [LogID: [UInt64: Entry]] = [:]
    /// The records that the broker has ever acknowledged, and a hash of their bytes.
    private(set) var arrived: [LogID: [UInt64: UInt64]] = [:]
    /// The offsets without records of which the broker was ever told.
    private(set) var skipped: [LogID: Set<UInt64>] = [:]
    /// The ends of which the broker was ever told.
    private(set) var ended: Set<LogID> = []
    /// Up to where all offsets of a log have arrived.
    private var contiguous: [LogID: UInt64] = [:]

    /// An offset is assigned once, whatever was restored or copied.
    mutating func assign(_ log: LogID, _ offset: UInt64, _ entry: Entry) throws {
        guard entries[log]?[offset] == nil else {
            throw Violation(invariant: 2, text: "\(log) \(offset) was assigned twice")
        }
        entries[log, default: [:]][offset] = entry
    }

    /// A record came to the broker.
    mutating func arrive(_ log: LogID, _ offset: UInt64, _ bytes: [UInt8]) throws {
        guard entries[log]?[offset] != nil else {
            throw Violation(invariant: 2, text: "\(log) \(offset) was never assigned")
        }
        let hash = StableHash.hash(bytes.span)
        if let before = arrived[log]?[offset], before != hash {
            throw Violation(invariant: 2, text: "\(log) \(offset) names two records")
        }
        arrived[log, default: [:]][offset] = hash
    }

    /// A skip marker came to the broker; what has come as a record has no other fate.
    mutating func skip(_ log: LogID, _ range: Range<UInt64>, _ reason: SkipReason) throws {
        if let offset = range.first(where: { arrived[log]?[$0] != nil }) {
            throw Violation(
                invariant: 4,
                text: "\(log) \(offset) is \(reason.rawValue) now, and came as a record before"
            )
        }
        skipped[log, default: []].formUnion(range)
    }

    /// An end marker came to the broker.
    mutating func end(_ log: LogID) { ended.insert(log) }

    /// Whether the broker has a record or a reason.
    func isKnown(_ log: LogID, _ offset: UInt64) -> Bool {
        arrived[log]?[offset] != nil || skipped[log]?.contains(offset) == true
    }

    /// Up to where all offsets of a log have arrived.
    mutating func firstMissing(_ log: LogID) -> UInt64 {
        var offset = contiguous[log] ?? 0
        while isKnown(log, offset) { offset += 1 }
        contiguous[log] = offset
        return offset
    }

    /// What stands at an offset, as the broker was told.
    func told(_ log: LogID, _ offset: UInt64) -> Entry? {
        guard skipped[log]?.contains(offset) != true else { return nil }
        return entries[log]?[offset]
    }
}
