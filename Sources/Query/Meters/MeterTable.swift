import Postgres
import Rollups

/// A row of a revision before it is stored.
struct MeterAmount: Equatable, Sendable {
    /// Whom it belongs to.
    var owner: MeterOwner
    /// The whole quantity of the period.
    var quantity: Int64
    /// What was added to that of the revision before; 0 in the first.
    var correction: Int64
}

/// A revision before it is stored.
struct MeterDraft: Sendable {
    /// The meter, as the period was closed with.
    var meter: Meter
    /// Its definition's id.
    var definition: Int64
    /// The period.
    var period: MeterPeriod
    /// Number of the revision, from 1.
    var revision: Int64
    /// Up to when everything is counted, microseconds since the Unix epoch.
    var completeTo: Int64
    /// The generation that was read.
    var generation: Int64
    /// All requests of the period.
    var requests: Int64
    /// What was counted, and how.
    var count: MeterCount
    /// The rows.
    var amounts: [MeterAmount]

    /// The rows of a revision: all in the first, in later ones those that changed.
    static func amounts(
        before: [MeterOwner: Int64],
        after: [MeterOwner: Int64],
        revision: Int64
    ) -> [MeterAmount] {
        var amounts: [MeterAmount] = []
        for owner in Set(before.keys).union(after.keys) {
            let (old, new) = (before[owner] ?? 0, after[owner] ?? 0)
            guard old != new else { continue }
            amounts.append(
                MeterAmount(
                    owner: owner,
                    quantity: new,
                    correction: revision == 1 ? 0 : new - old
                )
            )
        }
        return amounts
    }

    /// What is told of it.
    var made: MeterRevision {
        MeterRevision(
            meter: meter.name,
            period: period,
            revision: revision,
            rowCount: amounts.count
        )
    }
}

/// A closed period as the bookkeeping has it.
struct ClosedPeriod: Sendable {
    /// The period.
    var period: MeterPeriod
    /// The definition that it was closed with.
    var definition: Int64
    /// The generation that was read last.
    var generation: Int64
    /// All its requests then.
    var requests: Int64
}

/// The tables of meters, read and written over one connection.
struct MeterTable {
    /// The connection; its thread does everything.
    let connection: PostgresConnection

    /// Tables over `connection`.
    init(_ connection: PostgresConnection) { self.connection = connection }

    /// Does `body` in a transaction that sees one snapshot.
    func transaction<T>(_ body: () throws(QueryFailure) -> T) throws(QueryFailure) -> T {
        try connection.transaction(MeterCloser.snapshot, mapping: QueryFailure.database, body)
    }

    private func query(
        _ sql: String,
        _ parameters: [PostgresValue]
    ) throws(QueryFailure) -> PostgresResult {
        do throws(PostgresError) {
            return try connection.query(sql, parameters)
        } catch { throw .database(error) }
    }

    /// Makes the meter and its definition known; refuses what would spoil its periods.
    ///
    /// - Returns: The id of the definition.
    func register(_ meter: Meter) throws(QueryFailure) -> Int64 {
        let name = PostgresValue.text(meter.name)
        let now = try query("SELECT now()", []).timestamp(0, 0) ?? 0
        let first =
            meter.firstDay.map { meter.period.containing(day: $0, zoneName: meter.zoneName) }
            ?? meter.period.containing(now / 1_000_000, zoneName: meter.zoneName)
        guard let first, first.start % 900 == 0 else {
            throw .problem(
                Problem(.invalidParameter, "its periods begin at no whole quarter of an hour")
            )
        }
        return try transaction { () throws(QueryFailure) in
            _ = try query(
                """
                INSERT INTO sluice.meter
                  (name, period, zone, aggregate, field, unit, first_start)
                VALUES ($1::text, $2::text, $3::text, $4::text, $5::text, $6::text, $7)
                ON CONFLICT (name) DO NOTHING
                """,
                [
                    name, .text(meter.period.rawValue), .text(meter.zoneName),
                    .text(meter.aggregate.rawValue), .init(meter.field?.rawValue),
                    .text(meter.unit), .timestamp(first.start * 1_000_000),
                ]
            )
            let known = try query(
                "SELECT period, zone FROM sluice.meter WHERE name = $1::text",
                [name]
            )
            guard known.text(0, 0) == meter.period.rawValue, known.text(0, 1) == meter.zoneName
            else {
                throw .problem(
                    Problem(
                        .invalidParameter,
                        "it was begun with periods of a \(known.text(0, 0) ?? "") in the zone "
                            + "\(known.text(0, 1) ?? ""), which cannot change; "
                            + "give the new meter a name of its own"
                    )
                )
            }
            _ = try query(
                """
                UPDATE sluice.meter SET aggregate = $2::text, field = $3::text, unit = $4::text
                WHERE name = $1::text
                  AND (aggregate, field, unit) IS DISTINCT FROM ($2::text, $3::text, $4::text)
                """,
                [
                    name, .text(meter.aggregate.rawValue), .init(meter.field?.rawValue),
                    .text(meter.unit),
                ]
            )
            return try self.definition(of: meter)
        }
    }

