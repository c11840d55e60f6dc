import EventLog
import Postgres
import Records
import Rollups

/// Why a fold transaction was rolled back.
enum FoldFailure: Error {
    /// PostgreSQL or the connection refused; nothing was written.
    case database(PostgresError)
    /// The connection was lost at COMMIT: the batch may or may not have been written.
    case inDoubt(PostgresError)
    /// Somebody else has folded some of these logs' offsets.
    case miss([LogID])
    /// Another generation is active than the one folded for.
    case generationChanged(Int?)
}

/// One attempt at writing a batch exactly once.
///
/// The order of the steps is the contract (`docs/decisions/0020-fold-transaction.md`): all
/// transactions lock the same tables in the same order and rows within them ascending, so that
/// they do not deadlock; rows that others may wait for come last, so that they are held shortly.
struct FoldTransaction {
    let connection: PostgresConnection
    /// What is written to.
    let catalog: RollupCatalog
    let observer: FoldObserver?
    /// Days whose partitions of raw records are there; nil if raw records are not kept.
    var recordDays: Set<Int64>?

    var generation: Int { catalog.generation }

    /// Rows written and, per log, how many ranges its folded set has now.
    struct Result {
        var rowCount = 0
        var recordCount = 0
        var rangeCounts: [LogID: Int] = [:]
    }

    /// Writes a batch, or nothing.
    ///
    /// - Parameters:
    ///   - job: Which offsets are folded, what they fold to, and what moves together with them.
    ///   - ids: The database id of each value id of each dimension, by its place in the batch.
    mutating func write(_ job: FoldJob, ids: [[Int32]]) throws(FoldFailure) -> Result {
        let output = job.output
        let wanted = job.batch.wanted
        do throws(PostgresError) {
            try step(.begin)
            try connection.begin("ISOLATION LEVEL READ COMMITTED")
        } catch {
            connection.rollback()
            throw .database(error)
        }
        do throws(FoldFailure) {
            var result = Result()
            try database { () throws(PostgresError) in try insertSources(wanted) }
            try checkGeneration()
            try database { () throws(PostgresError) in
                result.rowCount = try copyDeltas(output, ids)
                result.recordCount = try loadRecords(job)
                try insertDeadLetters(output.deadLetters + job.untrusted)
                try updateLedger(output.ledger)
                try updateRegistry(output.registry)
                try updateTransportOffsets(job.positions)
            }
            result.rangeCounts = try updateSources(wanted)
            try database { () throws(PostgresError) in try step(.commit) }
            try commit()
            return result
        } catch {
            connection.rollback()
            throw error
        }
    }

    /// Tells the observer, who may fail the step.
    func step(_ step: FoldStep) throws(PostgresError) {
        if let error = observer?(step, connection.backendPID) { throw error }
    }

    /// Translates the errors of `body`.
    func database<T>(_ body: () throws(PostgresError) -> T) throws(FoldFailure) -> T {
        do throws(PostgresError) { return try body() } catch { throw .database(error) }
    }

    /// Commits; a connection lost on the way leaves it in doubt.
    func commit() throws(FoldFailure) {
        do throws(PostgresError) {
            try connection.commit()
        } catch {
            throw error.isConnectionLost ? .inDoubt(error) : .database(error)
        }
        do throws(PostgresError) { try step(.committed) } catch { throw .inDoubt(error) }
    }

    // MARK: Step 1

    /// Makes a row for each log that has none.
    private func insertSources(
        _ wanted: [(log: LogID, offsets: OffsetRanges)]
    ) throws(PostgresError) {
        guard !wanted.isEmpty else { return }
        try step(.insertSources)
        try FoldStatements.insertSources(wanted.map(\.log), generation, on: connection)
    }

    // MARK: Step 2

    /// Locks the active generation against a switch and against changes of its rollups, and aborts
    /// if it is another one or they have changed.
    func checkGeneration() throws(FoldFailure) {
        let active = try database { () throws(PostgresError) in
            try step(.checkGeneration)
            return try connection.query(
                """
                SELECT id, definitions, horizons FROM sluice.generation
                WHERE state = 'active' FOR SHARE
                """
            )
        }
        let found = active.rowCount == 1 ? active.int(0, 0).map(Int.init) : nil
        guard found == generation, active.int(0, 1) == catalog.definitionsVersion,
            active.int(0, 2) == catalog.horizonsVersion
        else { throw .generationChanged(found) }
    }

