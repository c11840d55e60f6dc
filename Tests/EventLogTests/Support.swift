import EventLog
import FileIO
import FileIOTesting
import Records
import Testing

/// A seeded generator (SplitMix64), so that a failing run can be repeated.
struct Seeded: RandomNumberGenerator {
    private var state: UInt64

    init(_ seed: UInt64) {
        state = seed
    }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}

/// A configuration with limits so small that every path is taken.
func smallConfiguration(
    sync: SyncMode = .strict,
    segmentBytes: Int = 4096 + 1024
) -> LogConfiguration {
    var configuration = LogConfiguration()
    configuration.sync = sync
    configuration.segmentBytes = segmentBytes
    configuration.recordBytesMax = 4096
    configuration.batchBytesMax = 8192
    configuration.node = "node-1"
    configuration.region = "eu-west"
    configuration.startsSyncThread = false
    return configuration
}

/// Opens a data directory in memory.
func makeDirectory(
    _ fileSystem: any FileSystem,
    time: any TimeSource = ManualTimeSource()
) throws -> LogDirectory {
    try LogDirectory(path: "/data", fileSystem: fileSystem, time: time)
}

extension LaneWriter {
    /// Appends a request record whose path is a text.
    @discardableResult
    func append(text: String, eventTime: Int64 = 1_000) throws -> Offset {
        try append(eventTime: eventTime) { encoder in
            encoder.put(.kind, UInt64(RecordKind.request.rawValue))
            encoder.put(.path, text)
        }
    }
}

/// What a reader returned, in a form that can be compared.
enum Seen: Equatable {
    case record(UInt64, String)
    case skip(Range<UInt64>, SkipReason)
    case end(UInt64)
}

/// Reads all that there is now. Records of other kinds show their kind's name.
func readAll(_ reader: inout LogReader) throws -> [Seen] {
    var result: [Seen] = []
    while let item = try reader.next() {
        switch item {
        case .records(let batch):
            try batch.forEach { offset, bytes throws in
                let record = try RequestRecord(decoding: bytes)
                let text = record.kind == .request ? record.path : record.kind.name
                result.append(.record(offset.rawValue, text))
                #expect(record.offset == offset)
                #expect(record.logID == batch.logID)
            }
        case .skip(let range, let reason):
            let lower = range.lowerBound.rawValue
            let upper = range.upperBound.rawValue
            // A gap that goes on in the next segment is returned in two pieces.
            if case .skip(let before, reason) = result.last, before.upperBound == lower {
                result[result.count - 1] = .skip(before.lowerBound..<upper, reason)
            } else {
                result.append(.skip(lower..<upper, reason))
            }
        case .end(let offset):
            result.append(.end(offset.rawValue))
        }
    }
    return result
}

/// Reads a log from an offset.
func readAll(
    _ directory: LogDirectory,
    _ log: LogID,
    from offset: UInt64 = 0
) throws -> [Seen] {
    var reader = try directory.reader(log, from: Offset(offset))
    return try readAll(&reader)
}

/// Where two lists first differ, in few words; nil when they are equal.
func firstDifference(_ seen: [Seen], _ expected: [Seen]) -> String? {
    for index in 0..<max(seen.count, expected.count) {
        let left = index < seen.count ? seen[index] : nil
        let right = index < expected.count ? expected[index] : nil
        if left != right {
            return "\(String(describing: left)) instead of \(String(describing: right))"
        }
    }
    return nil
}
