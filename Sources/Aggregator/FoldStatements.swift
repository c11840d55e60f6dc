import Postgres
import Records

/// The SQL of the fold.
enum FoldStatements {
    /// Makes rows of `source`, ascending; rows that are there already are left alone, unlocked.
    static func insertSources(
        _ logs: [LogID],
        _ generation: Int,
        on connection: PostgresConnection
    ) throws(PostgresError) {
        try connection.query(
            """
            INSERT INTO sluice.source (generation, log_id)
            SELECT $1, log_id
            FROM unnest($2::text[]::uuid[]) WITH ORDINALITY AS l (log_id, position)
            ORDER BY position
            ON CONFLICT DO NOTHING
            """,
            [.int(Int64(generation)), .textArray(logs.map(\.description))]
        )
    }

    /// A table of the session; its rows go with the transaction.
    static let makeDeadLetterStaging = """
        CREATE TEMPORARY TABLE IF NOT EXISTS dead_letter_staging (
            log_id uuid, "offset" bigint, reason text, detail text, record bytea,
            appended_at timestamptz
        ) ON COMMIT DELETE ROWS
        """

    static let copyDeadLetters = """
        COPY pg_temp.dead_letter_staging (
            log_id, "offset", reason, detail, record, appended_at)
        FROM STDIN (FORMAT binary)
        """

    static let insertDeadLetters = """
        INSERT INTO sluice.dead_letter (log_id, "offset", reason, detail, record, appended_at)
        SELECT log_id, "offset", reason, detail, record, appended_at
        FROM pg_temp.dead_letter_staging
        ORDER BY log_id, "offset"
        ON CONFLICT DO NOTHING
        """

    static let updateLedger = """
        INSERT INTO sluice.ledger AS l (
            generation, log_id, hour, folded, dead_lettered, expired, damaged, filtered, sampled,
            too_large, rejected)
        SELECT $1, log_id, hour, folded, dead_lettered, expired, damaged, filtered, sampled,
            too_large, rejected
        FROM unnest(
            $2::text[]::uuid[], $3::timestamptz[], $4::int8[], $5::int8[], $6::int8[], $7::int8[],
            $8::int8[], $9::int8[], $10::int8[], $11::int8[])
        AS n (log_id, hour, folded, dead_lettered, expired, damaged, filtered, sampled,
            too_large, rejected)
        ORDER BY log_id, hour
        ON CONFLICT (generation, log_id, hour) DO UPDATE SET
            folded = l.folded + excluded.folded,
            dead_lettered = l.dead_lettered + excluded.dead_lettered,
            expired = l.expired + excluded.expired,
            damaged = l.damaged + excluded.damaged,
            filtered = l.filtered + excluded.filtered,
            sampled = l.sampled + excluded.sampled,
            too_large = l.too_large + excluded.too_large,
            rejected = l.rejected + excluded.rejected
        """

    static let updateRegistry = """
        INSERT INTO sluice.log AS l (
            log_id, node, region, predecessor, started_at, heartbeat_at, next_offset, end_offset,
            ended_at, orgs, noted_at, noted_offset)
        SELECT log_id, node, region, predecessor,
            'epoch'::timestamptz + started_at * interval '1 microsecond',
            'epoch'::timestamptz + heartbeat_at * interval '1 microsecond',
            next_offset, end_offset,
            'epoch'::timestamptz + ended_at * interval '1 microsecond', orgs::text[],
            'epoch'::timestamptz + heartbeat_at * interval '1 microsecond', next_offset
        FROM unnest(
            $1::text[]::uuid[], $2::text[], $3::text[], $4::text[]::uuid[], $5::text[]::int8[],
            $6::text[]::int8[], $7::text[]::int8[], $8::text[]::int8[], $9::text[]::int8[],
            $10::text[])
        AS n (log_id, node, region, predecessor, started_at, heartbeat_at, next_offset,
            end_offset, ended_at, orgs)
        ORDER BY log_id
        ON CONFLICT (log_id) DO UPDATE SET
            node = coalesce(excluded.node, l.node),
            region = coalesce(excluded.region, l.region),
            predecessor = coalesce(excluded.predecessor, l.predecessor),
            started_at = coalesce(excluded.started_at, l.started_at),
            heartbeat_at = greatest(l.heartbeat_at, excluded.heartbeat_at),
            next_offset = greatest(l.next_offset, excluded.next_offset),
            end_offset = greatest(l.end_offset, excluded.end_offset),
            ended_at = coalesce(l.ended_at, excluded.ended_at),
            orgs = coalesce(nullif(l.orgs, '{}'), excluded.orgs, l.orgs),
            settled_offset = CASE
                WHEN excluded.heartbeat_at >= l.noted_at + interval '1 minute'
                THEN greatest(l.settled_offset, l.noted_offset) ELSE l.settled_offset END,
            noted_offset = CASE
                WHEN l.noted_at IS NULL
                    OR excluded.heartbeat_at >= l.noted_at + interval '1 minute'
                THEN greatest(l.next_offset, excluded.next_offset) ELSE l.noted_offset END,
            noted_at = CASE
                WHEN l.noted_at IS NULL
                    OR excluded.heartbeat_at >= l.noted_at + interval '1 minute'
                THEN greatest(l.heartbeat_at, excluded.heartbeat_at) ELSE l.noted_at END,
            last_folded_at = now()
        """

