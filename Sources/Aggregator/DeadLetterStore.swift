package import Postgres
import Records
import Rollups

/// What became of dead letters that were to be folded again.
package struct RedriveResult: Equatable, Sendable {
    /// Records that are counted now.
    package var folded = 0
    /// Records that still cannot be folded, by the reason of today.
    package var kept: [String: Int] = [:]
    /// Letters that somebody else has taken meanwhile.
    package var taken = 0

    /// A result without letters.
    package init() {}
}

/// The dead letters of a database: looked at, folded again, given up. Every call blocks.
///
/// Owner: the thread that made it.
package final class DeadLetterStore {
    /// Most letters of one transaction; chosen.
    private static let lettersMax = 1_000
    /// Most bytes of records of one transaction, unless a single one is larger; chosen.
    private static let bytesMax: Int64 = 16 << 20
    /// Attempts at one transaction before its error is the caller's.
    private static let attemptsMax = 5
    /// Name of the aggregator among the consumers that park records.
    package static let aggregator = "aggregator"

    private let uri: String
    private let observer: FoldObserver?
    private var connection: PostgresConnection
    private var dimensions = DimensionCache(countMax: 100_000)

    /// Connects to the database, which must have been migrated.
    ///
    /// - Parameters:
    ///   - uri: The database, as a libpq URI.
    ///   - observer: For tests.
    package init(_ uri: String, observer: FoldObserver? = nil) throws(PostgresError) {
        self.uri = uri
        self.observer = observer
        connection = try PostgresConnection(uri, applicationName: "sluice-dlq")
    }

    /// The letters of a filter after one id, oldest first.
    package func list(
        _ filter: DeadLetterFilter,
        after id: Int64 = 0,
        limit: Int
    ) throws(PostgresError) -> [StoredDeadLetter] {
        let found = try connection.query(
            """
            SELECT \(StoredDeadLetter.columns) FROM sluice.dead_letter
            WHERE id > $5 AND \(DeadLetterFilter.condition) ORDER BY id LIMIT $6
            """,
            filter.parameters + [.int(id), .int(Int64(limit))]
        )
        return (0..<found.rowCount).compactMap { StoredDeadLetter(found, $0) }
    }

    /// How many letters a filter has.
    package func count(_ filter: DeadLetterFilter) throws(PostgresError) -> Int {
        let found = try connection.query(
            "SELECT count(*) FROM sluice.dead_letter WHERE \(DeadLetterFilter.condition)",
            filter.parameters
        )
        return Int(found.int(0, 0) ?? 0)
    }

    /// The bytes of a letter; nil if it is gone.
    package func record(of id: Int64) throws(PostgresError) -> [UInt8]? {
        let found = try connection.query(
            "SELECT record FROM sluice.dead_letter WHERE id = $1",
            [.int(id)]
        )
        return found.rowCount == 1 ? found.bytes(0, 0) : nil
    }

    // MARK: Folding again

    /// Folds the aggregator's letters of a filter again; those that cannot be folded stay, with the
    /// reason of today.
    ///
    /// Each transaction counts records and removes their letters, so a record counts once, whatever
    /// is killed and however many do this at once.
    ///
    /// - Parameters:
    ///   - filter: Which letters; those of sinks and of messages not trusted are left alone.
    ///   - latest: Completion after this stays parked, µs since the epoch.
    ///   - progress: Called after each transaction with the letters looked at.
    package func redrive(
        _ filter: DeadLetterFilter,
        latest: Int64,
        progress: (Int) -> Void = { _ in }
    ) throws(PostgresError) -> RedriveResult {
        var result = RedriveResult()
        var after: Int64 = 0
        var looked = 0
        // What is parked from now on is left for another time.
        let newest = try connection.query("SELECT max(id) FROM sluice.dead_letter")
        let last = newest.int(0, 0) ?? 0
        while after < last {
            let letters = try list(filter, after: after, limit: Self.lettersMax)
            guard let end = letters.last?.id else { break }
            after = min(end, last)
            var wanted: [Int64] = []
            var bytes: Int64 = 0
            for letter in letters
            where letter.consumer == Self.aggregator && letter.isAccounted && letter.id <= last {
                if bytes + letter.byteCount > Self.bytesMax, !wanted.isEmpty {
                    try redrive(wanted, latest: latest, &result)
                    wanted.removeAll()
                    bytes = 0
                }
                wanted.append(letter.id)
                bytes += letter.byteCount
            }
            if !wanted.isEmpty { try redrive(wanted, latest: latest, &result) }
            looked += letters.count
            progress(looked)
        }
        return result
    }

    /// Folds some letters in one transaction; never tries again without reading them again.
    private func redrive(
        _ ids: [Int64],
        latest: Int64,
        _ result: inout RedriveResult
    ) throws(PostgresError) {
        var attempt = 1
        var wasInDoubt = false
        while true {
            do throws(FoldFailure) {
                let before = wasInDoubt ? ids.count : 0
                let done = try attemptRedrive(ids, latest: latest)
                result.folded += done.folded
                for (reason, count) in done.kept { result.kept[reason, default: 0] += count }
                // After a commit of which nothing was heard, what is gone is ours.
                if before > 0 { result.folded += done.taken } else { result.taken += done.taken }
                return
            } catch {
                let cause: PostgresError
                switch error {
                case .database(let error): cause = error
                case .inDoubt(let error):
                    cause = error
                    wasInDoubt = true
                case .miss: cause = Self.conflict("the letters are being taken by somebody else")
                case .generationChanged: cause = Self.conflict("another generation became active")
                }
                dimensions.removeAll()
                guard attempt < Self.attemptsMax, cause.isRetriable else { throw cause }
                attempt += 1
                if !connection.isAlive || cause.isConnectionLost {
                    connection = try PostgresConnection(uri, applicationName: "sluice-dlq")
                }
            }
        }
    }

    /// A failure that goes away when everything is read again.
    private static func conflict(_ message: String) -> PostgresError {
        PostgresError(sqlState: "40001", call: "DeadLetterStore", message: message)
    }

    private func attemptRedrive(
        _ ids: [Int64],
        latest: Int64
    ) throws(FoldFailure) -> RedriveResult {
        var result = RedriveResult()
        var output: FoldOutput
        var folded: [Int64] = []
        var records: [DeadLetter] = []
        var logs: Set<LogID> = []
        var kept: [(id: Int64, letter: DeadLetter)] = []
        let catalog: RollupCatalog
        let places: [[Int32]]
        do throws(PostgresError) {
            catalog = try RollupCatalog(connection)
            output = catalog.makeOutput()
            let rows = try connection.query(
                Self.loadLetters,
                [.intArray(ids), .int(Int64(catalog.generation))]
            )
            for row in 0..<rows.rowCount {
                guard let id = rows.int(row, 0), let log = rows.uuid(row, 1),
                    let offset = rows.int(row, 2), let record = rows.bytes(row, 3),
                    let hour = rows.timestamp(row, 4)
                else { continue }
                let letter = DeadLetter(
                    log: LogID(high: log.high, low: log.low),
                    offset: UInt64(clamping: offset),
                    reason: .malformed,
                    detail: nil,
                    record: record
                )
                if let still = output.redrive(letter, appendTime: hour, latest: latest) {
                    kept.append((id, still))
                    result.kept[still.reason.rawValue, default: 0] += 1
                } else {
                    folded.append(id)
                    records.append(letter)
                    logs.insert(letter.log)
                }
            }
            places = try dimensions.resolve(output.rollups, on: connection) {
                () throws(PostgresError) in
                if let error = observer?(.dimensions, connection.backendPID) { throw error }
            }
        } catch { throw .database(error) }
        let transaction = FoldTransaction(
            connection: connection,
            catalog: catalog,
            observer: observer
        )
        try transaction.redrive(
            output,
            ids: places,
            folded: folded,
            records: records,
            logs: logs.sorted(),
            kept: kept
        )
        result.folded = folded.count
        result.taken = ids.count - folded.count - kept.count
        return result
    }

    /// Letters parked before their append time was kept move in the latest hour that counts one.
    private static let accountedUnder = """
        coalesce(d.appended_at, (
            SELECT max(e.hour) FROM sluice.ledger e
            WHERE e.generation = $2 AND e.log_id = d.log_id AND e.dead_lettered > 0
        ), d.created_at)
        """

    private static let loadLetters = """
        SELECT d.id, d.log_id, d."offset", d.record, \(accountedUnder)
        FROM sluice.dead_letter d WHERE d.id = ANY ($1::int8[]) ORDER BY d.id
        """

    // MARK: Giving up

    /// Removes the letters of a filter for good; the ledger counts them as `dropped` from now on.
    ///
    /// - Returns: How many letters there were.
    package func drop(_ filter: DeadLetterFilter) throws(PostgresError) -> Int {
        var dropped = 0
        while true {
            let ids = try list(filter, limit: Self.lettersMax).map(\.id)
            guard !ids.isEmpty else { return dropped }
            dropped += try connection.transaction("ISOLATION LEVEL READ COMMITTED") {
                () throws(PostgresError) in
                let active = try connection.query(FoldStatements.activeGeneration + " FOR SHARE")
                let generation = active.rowCount == 1 ? active.int(0, 0) ?? 0 : 0
                let gone = try connection.query(
                    Self.dropLetters,
                    [.intArray(ids), .int(generation)]
                )
                return Int(gone.int(0, 0) ?? 0)
            }
        }
    }

    private static let dropLetters = """
        WITH locked AS (
            SELECT id FROM sluice.dead_letter WHERE id = ANY ($1::int8[]) ORDER BY id FOR UPDATE
        ), gone AS (
            DELETE FROM sluice.dead_letter d USING locked WHERE d.id = locked.id
            RETURNING d.consumer, d.log_id,
                date_trunc('hour', \(accountedUnder), 'UTC') AS hour
        ), moved AS (
            INSERT INTO sluice.ledger AS l (generation, log_id, hour, dead_lettered, dropped)
            SELECT $2, log_id, hour, -count(*), count(*) FROM gone
            WHERE consumer = '\(aggregator)'
                AND log_id <> '00000000-0000-0000-0000-000000000000'
            GROUP BY log_id, hour ORDER BY log_id, hour
            ON CONFLICT (generation, log_id, hour) DO UPDATE SET
                dead_lettered = l.dead_lettered + excluded.dead_lettered,
                dropped = l.dropped + excluded.dropped
        )
        SELECT count(*) FROM gone
        """
}
