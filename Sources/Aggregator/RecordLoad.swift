import EventLog
import Postgres
import Records
import Rollups

/// The part of a fold transaction that loads raw records.
///
/// Whatever was folded is decoded once more: without raw records the fold pays nothing for them.
struct RecordLoad {
    /// One record's place.
    private struct Place: Hashable {
        let log: LogID
        let offset: UInt64
    }

    let job: FoldJob
    let connection: PostgresConnection
    /// Offsets whose records were parked instead of folded.
    private let parked: Set<Place>
    /// Offsets that are loaded already, by a fold for another generation.
    private var loaded: [LogID: OffsetRanges] = [:]
    /// Records that completed before this are dropped, or may be at any time.
    private var horizon = Int64.min

    /// The load of what a job folds.
    init(_ job: FoldJob, _ connection: PostgresConnection) {
        self.job = job
        self.connection = connection
        parked = Set(job.output.deadLetters.map { Place(log: $0.log, offset: $0.offset) })
    }

    /// Copies the records within the open transaction.
    ///
    /// - Parameter days: Days since 1970 whose partitions are known to be there; more are added.
    /// - Returns: How many records were copied.
    mutating func run(days known: inout Set<Int64>) throws(PostgresError) -> Int {
        let wanted = job.batch.wanted
        guard !wanted.isEmpty else { return 0 }
        let state = try connection.query(
            "SELECT horizon, isfinite(horizon) FROM sluice.record_retention FOR SHARE"
        )
        if state.bool(0, 1) == true { horizon = state.timestamp(0, 0) ?? .min }
        try readLoaded(wanted)
        var count = 0
        var days: Set<Int64> = []
        try forEachRecord { view, _, _, _ throws(PostgresError) in
            count += 1
            days.insert(Tier.day.bucket(of: view.completedAt) / Tier.day.microseconds)
        }
        for day in days.subtracting(known).sorted() {
            try connection.query(
                "SELECT sluice.make_records_partition(date '1970-01-01' + $1::int8::integer)",
                [.int(day)]
            )
        }
        if count > 0 {
            try connection.copyIn(RecordRow.copy) {
                (writer: inout CopyWriter) throws(PostgresError) in
                try forEachRecord { view, bytes, offset, log throws(PostgresError) in
                    try RecordRow.write(view, bytes, at: offset, of: log, to: &writer)
                }
            }
        }
        try connection.query(
            Self.addLoaded,
            [
                .textArray(wanted.map(\.log.description)),
                .textArray(wanted.map(\.offsets.literal)),
            ]
        )
        // Known only once the transaction is committed; on a failure the caller forgets them.
        known.formUnion(days)
        return count
    }

    /// Offsets that are loaded already; normally none.
    private mutating func readLoaded(
        _ wanted: [(log: LogID, offsets: OffsetRanges)]
    ) throws(PostgresError) {
        let found = try connection.query(
            Self.findLoaded,
            [
                .textArray(wanted.map(\.log.description)),
                .textArray(wanted.map(\.offsets.literal)),
            ]
        )
        for row in 0..<found.rowCount {
            guard let uuid = found.uuid(row, 0), let lower = found.int(row, 1),
                let upper = found.int(row, 2), lower >= 0, upper > lower
            else { continue }
            loaded[LogID(high: uuid.high, low: uuid.low), default: OffsetRanges()]
                .insert(UInt64(lower)..<UInt64(upper))
        }
    }

    /// Calls the body with every request that was folded, is not loaded and is young enough.
    private func forEachRecord(
        _ body: (RecordView, RawSpan, Offset, LogID) throws(PostgresError) -> Void
    ) throws(PostgresError) {
        for log in job.batch.logs {
            guard let slice = job.batch.slices[log] else { continue }
            for share in slice.shares {
                guard case .records(let batch) = share.item else { continue }
                var wanted = share.offsets.intersection(slice.wanted)
                if let done = loaded[log] { wanted = wanted.subtracting(done) }
                guard !wanted.isEmpty else { continue }
                try batch.forEach { offset, bytes throws(PostgresError) in
                    guard wanted.contains(offset.rawValue),
                        let view = try? RecordView.decode(bytes), view.kind == .request,
                        view.completedAt >= horizon,
                        parked.isEmpty
                            || !parked.contains(Place(log: log, offset: offset.rawValue))
                    else { return }
                    try body(view, bytes, offset, log)
                }
            }
        }
    }

    private static let findLoaded = """
        SELECT s.log_id, lower(r), upper(r)
        FROM unnest($1::text[]::uuid[], $2::text[]) AS n (log_id, offsets)
        JOIN sluice.record_source s USING (log_id)
        CROSS JOIN unnest(s.loaded * n.offsets::int8multirange) AS r
        WHERE s.loaded && n.offsets::int8multirange
        ORDER BY 1, 2
        """

    private static let addLoaded = """
        INSERT INTO sluice.record_source AS s (log_id, loaded)
        SELECT log_id, offsets::int8multirange
        FROM unnest($1::text[]::uuid[], $2::text[]) AS n (log_id, offsets)
        ORDER BY log_id
        ON CONFLICT (log_id) DO UPDATE SET loaded = s.loaded + excluded.loaded
        """
}