    static let insertTransportOffsets = """
        INSERT INTO sluice.transport_offset (cluster_id, topic, partition, next_offset)
        SELECT cluster_id, topic, partition, next_offset
        FROM unnest($1::text[], $2::text[], $3::int8[], $4::int8[])
        AS n (cluster_id, topic, partition, next_offset)
        ORDER BY cluster_id, topic, partition
        ON CONFLICT DO NOTHING
        """

    static let lockTransportOffsets = """
        SELECT FROM sluice.transport_offset
        WHERE (cluster_id, topic, partition) IN (
            SELECT * FROM unnest($1::text[], $2::text[], $3::int8[]))
        ORDER BY cluster_id, topic, partition
        FOR NO KEY UPDATE
        """

    /// A position moves only from within what was read to the end of it, unless it is replaced.
    static let updateTransportOffsets = """
        UPDATE sluice.transport_offset t
        SET next_offset = n.next_offset, last_log = n.last_log::uuid,
            last_offset = n.last_offset::int8, last_delivery = n.last_delivery::int8,
            anchor_place = n.anchor_place::int8, anchor_log = n.anchor_log::uuid,
            anchor_offset = n.anchor_offset::int8, anchor_delivery = n.anchor_delivery::int8,
            updated_at = now()
        FROM unnest(
            $1::text[], $2::text[], $3::int8[], $4::int8[], $5::int8[], $6::int8[], $7::text[],
            $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[])
        AS n (cluster_id, topic, partition, next_offset, base_offset, replaces, last_log,
            last_offset, last_delivery, anchor_place, anchor_log, anchor_offset, anchor_delivery)
        WHERE t.cluster_id = n.cluster_id AND t.topic = n.topic AND t.partition = n.partition
            AND (n.replaces <> 0 OR t.next_offset BETWEEN n.base_offset AND n.next_offset)
        """

    static let loadTransportOffsets = """
        SELECT partition, next_offset, last_log, last_offset, last_delivery,
            anchor_place, anchor_log, anchor_offset, anchor_delivery
        FROM sluice.transport_offset
        WHERE cluster_id = $1 AND topic = $2 AND partition = ANY ($3::int8[])
        """

    /// Locks above a sort are taken in the order of the sort.
    static let lockSources = """
        SELECT FROM sluice.source
        WHERE generation = $1 AND log_id = ANY ($2::text[]::uuid[])
        ORDER BY log_id
        FOR NO KEY UPDATE
        """

    static let updateSources = """
        UPDATE sluice.source s
        SET folded = s.folded + n.offsets::int8multirange
        FROM unnest($2::text[]::uuid[], $3::text[]) AS n (log_id, offsets)
        WHERE s.generation = $1 AND s.log_id = n.log_id
            AND NOT s.folded && n.offsets::int8multirange
        RETURNING s.log_id, (SELECT count(*) FROM unnest(s.folded))
        """

    static let loadFolded = """
        SELECT s.log_id, lower(r), upper(r)
        FROM sluice.source s CROSS JOIN unnest(s.folded) AS r
        WHERE s.generation = $1 AND s.log_id = ANY ($2::text[]::uuid[])
        ORDER BY 1, 2
        """

