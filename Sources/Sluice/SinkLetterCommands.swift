import Console
import EventLog
import FileIO
import Logging
import Pump
import Records
import Sinks
import SluiceConfiguration
import Telemetry

/// Dead letters of one sink, which are files of the data directory: `sluice dlq … --sink NAME`.
struct SinkLetters {
    private let settings: Settings
    private let data: DataDirectory
    private let name: String
    private let box: SinkLetterBox

    /// Which letters are meant.
    struct Choice {
        /// Their ids; all if empty.
        var ids: Set<UInt64> = []
        /// Only those with this reason.
        var reason: String?
        /// Only those of this log.
        var log: LogID?

        /// Whether a letter is meant.
        func includes(_ letter: SinkLetter) -> Bool {
            (ids.isEmpty || ids.contains(letter.id)) && reason.map { $0 == letter.reason } ?? true
                && log.map { $0 == letter.log } ?? true
        }
    }

    /// The letters of a sink, whether it is configured still or not.
    init(_ settings: Settings, sink name: String) throws {
        self.settings = settings
        self.name = name
        data = DataDirectory(settings.data)
        let consumer = "sink-\(name)"
        let directory = "\(data.path)/dead-letters/\(consumer)"
        let isThere = try !name.contains("/") && data.fileSystem.exists(directory)
        guard isThere || settings.pump.sinks.contains(where: { $0.name == name }) else {
            throw CommandFailure.failed(
                "there is no sink \"\(name)\", and no dead letters of one; "
                    + "`sluice sink ls` lists them"
            )
        }
        box = SinkLetterBox(data: data.path, consumer: consumer, fileSystem: data.fileSystem)
    }

    /// `sluice dlq ls --sink`.
    func list(_ choice: Choice, after: UInt64 = 0, limit: Int) async throws -> Table {
        var table = Table(Self.columns)
        table.rows = try await chosen(choice).filter { $0.id > after }.prefix(limit).map(row)
        return table
    }

    /// `sluice dlq show --sink`; as one row, the record as JSON and its bytes included.
    func show(_ id: UInt64) async throws -> Table {
        guard let letter = try await chosen(Choice(ids: [id])).first else {
            throw CommandFailure.failed(
                "sink \"\(name)\" has no dead letter with the id \(id); "
                    + "`sluice dlq ls --sink \(name)` lists them"
            )
        }
        var decoded = Cell.none
        if let record = try? RequestRecord(decoding: letter.record.span.raw) {
            decoded = .text(record.json())
        }
        var hex = ""
        for byte in letter.record { Hexadecimal.append(byte, to: &hex) }
        var table = Table(Self.columns + ["record", "hex"])
        table.rows = [row(letter) + [decoded, .text(hex)]]
        return table
    }

    /// `sluice dlq redrive --sink`.
    func redrive(_ choice: Choice) async throws -> Table {
        guard let sink = settings.pump.sinks.first(where: { $0.name == name }) else {
            throw CommandFailure.failed("there is no sink \"\(name)\" any more; configure it first")
        }
        if sink.kind == .kafka, settings.transport == .kafka {
            throw CommandFailure.failed(
                "the aggregators know from a skip marker that these records do not come, and would "
                    + "drop them; they can be shown and dropped only"
            )
        }
        let lock = try lock()
        defer { lock.close() }
        let letters = try await chosen(choice)
        guard !letters.isEmpty else { return Self.summary([("redriven", 0)]) }
        let destination = SinkAssembly.sink(
            sink,
            settings,
            fileSystem: data.fileSystem,
            metrics: MetricsRegistry()
        )
        do throws(SinkError) {
            try await destination.open()
        } catch {
            await destination.close()
            throw CommandFailure.failed("could not open the sink \"\(name)\": \(error)")
        }
        let result: (taken: Int, refused: Int, failure: String?)
        do {
            result = try await box.redrive(letters, to: destination, time: SystemTimeSource())
        } catch {
            await destination.close()
            throw error
        }
        await destination.close()
        if let failure = result.failure {
            throw CommandFailure.failed(
                "\(result.taken) records were redriven, then the sink failed: \(failure); try again"
            )
        }
        return Self.summary([("redriven", result.taken), ("kept", result.refused)])
    }

    /// `sluice dlq drop --sink`.
    func drop(_ choice: Choice) async throws -> Table {
        let lock = try lock()
        defer { lock.close() }
        let letters = try await chosen(choice)
        let box = self.box
        try await blocking("dlq") {
            try box.settle(letters, as: .dropped, at: SystemTimeSource().wallMicroseconds())
        }
        return Self.summary([("dropped", letters.count)])
    }

    private func chosen(_ choice: Choice) async throws -> [SinkLetter] {
        let box = self.box
        return try await blocking("dlq") { try box.letters() }.filter(choice.includes)
    }

    private func lock() throws -> any File {
        guard let lock = try box.lock() else {
            throw CommandFailure.failed(
                "another `sluice dlq` works on the dead letters of sink \"\(name)\"; wait for it"
            )
        }
        return lock
    }

    private static func summary(_ rows: [(String, Int)]) -> Table {
        var table = Table(["outcome", "records"])
        table.rows = rows.map { [.text($0.0), .integer(Int64($0.1))] }
        return table
    }

    private static let columns = [
        "id", "consumer", "log", "offset", "reason", "detail", "bytes", "appended_at", "parked_at",
    ]

    private func row(_ letter: SinkLetter) -> [Cell] {
        [
            .integer(Int64(clamping: letter.id)), .text("sink-\(name)"), .text("\(letter.log)"),
            .offset(letter.offset), .text(letter.reason), .text(letter.detail),
            .bytes(Int64(letter.record.count)), .time(letter.appendTime),
            .time(letter.parkedAt),
        ]
    }
}
