import EventLog
import FileIO
import Glibc
import Records
import Synchronization
import Threads

/// Timings of the event log on the real file system, in `sluice-bench.tmp` in the working
/// directory, which is removed.
struct LogBench {
    /// How many records are appended per `write`, as by one tick of a loaded event loop.
    static let tickRecords = 64
    /// How many records a throughput benchmark appends.
    static let recordCount = 2_000_000
    /// How many records per second the latency benchmark appends.
    static let latencyRate = 20_000

    /// A record's fields after the prefix, so that the whole record has about 250 bytes.
    static let body: [UInt8] = {
        var encoder = RecordEncoder()
        encoder.put(.kind, UInt64(RecordKind.request.rawValue))
        encoder.put(.path, String(repeating: "p", count: 214))
        return encoder.bytes
    }()

    /// Runs a body with a data directory of its own.
    static func withDirectory(_ body: (LogDirectory) throws -> Void) {
        let path = "./sluice-bench.tmp"
        let fileSystem = PosixFileSystem()
        do {
            try? fileSystem.removeTree(path)
            try body(
                try LogDirectory(path: path, fileSystem: fileSystem, time: SystemTimeSource())
            )
        } catch {
            print("failed: \(error)")
        }
        try? fileSystem.removeTree(path)
    }

    /// Appends as fast as the disk takes it and prints durable records per second.
    static func append(_ sync: SyncMode) {
        withDirectory { directory in
            var configuration = LogConfiguration()
            configuration.sync = sync
            let lane = try directory.openLane(0, configuration)
            let bell = Doorbell()
            lane.onDurable = { _ in bell.ring() }
            let clock = SystemTimeSource()
            let began = clock.monotonicNanoseconds()
            let processor = Glibc.clock()
            var appended = 0
            while appended < recordCount {
                let seen = bell.count
                guard lane.reserve(tickRecords * 300) else {
                    bell.wait(since: seen, timeoutNanoseconds: 1_000_000_000)
                    continue
                }
                for _ in 0..<tickRecords {
                    try lane.append(eventTime: 0) { $0.put(encoded: body.span) }
                }
                try lane.write()
                lane.release(tickRecords * 300)
                appended += tickRecords
            }
            var seen = bell.count
            while lane.durableOffset < lane.nextOffset {
                seen = bell.wait(since: seen, timeoutNanoseconds: 1_000_000_000)
            }
            let seconds = Double(clock.monotonicNanoseconds() - began) / 1e9
            let cpu = Double(Glibc.clock() - processor) / Double(CLOCKS_PER_SEC)
            let statistics = lane.statistics
            try lane.close()
            let rate = Int(Double(appended) / seconds)
            let size = statistics.bytesWritten / statistics.recordsAppended
            print(
                "append \(sync): \(rate) durable records/s (\(size) B each on disk), "
                    + "\(Int(cpu / Double(appended) * 1e9)) ns of processor time each, "
                    + "\(statistics.syncs) syncs"
            )
        }
    }

    /// Appends at a steady rate in mode strict and prints how long records waited for the disk.
    static func latency() {
        withDirectory { directory in
            var configuration = LogConfiguration()
            configuration.sync = .strict
            let lane = try directory.openLane(0, configuration)
            let clock = SystemTimeSource()
            let acknowledged = Mutex<[(end: UInt64, time: UInt64)]>([])
            lane.onDurable = { offset in
                let now = clock.monotonicNanoseconds()
                acknowledged.withLock { $0.append((offset.rawValue, now)) }
            }
            let tickNanoseconds: UInt64 = 200_000
            let perTick = latencyRate * Int(tickNanoseconds) / 1_000_000_000
            var sent: [UInt64] = [clock.monotonicNanoseconds()]
            let bell = Doorbell()
            let began = clock.monotonicNanoseconds()
            for tick in 0..<25_000 {
                let due = began + UInt64(tick) * tickNanoseconds
                let now = clock.monotonicNanoseconds()
                if now < due {
                    bell.wait(since: bell.count, timeoutNanoseconds: Int64(due - now))
                }
                for _ in 0..<perTick {
                    // Counted from when it was due, so that a stall is not hidden.
                    sent.append(due)
                    try lane.append(eventTime: 0) { $0.put(encoded: body.span) }
                }
                try lane.write()
            }
            try lane.close()
            var waits: [UInt64] = []
            var next = 0
            for (end, time) in acknowledged.withLock({ $0 }) {
                while next < min(Int(end), sent.count) {
                    waits.append(time > sent[next] ? time - sent[next] : 0)
                    next += 1
                }
            }
            waits.sort()
            let shown = [0.5, 0.9, 0.99, 0.999, 1].map { share in
                let index = min(waits.count - 1, Int(share * Double(waits.count)))
                return "\(waits[index] / 1_000)"
            }
            print(
                "latency strict at \(latencyRate)/s: p50 p90 p99 p99.9 max = "
                    + shown.joined(separator: " ") + " µs, \(lane.statistics.syncs) syncs"
            )
        }
    }

    /// Reads a closed log and prints records per second.
    static func read() {
        withDirectory { directory in
            let id = LogID(high: 1, low: 1)
            _ = try directory.writeSealedLog(id: id) { writer throws(EventLogError) in
                for _ in 0..<recordCount {
                    try writer.append(eventTime: 0) { $0.put(encoded: body.span) }
                }
            }
            SluiceBench.measure("read", count: recordCount, "records") {
                var sum: UInt64 = 0
                guard var reader = try? directory.reader(id, from: .zero) else { return }
                while let item = try? reader.next() {
                    if case .records(let batch) = item {
                        batch.forEach { offset, bytes in
                            sum &+= offset.rawValue &+ UInt64(bytes.byteCount)
                        }
                    }
                }
                SluiceBench.sink(sum)
            }
        }
    }
}