    private func definition(of meter: Meter) throws(QueryFailure) -> Int64 {
        let values: [PostgresValue] = [
            .text(meter.name), .text(meter.aggregate.rawValue), .init(meter.field?.rawValue),
            .textArray(meter.filters),
        ]
        _ = try query(
            """
            INSERT INTO sluice.meter_definition (meter, aggregate, field, filters)
            VALUES ($1::text, $2::text, $3::text, $4::text[]) ON CONFLICT DO NOTHING
            """,
            values
        )
        let found = try query(
            """
            SELECT id FROM sluice.meter_definition
            WHERE meter = $1::text AND aggregate = $2::text
              AND field IS NOT DISTINCT FROM $3::text AND filters = $4::text[]
            """,
            values
        )
        return found.int(0, 0) ?? 0
    }

    /// `meter` with what an earlier definition of its name counted.
    func meter(_ meter: Meter, asDefined id: Int64) throws(QueryFailure) -> Meter {
        let found = try query(
            """
            SELECT aggregate, field, coalesce(f.filter, ''), f.filter IS NOT NULL
            FROM sluice.meter_definition d LEFT JOIN LATERAL unnest(d.filters)
              WITH ORDINALITY AS f (filter, place) ON true
            WHERE d.id = $1 ORDER BY f.place
            """,
            [.int(id)]
        )
        var defined = meter
        defined.aggregate = found.text(0, 0).flatMap(Meter.Aggregate.init) ?? meter.aggregate
        defined.field = found.text(0, 1).flatMap(Meter.Field.init)
        defined.filters = (0..<found.rowCount).filter { found.bool($0, 3) == true }
            .compactMap { found.text($0, 2) }
        return defined
    }

    /// The period that is closed next.
    func nextPeriod(of meter: Meter) throws(QueryFailure) -> MeterPeriod? {
        let start = try query(
            "SELECT coalesce(closed_to, first_start) FROM sluice.meter WHERE name = $1::text",
            [.text(meter.name)]
        ).timestamp(0, 0)
        return start.flatMap {
            meter.period.containing($0 / 1_000_000, zoneName: meter.zoneName)
        }
    }

    /// The closed periods, in order of time: all, or those of the last 40 days.
    func closedPeriods(
        of meter: Meter,
        everything: Bool
    ) throws(QueryFailure) -> [ClosedPeriod] {
        let found = try query(
            """
            SELECT starts_at, ends_at, definition, generation::int8, requests
            FROM sluice.meter_period
            WHERE meter = $1::text AND ($2 OR ends_at > now() - interval '40 days')
            ORDER BY starts_at
            """,
            [.text(meter.name), .bool(everything)]
        )
        return (0..<found.rowCount).map { row in
            ClosedPeriod(
                period: MeterPeriod(
                    start: (found.timestamp(row, 0) ?? 0) / 1_000_000,
                    end: (found.timestamp(row, 1) ?? 0) / 1_000_000
                ),
                definition: found.int(row, 2) ?? 0,
                generation: found.int(row, 3) ?? 0,
                requests: found.int(row, 4) ?? 0
            )
        }
    }

    /// The latest revision of a period, and everybody's quantity as of it.
    func amounts(
        of meter: Meter,
        _ period: MeterPeriod
    ) throws(QueryFailure) -> (revision: Int64, quantities: [MeterOwner: Int64]) {
        let values: [PostgresValue] = [
            .text(meter.name), .timestamp(period.start * 1_000_000),
        ]
        let revision = try query(
            """
            SELECT max(revision)::int8 FROM sluice.meter_revision
            WHERE meter = $1::text AND starts_at = $2
            """,
            values
        ).int(0, 0)
        let found = try query(
            """
            SELECT DISTINCT ON (org, application) org, application, quantity
            FROM sluice.meter_amount WHERE meter = $1::text AND starts_at = $2
            ORDER BY org, application, revision DESC
            """,
            values
        )
        var quantities: [MeterOwner: Int64] = [:]
        for row in 0..<found.rowCount {
            let owner = MeterOwner(org: found.text(row, 0), application: found.text(row, 1))
            if let quantity = found.int(row, 2), quantity != 0 { quantities[owner] = quantity }
        }
        return (revision ?? 0, quantities)
    }

