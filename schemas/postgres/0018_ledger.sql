-- Migration 18: whether the ledger balances, and where it does not.

-- The next offset that a heartbeat named, noted once a minute: what lies below the previous note is older than a minute,
-- although the log goes on.
ALTER TABLE sluice.log
    ADD COLUMN noted_at       timestamptz,
    ADD COLUMN noted_offset   bigint,
    ADD COLUMN settled_offset bigint;

-- Offsets of the active generation that are neither folded nor skipped, although an end marker, a heartbeat or a record
-- of more than a minute ago lies behind them: [first_offset, next_offset).
CREATE VIEW sluice.gap WITH (security_invoker = true) AS
SELECT k.generation, k.log_id, lower(r) AS first_offset, upper(r) AS next_offset
FROM (
    SELECT g.id AS generation, l.log_id, coalesce(s.folded, '{}') AS folded, coalesce(greatest(
        l.settled_offset,
        CASE WHEN l.ended_at < now() - interval '1 minute' THEN l.end_offset END,
        CASE WHEN l.noted_at < now() - interval '1 minute' THEN l.noted_offset END,
        CASE WHEN l.heartbeat_at < now() - interval '1 minute' THEN l.next_offset END,
        CASE WHEN l.last_folded_at < now() - interval '1 minute' THEN upper(s.folded) END), 0) AS known
    FROM sluice.generation g CROSS JOIN sluice.log l
        LEFT JOIN sluice.source s ON s.generation = g.id AND s.log_id = l.log_id
    WHERE g.state = 'active'
) k CROSS JOIN LATERAL unnest(int8multirange(int8range(0, greatest(k.known, 0))) - k.folded) AS r;

-- What became of the offsets of each log in the active generation. The ledger balances when `accounted`, the sum of its
-- counters, is `covered`, the size of the folded set, and there is no gap; `appended - accounted` is pending.
CREATE VIEW sluice.log_account WITH (security_invoker = true) AS
SELECT g.id AS generation, l.log_id, l.node, l.region, l.started_at, l.heartbeat_at, l.ended_at, l.first_seen_at,
    CASE WHEN l.retired_at IS NOT NULL THEN 'retired'
        WHEN l.ended_at IS NOT NULL OR l.end_offset IS NOT NULL THEN 'ended'
        WHEN greatest(l.heartbeat_at, l.last_folded_at) > now() - interval '24 hours' THEN 'open'
        ELSE 'assumed_gone' END AS state,
    greatest(l.end_offset, l.next_offset, upper(s.folded), 0) AS appended,
    coalesce((SELECT sum(upper(r) - lower(r)) FROM unnest(s.folded) AS r), 0)::bigint AS covered,
    coalesce(e.folded + e.dead_lettered + e.dropped + e.expired + e.damaged + e.filtered + e.sampled + e.too_large
        + e.rejected, 0)::bigint AS accounted,
    coalesce(e.folded, 0)::bigint AS folded, coalesce(e.dead_lettered, 0)::bigint AS dead_lettered,
    coalesce(e.expired, 0)::bigint AS expired, coalesce(e.damaged, 0)::bigint AS damaged,
    coalesce(e.filtered, 0)::bigint AS filtered, coalesce(e.sampled, 0)::bigint AS sampled,
    coalesce(e.too_large, 0)::bigint AS too_large, coalesce(e.rejected, 0)::bigint AS rejected,
    coalesce(e.dropped, 0)::bigint AS dropped,
    coalesce(m.missing, 0)::bigint AS missing
FROM sluice.generation g CROSS JOIN sluice.log l
    LEFT JOIN sluice.source s ON s.generation = g.id AND s.log_id = l.log_id
    LEFT JOIN (
        SELECT generation, log_id, sum(folded) AS folded, sum(dead_lettered) AS dead_lettered, sum(expired) AS expired,
            sum(damaged) AS damaged, sum(filtered) AS filtered, sum(sampled) AS sampled, sum(too_large) AS too_large,
            sum(rejected) AS rejected, sum(dropped) AS dropped
        FROM sluice.ledger GROUP BY generation, log_id
    ) e ON e.generation = g.id AND e.log_id = l.log_id
    LEFT JOIN (
        SELECT generation, log_id, sum(next_offset - first_offset) AS missing FROM sluice.gap GROUP BY generation, log_id
    ) m ON m.generation = g.id AND m.log_id = l.log_id
WHERE g.state = 'active';

-- Both read as whoever asks; for the query API that is an admin.
SELECT sluice.protect('sluice.source');
GRANT SELECT ON sluice.gap, sluice.log_account TO sluice_reader;
