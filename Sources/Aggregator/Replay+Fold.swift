import EventLog
import Postgres
import Records
import Rollups
import Threads

extension Replay {
    /// What is still to be folded, as of one snapshot.
    struct Remainder {
        /// Offsets that the active generation has and the new one has not, without dead letters.
        var wanted: [LogID: OffsetRanges] = [:]
        /// Offsets that the active generation has.
        var folded: [LogID: OffsetRanges] = [:]
        /// How many offsets the active generation has.
        var total: UInt64 = 0
        /// How many offsets the new generation has.
        var done: UInt64 = 0
    }

    /// Reads what is to be folded. Parked records are left to their letters: whoever redrives one
    /// counts it, in the generation that is active then.
    func remainder() throws(ReplayError) -> Remainder {
        let letters = try ranges(
            """
            SELECT d.log_id, d."offset", d."offset" + 1 FROM sluice.dead_letter d
            WHERE d.consumer = 'aggregator' ORDER BY 1, 2
            """,
            and: """
                SELECT s.log_id, lower(r), upper(r)
                FROM sluice.source s CROSS JOIN unnest(s.folded) AS r
                WHERE s.generation = $1 ORDER BY 1, 2
                """
        )
        var result = Remainder(folded: letters.active)
        for (log, folded) in letters.active {
            let done = letters.building[log] ?? OffsetRanges()
            result.total += folded.offsetCount
            result.done += done.offsetCount
            let wanted = folded.subtracting(done)
                .subtracting(letters.parked[log] ?? OffsetRanges())
            if !wanted.isEmpty { result.wanted[log] = wanted }
        }
        return result
    }

    private func ranges(
        _ letters: String,
        and sources: String
    ) throws(ReplayError) -> (
        parked: [LogID: OffsetRanges], active: [LogID: OffsetRanges],
        building: [LogID: OffsetRanges]
    ) {
        try sql { () throws(PostgresError) in
            try connection.transaction("ISOLATION LEVEL REPEATABLE READ READ ONLY") {
                () throws(PostgresError) in
                (
                    Self.ranges(try connection.query(letters)),
                    Self.ranges(try connection.query(sources, [.int(Int64(active))])),
                    Self.ranges(try connection.query(sources, [.int(Int64(building))]))
                )
            }
        }
    }

    private static func ranges(_ rows: PostgresResult) -> [LogID: OffsetRanges] {
        var result: [LogID: OffsetRanges] = [:]
        for row in 0..<rows.rowCount {
            guard let uuid = rows.uuid(row, 0), let lower = rows.int(row, 1),
                let upper = rows.int(row, 2), lower >= 0, upper > lower
            else { continue }
            result[LogID(high: uuid.high, low: uuid.low), default: OffsetRanges()]
                .insert(UInt64(lower)..<UInt64(upper))
        }
        return result
    }

    /// Folds what the active generation has and this one has not; returns how many offsets. In
    /// bulk, what was folded last is held.
    func catchUp(_ progress: (UInt64, UInt64) -> Void) throws(ReplayError) -> UInt64 {
        let remainder = try remainder()
        var wanted: [LogID: OffsetRanges] = [:]
        for (log, all) in remainder.wanted {
            let rest = all.subtracting(passed.offsets(of: log))
                .subtracting(held.folded[log] ?? OffsetRanges())
            if !rest.isEmpty { wanted[log] = rest }
        }
        let done = remainder.done + held.offsetCount
        guard !wanted.isEmpty else {
            progress(done, remainder.total)
            return 0
        }
        let feed = ReplayFeed()
        let folder = ReplayFolder(
            source: source,
            catalog: catalog,
            wanted: wanted,
            folded: remainder.folded,
            limits: limits,
            latest: configuration.latestCompletion(time),
            postgres: configuration.postgres
        )
        let thread = NamedThread(name: "replay-read") { folder.run(into: feed) }
        defer {
            feed.cancel()
            thread.join()
        }
        var folded: UInt64 = 0
        while let run = try feed.next() {
            folded += run.offsetCount
            held.append(run)
            if try isFull() {
                hasRuns = isBulk
                try writeHeld()
            }
            progress(done + folded, remainder.total)
        }
        if !isBulk { try writeHeld() }
        passed.formUnion(feed.passed)
        progress(done + folded, remainder.total)
        report.folded += folded
        return folded
    }

    /// Whether what is held must be written: rows of equal keys are merged before they count.
    private func isFull() throws(ReplayError) -> Bool {
        if held.offsetCount >= limits.heldRecordsMax || held.folded.count >= limits.logsMax {
            return true
        }
        guard held.rowCount >= limits.heldRowsMax || held.byteCount >= limits.heldBytesMax else {
            return false
        }
        do throws(CompactionFailure) { try held.merge() } catch {
            throw .database(Self.postgres(error))
        }
        return held.rowCount >= limits.heldRowsMax / 2 || held.byteCount >= limits.heldBytesMax / 2
    }

    /// A round of the compactor over one rollup of the generation that is being built.
    func round(_ table: RollupTable) -> CompactionRound {
        Self.round(table, configuration, connection)
    }

    /// The same in some session.
    static func round(
        _ table: RollupTable,
        _ configuration: AggregatorConfiguration,
        _ connection: PostgresConnection
    ) -> CompactionRound {
        CompactionRound(
            connection: connection,
            configuration: configuration,
            table: table,
            observer: nil
        )
    }
}
