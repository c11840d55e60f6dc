-- Migration 21: gaps that an operator has accepted as lost.

-- Offsets that nobody will ever have: they are in the folded set from then on, so that a record of them that turns up after
-- all is not counted any more.
ALTER TABLE sluice.ledger ADD COLUMN lost bigint NOT NULL DEFAULT 0;

-- Who accepted what, and why: [first_offset, next_offset).
CREATE TABLE sluice.accepted_gap (
    log_id       uuid        NOT NULL,
    first_offset bigint      NOT NULL,
    next_offset  bigint      NOT NULL CHECK (next_offset > first_offset),
    reason       text        NOT NULL,
    accepted_by  text        NOT NULL,
    accepted_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (log_id, first_offset)
);
SELECT sluice.protect('sluice.accepted_gap');

-- As before, with what was lost.
CREATE OR REPLACE VIEW sluice.log_account WITH (security_invoker = true) AS
SELECT g.id AS generation, l.log_id, l.node, l.region, l.started_at, l.heartbeat_at, l.ended_at, l.first_seen_at,
    CASE WHEN l.retired_at IS NOT NULL THEN 'retired'
        WHEN l.ended_at IS NOT NULL OR l.end_offset IS NOT NULL THEN 'ended'
        WHEN greatest(l.heartbeat_at, l.last_folded_at) > now() - interval '24 hours' THEN 'open'
        ELSE 'assumed_gone' END AS state,
    greatest(l.end_offset, l.next_offset, upper(s.folded), 0) AS appended,
    coalesce((SELECT sum(upper(r) - lower(r)) FROM unnest(s.folded) AS r), 0)::bigint AS covered,
    coalesce(e.folded + e.dead_lettered + e.dropped + e.expired + e.damaged + e.filtered + e.sampled + e.too_large
        + e.rejected + e.lost, 0)::bigint AS accounted,
    coalesce(e.folded, 0)::bigint AS folded, coalesce(e.dead_lettered, 0)::bigint AS dead_lettered,
    coalesce(e.expired, 0)::bigint AS expired, coalesce(e.damaged, 0)::bigint AS damaged,
    coalesce(e.filtered, 0)::bigint AS filtered, coalesce(e.sampled, 0)::bigint AS sampled,
    coalesce(e.too_large, 0)::bigint AS too_large, coalesce(e.rejected, 0)::bigint AS rejected,
    coalesce(e.dropped, 0)::bigint AS dropped,
    coalesce(m.missing, 0)::bigint AS missing, coalesce(e.lost, 0)::bigint AS lost
FROM sluice.generation g CROSS JOIN sluice.log l
    LEFT JOIN sluice.source s ON s.generation = g.id AND s.log_id = l.log_id
    LEFT JOIN (
        SELECT generation, log_id, sum(folded) AS folded, sum(dead_lettered) AS dead_lettered, sum(expired) AS expired,
            sum(damaged) AS damaged, sum(filtered) AS filtered, sum(sampled) AS sampled, sum(too_large) AS too_large,
            sum(rejected) AS rejected, sum(dropped) AS dropped, sum(lost) AS lost
        FROM sluice.ledger GROUP BY generation, log_id
    ) e ON e.generation = g.id AND e.log_id = l.log_id
    LEFT JOIN (
        SELECT generation, log_id, sum(next_offset - first_offset) AS missing FROM sluice.gap GROUP BY generation, log_id
    ) m ON m.generation = g.id AND m.log_id = l.log_id
WHERE g.state = 'active';