    // MARK: Step 3

    /// Appends the delta rows.
    func copyDeltas(
        _ output: FoldOutput,
        _ ids: [[Int32]]
    ) throws(PostgresError) -> Int {
        guard !output.rollups.isEmpty else { return 0 }
        try step(.copyDeltas)
        var rows = 0
        for (index, definition) in output.rollups.definitions.enumerated() {
            guard output.rollups.rowCount(of: index) > 0 else { continue }
            let table = RollupTable(definition: definition, generation: generation)
            let columns = table.columns.count
            // Integer dimensions are stored as they are, the others by id.
            let places = definition.dimensions.map { dimension in
                dimension.isInteger
                    ? -1 : output.rollups.dimensions.firstIndex(of: dimension) ?? -1
            }
            rows += try connection.copyIn(table.copy(into: table.deltaTable)) {
                (writer: inout CopyWriter) throws(PostgresError) in
                if index == 0 { try step(.copyOpen) }
                try output.rollups.forEachRow(of: index) { row throws(PostgresError) in
                    try writer.row(columns: columns)
                    writer.timestamp(row.bucket)
                    for (dimension, place) in places.enumerated() {
                        let value = row.valueIDs[dimension]
                        writer.int32(
                            place < 0
                                ? Int32(truncatingIfNeeded: value)
                                : value == 0 ? 0 : ids[place][Int(value)]
                        )
                    }
                    writer.counts(row.counts)
                    writer.bytes(row.latencyHistogram)
                    writer.bytes(row.upstreamHistogram)
                    writer.bytes(row.clients)
                    if definition.countsKeys { writer.bytes(row.keys) }
                }
            }
        }
        return rows
    }

    /// Copies the raw records of what is folded, if they are kept.
    private mutating func loadRecords(_ job: FoldJob) throws(PostgresError) -> Int {
        guard var days = recordDays else { return 0 }
        try step(.loadRecords)
        var load = RecordLoad(job, connection)
        let count = try load.run(days: &days)
        recordDays = days
        return count
    }

    /// Parks what could not be folded. Through a staging table, because a record may be there
    /// already: from another generation, or from a database restored piecemeal.
    private func insertDeadLetters(_ letters: [DeadLetter]) throws(PostgresError) {
        guard !letters.isEmpty else { return }
        try step(.deadLetters)
        try connection.execute(FoldStatements.makeDeadLetterStaging)
        try connection.copyIn(FoldStatements.copyDeadLetters) {
            (writer: inout CopyWriter) throws(PostgresError) in
            for letter in letters {
                try writer.row(columns: 6)
                writer.uuid(high: letter.log.high, low: letter.log.low)
                writer.int64(Int64(clamping: letter.offset))
                writer.text(letter.reason.rawValue)
                if let detail = letter.detail { writer.text(detail) } else { writer.null() }
                writer.bytes(letter.record)
                if let time = letter.appendedAt { writer.timestamp(time) } else { writer.null() }
            }
        }
        try connection.execute(FoldStatements.insertDeadLetters)
    }

    /// Adds to the ledger, rows ascending.
    func updateLedger(_ ledger: [LedgerKey: LedgerCounts]) throws(PostgresError) {
        guard !ledger.isEmpty else { return }
        try step(.ledger)
        let rows = ledger.sorted { $0.key < $1.key }
        try connection.query(
            FoldStatements.updateLedger,
            [
                .int(Int64(generation)),
                .textArray(rows.map { $0.key.log.description }),
                .timestamps(rows.map(\.key.hour)),
                .intArray(rows.map(\.value.folded)),
                .intArray(rows.map(\.value.deadLettered)),
                .intArray(rows.map(\.value.expired)),
                .intArray(rows.map(\.value.damaged)),
                .intArray(rows.map(\.value.filtered)),
                .intArray(rows.map(\.value.sampled)),
                .intArray(rows.map(\.value.tooLarge)),
                .intArray(rows.map(\.value.rejected)),
            ]
        )
    }

