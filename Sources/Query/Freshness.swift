package import Postgres
package import Rollups

/// How current the rollups are, and which generation of them is active; read with each question.
package struct Freshness: Equatable, Sendable {
    /// The active generation.
    package var generation: Int64

    /// Since when rollups are complete, by name, microseconds since the Unix epoch; one that is
    /// not here is complete from the beginning.
    package var completeSince: [String: Int64]

    /// From when on all raw records are there, the earliest of all times for always; nil if none
    /// are kept.
    package var recordsSince: Int64?

    /// The rollups that users have defined.
    package var userRollups: [RollupDefinition]

    /// Before when tiers were dropped, by rollup, microseconds since the Unix epoch.
    package var horizons: [String: [Tier: Int64]]

    /// Up to when all open logs are known to be counted and nothing is missing; nil if no log was
    /// ever seen, or the beginning of one is missing.
    package var completeTo: Int64?

    /// Whether any rollup has merged keys into `__other__`.
    package var hasOther: Bool

    /// Changes with every commit of a fold; the same state gives the same answers, except that
    /// keys may move into `__other__`.
    package var state: String

    /// Reads the state within the current transaction.
    ///
    /// A log is open until its end marker, until an operator retires it, or until 24 hours of
    /// silence. With no open log, nothing is outstanding: complete up to now, on a replica up to
    /// when the primary was where the replica is (`sluice.as_of`). An offset that is missing below
    /// one that is folded, or below the end of its log, is outstanding until it is folded, accepted
    /// as lost, or its log retired.
    package init(_ connection: PostgresConnection) throws(QueryFailure) {
        let result: PostgresResult
        do throws(PostgresError) {
            result = try connection.query(
                """
                SELECT
                  (SELECT id FROM sluice.generation WHERE state = 'active'),
                  (SELECT string_agg(
                      name || '=' || (extract(epoch FROM complete_since) * 1000000)::bigint, ',')
                    FROM sluice.rollup WHERE isfinite(complete_since)),
                  CASE WHEN count(*) = 0 THEN NULL
                    ELSE nullif(coalesce(
                      min(CASE WHEN is_open THEN least(known, missing_since)
                        ELSE missing_since END),
                      least(now(), nullif(current_setting('sluice.as_of', true), '')::timestamptz)
                    ), '-infinity') END,
                  EXISTS (SELECT FROM sluice.dimension WHERE value = '\(Self.other)'
                    AND (name IN (\(Self.names))
                      OR name IN (SELECT unnest(dimensions) FROM sluice.rollup
                        WHERE NOT is_built_in))),
                  coalesce(sum(mark), 0)::text,
                  (SELECT CASE WHEN since = '-infinity' THEN \(Self.always)
                      ELSE (extract(epoch FROM since) * 1000000)::bigint END
                    FROM (SELECT sluice.records_complete_since() AS since) r
                    WHERE since IS NOT NULL),
                  (SELECT string_agg(concat_ws('|', name, array_to_string(dimensions, ','),
                      array_to_string(tiers, ','), counts_keys::text), ';')
                    FROM sluice.rollup WHERE NOT is_built_in),
                  (SELECT string_agg(rollup || '|' || horizons, ';') FROM (
                      SELECT rollup, string_agg(
                        tier || '=' || (extract(epoch FROM horizon) * 1000000)::bigint, ',')
                        AS horizons
                      FROM sluice.rollup_tier WHERE isfinite(horizon) GROUP BY rollup) t)
                FROM (
                  SELECT coalesce(heartbeat_at, started_at, first_seen_at) AS known, missing_since,
                    ended_at IS NULL AND end_offset IS NULL AND retired_at IS NULL
                      AND greatest(heartbeat_at, last_folded_at) > now() - interval '24 hours'
                      AS is_open,
                    -- Every fold writes the row of each of its logs.
                    hashtextextended(log_id::text || row_version, 0)::numeric AS mark
                  FROM sluice.log_state
                ) l
                """
            )
        } catch { throw .database(error) }
        guard result.rowCount == 1, let generation = result.int(0, 0) else {
            throw .problem(
                Problem(.unavailable, "the database has no active generation; run sluice migrate")
            )
        }
        self.generation = generation
        completeSince = [:]
        for part in (result.text(0, 1) ?? "").split(separator: ",") {
            let halves = part.split(separator: "=")
            if halves.count == 2, let since = Int64(halves[1]) {
                completeSince[String(halves[0])] = since
            }
        }
        userRollups = Self.fields(result.text(0, 6)).compactMap { fields in
            guard fields.count == 4 else { return nil }
            return RollupDefinition(
                stored: fields[0],
                dimensions: fields[1],
                tiers: fields[2],
                countsKeys: fields[3] == "true"
            )
        }
        horizons = [:]
        for fields in Self.fields(result.text(0, 7)) where fields.count == 2 {
            horizons[fields[0]] = Tier.horizons(stored: fields[1])
        }
        completeTo = result.timestamp(0, 2)
        hasOther = result.bool(0, 3) ?? true
        state = result.text(0, 4) ?? ""
        recordsSince = result.int(0, 5)
        if let recordsSince, recordsSince > Self.always {
            completeSince[RollupDefinition.records.name] = recordsSince
        }
        keepHorizons()
    }

    /// Parts between semicolons, each as its fields between bars.
    private static func fields(_ text: String?) -> [[String]] {
        (text ?? "").split(separator: ";").map { part in
            part.split(separator: "|").map(String.init)
        }
    }

    /// A rollup of which even the longest kept tier was dropped is not complete before that.
    private mutating func keepHorizons() {
        for rollup in RollupDefinition.builtIn + userRollups {
            guard let kept = horizons[rollup.name] else { continue }
            let horizon = rollup.tiers.map { kept[$0] ?? .min }.min() ?? .min
            if horizon > .min {
                completeSince[rollup.name] = max(completeSince[rollup.name] ?? .min, horizon)
            }
        }
    }

    /// The rollups that questions may be answered from, smallest first.
    func rollups(besides builtIn: [RollupDefinition]) -> [RollupDefinition] {
        userRollups.isEmpty ? builtIn : RollupDefinition.sorted(builtIn + userRollups)
    }

    /// `recordsSince` as text; nil if all records are there.
    var recordsSinceText: String? {
        completeSince[RollupDefinition.records.name].map { CivilTime.precise(microseconds: $0) }
    }

    /// Stands for the earliest of all times; a number that PostgreSQL reads without a cast.
    private static let always: Int64 = -9_223_372_036_854_775_807

    private static let other = "__other__"

    /// The dimensions that have ids, as a list for SQL.
    private static let names = Dimension.allCases.filter { !$0.isInteger }
        .map { "'\($0.name)'" }.joined(separator: ", ")
}