    /// Stores a revision, its rows, and which records it has counted.
    func insert(_ draft: MeterDraft) throws(QueryFailure) {
        let (start, end) = (draft.period.start * 1_000_000, draft.period.end * 1_000_000)
        let partial = draft.count.completeSince.flatMap { $0 > start ? $0 : nil }
        let stored = try query(
            """
            INSERT INTO sluice.meter_revision (meter, starts_at, ends_at, revision, definition,
              made_at, complete_to, complete_since, generation, rollup, requests, other_requests)
            VALUES ($1::text, $2, $3, $4, $5, now(), $6, $7, $8, $9::text, $10, $11)
            RETURNING id, made_at
            """,
            [
                .text(draft.meter.name), .timestamp(start), .timestamp(end), .int(draft.revision),
                .int(draft.definition), .timestamp(draft.completeTo),
                partial.map { .timestamp($0) } ?? .null, .int(draft.generation),
                .text(draft.count.rollup.name), .int(draft.requests),
                .int(draft.count.otherRequests),
            ]
        )
        let id = PostgresValue.int(stored.int(0, 0) ?? 0)
        _ = try query(
            """
            INSERT INTO sluice.meter_amount (revision_id, meter, starts_at, ends_at, zone, revision,
              made_at, org, application, quantity, correction, unit, is_estimate)
            SELECT $1, $2::text, $3, $4, $5::text, $6, $7, a.*, $12::text, $13
            FROM unnest($8::text[], $9::text[], $10::int8[], $11::int8[]) a
            """,
            [
                id, .text(draft.meter.name), .timestamp(start), .timestamp(end),
                .text(draft.meter.zoneName), .int(draft.revision),
                .timestamp(stored.timestamp(0, 1) ?? 0),
                .textArray(draft.amounts.map(\.owner.org)),
                .textArray(draft.amounts.map(\.owner.application)),
                .intArray(draft.amounts.map(\.quantity)),
                .intArray(draft.amounts.map(\.correction)), .text(draft.meter.unit),
                .bool(draft.meter.isEstimate(draft.count.rollup)),
            ]
        )
        _ = try query(
            """
            INSERT INTO sluice.meter_source (log_id, revision_id, folded)
            SELECT s.log_id, $1, s.folded
            FROM sluice.source s LEFT JOIN LATERAL (
                SELECT m.folded FROM sluice.meter_source m WHERE m.log_id = s.log_id
                ORDER BY m.revision_id DESC LIMIT 1
              ) m ON true
            WHERE s.generation = $2 AND s.folded IS DISTINCT FROM m.folded
            """,
            [id, .int(draft.generation)]
        )
    }

    /// Notes that a period is closed.
    func insertPeriod(_ draft: MeterDraft) throws(QueryFailure) {
        let values: [PostgresValue] = [
            .text(draft.meter.name), .timestamp(draft.period.start * 1_000_000),
            .timestamp(draft.period.end * 1_000_000), .int(draft.definition),
            .int(draft.generation), .int(draft.requests),
        ]
        _ = try query(
            """
            INSERT INTO sluice.meter_period
              (meter, starts_at, ends_at, definition, generation, requests)
            VALUES ($1::text, $2, $3, $4, $5, $6)
            """,
            values
        )
        _ = try query(
            "UPDATE sluice.meter SET closed_to = $2 WHERE name = $1::text",
            [values[0], values[2]]
        )
    }

    /// Notes that a period has been computed again.
    func updatePeriod(_ draft: MeterDraft) throws(QueryFailure) {
        _ = try query(
            """
            UPDATE sluice.meter_period SET generation = $3, requests = $4
            WHERE meter = $1::text AND starts_at = $2
            """,
            [
                .text(draft.meter.name), .timestamp(draft.period.start * 1_000_000),
                .int(draft.generation), .int(draft.requests),
            ]
        )
    }
}