    /// Remembers what was learnt of the logs, rows ascending.
    func updateRegistry(_ registry: [LogID: LogRegistryEntry]) throws(PostgresError) {
        guard !registry.isEmpty else { return }
        try step(.registry)
        let rows = registry.sorted { $0.key < $1.key }
        func numbers(_ value: (LogRegistryEntry) -> Int64?) -> PostgresValue {
            .textArray(rows.map { value($0.value).map(String.init) })
        }
        try connection.query(
            FoldStatements.updateRegistry,
            [
                .textArray(rows.map(\.key.description)),
                .textArray(rows.map { Self.storable($0.value.node) }),
                .textArray(rows.map { Self.storable($0.value.region) }),
                .textArray(rows.map { $0.value.predecessor?.description }),
                numbers(\.startedAt), numbers(\.heartbeatAt), numbers(\.nextOffset),
                numbers(\.endOffset), numbers(\.endedAt),
                .textArray(rows.map { $0.value.orgs.map(Self.arrayLiteral) }),
            ]
        )
    }

    /// Text without U+0000, which PostgreSQL does not store.
    private static func storable(_ text: String?) -> String? {
        guard let text, text.utf8.contains(0) else { return text }
        return String(text.unicodeScalars.filter { $0.value != 0 }.map(Character.init))
    }

    /// The literal of a `text[]`; every element is quoted, so that nothing in it is special.
    private static func arrayLiteral(_ texts: [String]) -> String {
        var literal = "{"
        for (index, text) in texts.enumerated() {
            if index > 0 { literal += "," }
            literal += "\""
            for character in text.unicodeScalars where character.value != 0 {
                if character == "\"" || character == "\\" { literal += "\\" }
                literal.unicodeScalars.append(character)
            }
            literal += "\""
        }
        return literal + "}"
    }

    // MARK: Step 4

    /// Moves the positions of a transport that has its own, rows ascending.
    ///
    /// As with `source`, an update promises no order, so the rows are locked in order before.
    private func updateTransportOffsets(_ offsets: [TransportOffset]) throws(PostgresError) {
        guard !offsets.isEmpty else { return }
        try step(.transportOffsets)
        let rows = offsets.sorted {
            ($0.clusterID, $0.topic, $0.partition) < ($1.clusterID, $1.topic, $1.partition)
        }
        let keys: [PostgresValue] = [
            .textArray(rows.map(\.clusterID)), .textArray(rows.map(\.topic)),
            .intArray(rows.map { Int64($0.partition) }),
        ]
        let nextOffsets = PostgresValue.intArray(rows.map(\.nextOffset))
        try connection.query(FoldStatements.insertTransportOffsets, keys + [nextOffsets])
        try connection.query(FoldStatements.lockTransportOffsets, keys)
        try connection.query(
            FoldStatements.updateTransportOffsets,
            keys + [nextOffsets] + FoldStatements.details(of: rows)
        )
    }

    // MARK: Step 5

    /// Adds the offsets to the folded sets; each log must hit exactly one row.
    ///
    /// `UPDATE … FROM unnest` promises no order, so the rows are locked in order before.
    func updateSources(
        _ wanted: [(log: LogID, offsets: OffsetRanges)]
    ) throws(FoldFailure) -> [LogID: Int] {
        guard !wanted.isEmpty else { return [:] }
        let logs = PostgresValue.textArray(wanted.map(\.log.description))
        let hits = try database { () throws(PostgresError) in
            try step(.lockSources)
            try connection.query(
                FoldStatements.lockSources,
                [.int(Int64(generation)), logs]
            )
            try step(.updateSources)
            return try connection.query(
                FoldStatements.updateSources,
                [
                    .int(Int64(generation)), logs, .textArray(wanted.map(\.offsets.literal)),
                ]
            )
        }
        var counts: [LogID: Int] = [:]
        for row in 0..<hits.rowCount {
            guard let uuid = hits.uuid(row, 0), let ranges = hits.int(row, 1) else { continue }
            counts[LogID(high: uuid.high, low: uuid.low)] = Int(ranges)
        }
        let missed = wanted.map(\.log).filter { counts[$0] == nil }
        guard missed.isEmpty, hits.rowCount == wanted.count else { throw .miss(missed) }
        return counts
    }
}
