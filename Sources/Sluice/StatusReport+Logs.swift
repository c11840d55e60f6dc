import Console
import EventLog
import FileIO
import Pump
import Records
import SluiceConfiguration

/// What the data directory says.
extension StatusReport {
    /// What runs.
    static func table(_ processes: [RunningProcess]) -> Table {
        var table = Table(["pid", "roles", "gateway", "query_api", "metrics"])
        table.rows = processes.map { process in
            [
                .text("\(process.pid)"), .text(process.roles.joined(separator: ", ")),
                process.gateway.map(Cell.text) ?? .none, process.serve.map(Cell.text) ?? .none,
                process.metrics.map(Cell.text) ?? .none,
            ]
        }
        return table
    }

    /// Logs that are open or not yet counted; the others as one line.
    ///
    /// The checkpoint is the aggregator's own file, or with Kafka what the database has folded
    /// without a gap; not known if that does not answer.
    static func logs(
        _ settings: Settings,
        _ data: DataDirectory,
        _ database: DatabaseAnswer
    ) async throws -> Table {
        let directory = try data.logs()
        return try await blocking("status") {
            func counted(_ log: LogID) -> Offset? {
                if settings.transport == .local {
                    return directory.checkpoint(of: "aggregator", in: log)
                }
                return database.folded.map { Offset($0["\(log)"] ?? 0) }
            }
            var table = Table(["log", "node", "lane", "state", "next_offset", "checkpoint", "lag"])
            var finished: (count: Int64, records: UInt64) = (0, 0)
            for log in try directory.logs() {
                let next = log.endOffset ?? log.durableOffset
                let done = counted(log.id).map { min($0, next) }
                if log.isEnded, done == next {
                    finished.count += 1
                    finished.records += next.rawValue
                    continue
                }
                table.rows.append([
                    .text("\(log.id)"), .text(log.node),
                    log.lane.map { .integer(Int64($0)) } ?? .none,
                    .text(log.isEnded ? "ended" : "open"), .offset(next),
                    done.map(Cell.offset) ?? .none,
                    done.map { .integer(Int64(clamping: next.rawValue - $0.rawValue)) } ?? .none,
                ])
            }
            if finished.count > 0 {
                let total = Cell.integer(Int64(clamping: finished.records))
                table.rows.append([
                    .text("\(finished.count) ended logs"), .none, .none, .text("consumed"), total,
                    total, .integer(0),
                ])
            }
            return table
        }
    }

    /// How far each sink is, from its checkpoints, so that it can be seen while no pump runs.
    static func sinks(
        _ settings: Settings,
        _ data: DataDirectory,
        _ processes: [RunningProcess]
    ) async throws -> Table {
        let directory = try data.logs()
        let pump = processes.first { $0.roles.contains("pump") }
        let now = directory.time.wallMicroseconds()
        return try await blocking("status") {
            let logs = try directory.logs()
            var table = Table([
                "sink", "type", "state", "logs_behind", "lag", "behind", "dead_letters", "error",
            ])
            for sink in settings.pump.sinks {
                var lag = SinkLag()
                for log in logs {
                    let done = directory.checkpoint(of: sink.consumer, in: log.id)
                    try lag.add(log, done, in: directory)
                }
                let box = SinkLetterBox(
                    data: data.path,
                    consumer: sink.consumer,
                    fileSystem: data.fileSystem
                )
                let trouble = pump?.troubles?[sink.name]
                let state = pump == nil ? "no pump runs" : trouble?.breaker ?? "running"
                table.rows.append([
                    .text(sink.name), .text(sink.kind.name), .text(state),
                    .integer(lag.logCount), .integer(Int64(clamping: lag.records)),
                    lag.oldest.map { .seconds(Double(max(0, now - $0)) / 1e6) } ?? .none,
                    .integer(Int64(try box.letters().count)),
                    trouble?.reason.map(Cell.text) ?? .none,
                ])
            }
            return table
        }
    }
}

/// What a sink has not acknowledged yet, over all logs.
private struct SinkLag {
    /// Logs of which something is left.
    var logCount: Int64 = 0

    /// Offsets that are left.
    var records: UInt64 = 0

    /// When the oldest record that is left was written, µs since the epoch.
    var oldest: Int64?

    /// Adds what is left of a log from `done` on.
    mutating func add(
        _ log: LogSummary,
        _ done: Offset,
        in directory: LogDirectory
    ) throws {
        let next = log.endOffset ?? log.durableOffset
        // What retention has deleted is not waited for.
        let from = max(done, log.startOffset)
        guard from < next else { return }
        logCount += 1
        records += next.rawValue - from.rawValue
        var reader = try directory.reader(log.id, from: from)
        while let item = try? reader.next() {
            guard case .records(let batch) = item else { continue }
            oldest = min(oldest ?? .max, batch.appendTime)
            break
        }
    }
}
