import EventLog
import FileIO
import FileIOTesting
import Logging
import Pump
import Records
import Sinks
import Synchronization
import Telemetry

/// A logger that says nothing, unless every step is to be told.
let silent = Logger(label: "simulation") { label in
    guard Wanted.isTraced else { return SwiftLogNoOpLogHandler() }
    return StreamLogHandler.standardOutput(label: label)
}

/// A sink that is only asked for its traits: the world does its work.
struct PassiveSink: Sink {
    let traits = SinkTraits(isTransport: true, ordersLogs: false)

    func open() async throws(SinkError) {}
    func deliver(_ batch: SinkBatch) async -> DeliveryResult { .accepted }
    func flush() async throws(SinkError) {}
    func close() async {}
}

/// What is left of a node somewhere else: its files, and what had been promised of them.
struct Backup {
    let files: MemoryFileSystem
    let promised: [LogID: UInt64]
}

/// A gateway's log and its pump, on a disk of their own.
final class Node {
    let clock: Clock
    let canary: Canary?
    let pumped: PumpedSink
    let pumping: PumpConfiguration
    private(set) var memory: MemoryFileSystem
    private(set) var disk: FaultingFileSystem
    private(set) var directory: LogDirectory
    private(set) var driver: SinkDriver
    var lanes: [LaneWriter] = []
    /// Deliveries that the driver has handed out.
    var pending: [(id: UInt64, batch: SinkBatch)] = []
    /// Everything below was told to be durable.
    var promised: [LogID: UInt64] = [:]

    /// Starts on what is on a disk.
    init(_ backup: Backup, clock: Clock, canary: Canary?, _ random: inout SplitMix) throws {
        self.clock = clock
        self.canary = canary
        promised = backup.promised
        memory = backup.files
        var pumped = PumpedSink(name: "broker", sink: PassiveSink())
        pumped.batchRecordsMax = 1 + random.below(40)
        pumped.batchBytesMax = 200 + random.below(4_000)
        pumped.inFlightMax = canary == .unbounded ? 1_000 : 1 + random.below(Node.flightsMax)
        pumped.batchWait = .milliseconds(random.below(60))
        self.pumped = pumped
        var pumping = PumpConfiguration()
        pumping.readersMax = 1 + random.below(4)
        pumping.checkpointInterval = .milliseconds(random.below(500))
        self.pumping = pumping
        disk = FaultingFileSystem(Node.wrap(memory, canary))
        directory = try Node.open(disk, clock, canary, &random)
        driver = try Node.drive(pumping, pumped, directory, clock, &random)
        _ = try directory.recover()
    }

    /// Most deliveries that a node may have handed out.
    static let flightsMax = 6

    private static func wrap(_ memory: MemoryFileSystem, _ canary: Canary?) -> any FileSystem {
        canary?.plant(in: memory) ?? memory
    }

    private static func open(
        _ disk: FaultingFileSystem,
        _ clock: Clock,
        _ canary: Canary?,
        _ random: inout SplitMix
    ) throws -> LogDirectory {
        let seed = canary == .sameIdentities ? 42 : random.next()
        let generator = Mutex(SplitMix(seed: seed))
        return try LogDirectory(path: "/data", fileSystem: disk, time: clock) {
            generator.withLock { $0.next() }
        }
    }

    private static func drive(
        _ pumping: PumpConfiguration,
        _ pumped: PumpedSink,
        _ directory: LogDirectory,
        _ clock: Clock,
        _ random: inout SplitMix
    ) throws -> SinkDriver {
        try SinkDriver(
            pumping,
            pumped,
            directory: directory,
            time: clock,
            metrics: PumpMetrics(MetricsRegistry(), sink: pumped.name),
            logger: silent,
            random: SplitMix(seed: random.next())
        )
    }

    /// Only the pump is killed.
    func restartPump(reshipping: Bool = false, _ random: inout SplitMix) throws {
        pending = []
        var pumping = self.pumping
        if reshipping { pumping.reshipFrom = 0 }
        driver = try Node.drive(pumping, pumped, directory, clock, &random)
    }

    /// Everything is killed, and starts again on what is left.
    func restart(on files: MemoryFileSystem, _ random: inout SplitMix) throws {
        for lane in lanes { lane.abandon() }
        lanes = []
        pending = []
        memory = files
        disk = FaultingFileSystem(Node.wrap(memory, canary))
        directory = try Node.open(disk, clock, canary, &random)
        driver = try Node.drive(pumping, pumped, directory, clock, &random)
        _ = try directory.recover()
    }

    /// A directory that no fault gets in the way of.
    func inspect() throws -> LogDirectory {
        try LogDirectory(path: "/data", fileSystem: memory, time: clock)
    }

    /// Steps the pump once; opening and flushing succeed at once.
    func stepPump() {
        for job in driver.step().jobs {
            switch job {
            case .open: driver.handle(.opened(nil))
            case .flush: driver.handle(.flushed(nil))
            case .deliver(let id, let batch): pending.append((id, batch))
            }
        }
    }

    /// Notes what the lanes have promised.
    func notePromises() {
        for lane in lanes {
            promised[lane.logID] = max(promised[lane.logID] ?? 0, lane.durableOffset.rawValue)
        }
    }

    /// A lane's configuration with limits so small that every path is taken.
    static let laneConfiguration: LogConfiguration = {
        var configuration = LogConfiguration()
        configuration.sync = .strict
        configuration.segmentBytes = 4096 + 2048
        configuration.recordBytesMax = 4096
        configuration.batchBytesMax = 8192
        configuration.startsSyncThread = false
        configuration.orgs = ["acme"]
        return configuration
    }()
}
