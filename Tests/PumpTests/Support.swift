import EventLog
import FileIO
import FileIOTesting
import Logging
import Pump
import Records
import Sinks
import Telemetry
import Testing

/// A seeded generator (SplitMix64), so that a failing run can be repeated.
struct Seeded: RandomNumberGenerator {
    private var state: UInt64

    init(_ seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}

/// A lane's configuration with limits so small that every path is taken.
func smallConfiguration() -> LogConfiguration {
    var configuration = LogConfiguration()
    configuration.sync = .strict
    configuration.segmentBytes = 4096 + 1024
    configuration.recordBytesMax = 4096
    configuration.batchBytesMax = 8192
    configuration.startsSyncThread = false
    return configuration
}

extension LaneWriter {
    /// Appends a request record whose path is a text.
    @discardableResult
    func append(text: String) throws -> Offset {
        try append(eventTime: 1_000) { encoder in
            encoder.put(.kind, UInt64(RecordKind.request.rawValue))
            encoder.put(.path, text)
        }
    }

    /// Appends some records and makes them durable.
    func append(count: Int, text: String = "") throws {
        for _ in 0..<count { try append(text: text) }
        try write()
        try commit()
    }
}

/// A logger that says nothing.
let silent = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

/// What arrived at a destination.
struct Arrivals {
    /// How often each record arrived.
    var records: [LogID: [UInt64: Int]] = [:]
    /// The offsets of skip markers, by reason.
    var skips: [LogID: [UInt64: SkipReason]] = [:]
    var ends: [LogID: UInt64] = [:]

    /// Takes one record.
    mutating func take(_ log: LogID, _ offset: Offset) {
        records[log, default: [:]][offset.rawValue, default: 0] += 1
    }

    /// Takes a marker.
    mutating func take(_ log: LogID, marker: SinkItem) {
        switch marker {
        case .records: break
        case .skip(let range, let reason, _):
            for offset in range.lowerBound.rawValue..<range.upperBound.rawValue {
                skips[log, default: [:]][offset] = reason
            }
        case .end(let offset, _): ends[log] = offset.rawValue
        }
    }

    /// Takes a whole batch.
    mutating func take(_ batch: SinkBatch) {
        for item in batch.items {
            if case .records(let records) = item {
                batch.forEachRecord(in: records) { offset, _ in take(batch.log, offset) }
            } else {
                take(batch.log, marker: item)
            }
        }
    }

    /// Whether an offset has a record or a reason.
    func accounts(for offset: UInt64, of log: LogID) -> Bool {
        records[log]?[offset] != nil || skips[log]?[offset] != nil
    }

    /// The first offset below `end` that is not accounted for.
    func firstGap(_ log: LogID, below end: UInt64) -> UInt64? {
        (0..<end).first { !accounts(for: $0, of: log) }
    }
}

/// A sink that is only asked for its traits: the tests do its work themselves.
struct PassiveSink: Sink {
    var traits = SinkTraits(isTransport: true, ordersLogs: false)

    func open() async throws(SinkError) {}
    func deliver(_ batch: SinkBatch) async -> DeliveryResult { .accepted }
    func flush() async throws(SinkError) {}
    func close() async {}
}

/// A driver whose jobs the test does, one at a time.
final class Bench {
    var fileSystem: MemoryFileSystem
    let time = ManualTimeSource()
    let traits: SinkTraits
    var configuration = PumpConfiguration()
    var pumped: PumpedSink
    var directory: LogDirectory
    var driver: SinkDriver
    var registry = MetricsRegistry()
    /// Deliveries that the driver has handed out.
    var pending: [(id: UInt64, batch: SinkBatch)] = []
    var wakeAt: UInt64 = 0

    init(
        isTransport: Bool = true,
        ordersLogs: Bool = false,
        seed: UInt64 = 1,
        _ adjust: (inout PumpConfiguration, inout PumpedSink) -> Void = { _, _ in }
    ) throws {
        traits = SinkTraits(isTransport: isTransport, ordersLogs: ordersLogs)
        fileSystem = MemoryFileSystem()
        directory = try LogDirectory(path: "/data", fileSystem: fileSystem, time: time)
        pumped = PumpedSink(name: "test", sink: PassiveSink(traits: traits))
        adjust(&configuration, &pumped)
        driver = try Self.makeDriver(configuration, pumped, directory, time, registry, seed)
    }

    private static func makeDriver(
        _ configuration: PumpConfiguration,
        _ pumped: PumpedSink,
        _ directory: LogDirectory,
        _ time: ManualTimeSource,
        _ registry: MetricsRegistry,
        _ seed: UInt64
    ) throws -> SinkDriver {
        try SinkDriver(
            configuration,
            pumped,
            directory: directory,
            time: time,
            metrics: PumpMetrics(registry, sink: pumped.name),
            logger: silent,
            random: Seeded(seed)
        )
    }

    /// Starts the pump anew, on the same files or on what a crash has left of them.
    func restart(_ fileSystem: MemoryFileSystem? = nil, seed: UInt64 = 1) throws {
        if let fileSystem { self.fileSystem = fileSystem }
        pending = []
        directory = try LogDirectory(path: "/data", fileSystem: self.fileSystem, time: time)
        registry = MetricsRegistry()
        driver = try Self.makeDriver(configuration, pumped, directory, time, registry, seed)
    }

    /// Steps once; opening and flushing succeed at once.
    func step() {
        let step = driver.step()
        wakeAt = step.wakeAt
        for job in step.jobs {
            switch job {
            case .open: driver.handle(.opened(nil))
            case .flush: driver.handle(.flushed(nil))
            case .deliver(let id, let batch): pending.append((id, batch))
            }
        }
    }

    /// Steps for a while of the clock.
    func run(milliseconds: Int64 = 500) {
        for _ in 0..<max(1, milliseconds / 25) {
            step()
            time.advance(microseconds: 25_000)
        }
    }

    /// Answers the oldest delivery.
    func answer(_ result: DeliveryResult = .accepted) -> SinkBatch? {
        guard !pending.isEmpty else { return nil }
        let (id, batch) = pending.removeFirst()
        driver.handle(.delivered(id, result))
        return batch
    }

    /// Accepts everything until nothing more comes.
    func acceptAll(into arrivals: inout Arrivals) {
        var quiet = 0
        while quiet < 50 {
            step()
            time.advance(microseconds: 100_000)
            quiet += 1
            while let (id, batch) = pending.popLast() {
                quiet = 0
                arrivals.take(batch)
                driver.handle(.delivered(id, .accepted))
            }
        }
    }

    /// The sink's dead letters.
    func letters() throws -> [SinkLetter] { try box.letters() }

    /// The sink's dead letters, as others than the pump see them.
    var box: SinkLetterBox {
        SinkLetterBox(data: "/data", consumer: pumped.consumer, fileSystem: fileSystem)
    }

    /// The checkpoint of a log.
    func checkpoint(_ log: LogID) throws -> UInt64 {
        try directory.checkpoints(consumer: pumped.consumer).load(log).rawValue
    }
}