    /// One row per organisation, and one with null for a log that declares none.
    static let loadLogs = """
        SELECT l.log_id, l.end_offset, l.orgs IS NOT NULL, o.org
        FROM sluice.log l LEFT JOIN LATERAL unnest(l.orgs) AS o (org) ON true
        WHERE l.log_id = ANY ($1::text[]::uuid[])
        """

    static let activeGeneration = "SELECT id FROM sluice.generation WHERE state = 'active'"

    /// What the database says about some logs and partitions, in one snapshot.
    static func load(
        _ examination: Examination,
        on connection: PostgresConnection
    ) throws(PostgresError) -> FoldedState {
        try connection.transaction("ISOLATION LEVEL REPEATABLE READ READ ONLY") {
            () throws(PostgresError) in
            let catalog = try RollupCatalog(connection)
            let generation = Int64(catalog.generation)
            let names = PostgresValue.textArray(examination.logs.map(\.description))
            var state = FoldedState(catalog: catalog)
            try loadPositions(examination, into: &state, on: connection)
            guard !examination.logs.isEmpty else { return state }
            let ranges = try connection.query(loadFolded, [.int(generation), names])
            for row in 0..<ranges.rowCount {
                guard let uuid = ranges.uuid(row, 0), let lower = ranges.int(row, 1),
                    let upper = ranges.int(row, 2), lower >= 0, upper > lower
                else { continue }
                state.folded[LogID(high: uuid.high, low: uuid.low), default: OffsetRanges()]
                    .insert(UInt64(lower)..<UInt64(upper))
            }
            let known = try connection.query(loadLogs, [names])
            for row in 0..<known.rowCount {
                guard let uuid = known.uuid(row, 0) else { continue }
                let log = LogID(high: uuid.high, low: uuid.low)
                if let end = known.int(row, 1), end >= 0 { state.ends[log] = UInt64(end) }
                guard known.bool(row, 2) == true else { continue }
                let org = known.text(row, 3).map { [$0] } ?? []
                state.orgs[log, default: []].append(contentsOf: org)
            }
            return state
        }
    }

    /// Adds the stored positions of the partitions that are asked for.
    private static func loadPositions(
        _ examination: Examination,
        into state: inout FoldedState,
        on connection: PostgresConnection
    ) throws(PostgresError) {
        guard !examination.partitions.isEmpty else { return }
        let rows = try connection.query(
            loadTransportOffsets,
            [
                .text(examination.clusterID), .text(examination.topic),
                .intArray(examination.partitions.map(Int64.init)),
            ]
        )
        for row in 0..<rows.rowCount {
            guard let partition = rows.int(row, 0), let next = rows.int(row, 1) else { continue }
            state.positions[Int32(truncatingIfNeeded: partition)] = StoredPosition(
                nextOffset: next,
                last: landmark(at: next &- 1, rows, row, column: 2),
                anchor: rows.int(row, 5).map { landmark(at: $0, rows, row, column: 6) }
            )
        }
    }

    /// A stored landmark: log, offset and delivery from some column on.
    private static func landmark(
        at place: Int64,
        _ rows: PostgresResult,
        _ row: Int,
        column: Int
    ) -> Landmark {
        var landmark = Landmark(place: place)
        if let uuid = rows.uuid(row, column), let offset = rows.int(row, column + 1), offset >= 0 {
            landmark.identity = MessageIdentity(
                log: LogID(high: uuid.high, low: uuid.low),
                offset: UInt64(offset)
            )
        }
        landmark.delivery = rows.int(row, column + 2).map { UInt64(bitPattern: $0) }
        return landmark
    }

    /// What `updateTransportOffsets` stores beside the positions, from its parameter 5 on.
    static func details(of rows: [TransportOffset]) -> [PostgresValue] {
        var values: [PostgresValue] = [
            .intArray(rows.map(\.baseOffset)),
            .intArray(rows.map { $0.replaces ? 1 : 0 }),
        ]
        values += columns(rows.map(\.last))
        values.append(.textArray(rows.map { $0.anchor.map { String($0.place) } }))
        values += columns(rows.map(\.anchor))
        return values
    }

    /// Log, offset and delivery of landmarks.
    private static func columns(_ landmarks: [Landmark?]) -> [PostgresValue] {
        [
            .textArray(landmarks.map { $0?.identity?.log.description }),
            .textArray(landmarks.map { $0?.identity.map { String(Int64(clamping: $0.offset)) } }),
            .textArray(landmarks.map { $0?.delivery.map { String($0) } }),
        ]
    }
}
