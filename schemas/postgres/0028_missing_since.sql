-- Migration 28: answers are not complete beyond an offset that is missing.

-- As before, with a time before which everything of a log is counted, when an offset is missing: one below an offset that
-- is folded, or below the log's end. The offsets before it were appended in the hours that the ledger counts them under;
-- the first hour by which there are as many is not later than the one of the offset before the gap. A heartbeat that names
-- the missing offset or an earlier one as the next says more. Nothing is known of a log whose first offset is missing.
CREATE OR REPLACE VIEW sluice.log_state AS
SELECT l.log_id, l.started_at, l.heartbeat_at, l.first_seen_at, l.last_folded_at, l.ended_at, l.end_offset, l.retired_at,
    l.xmin::text AS row_version, m.since AS missing_since
FROM sluice.log l
    LEFT JOIN (sluice.source s JOIN sluice.generation g ON g.id = s.generation AND g.state = 'active')
        ON s.log_id = l.log_id
    LEFT JOIN LATERAL (
        SELECT CASE WHEN n.appended > 0 THEN greatest(
            (SELECT min(h.hour) FROM (
                SELECT e.hour, sum(e.folded + e.dead_lettered + e.dropped + e.expired + e.damaged + e.filtered + e.sampled
                    + e.too_large + e.rejected) OVER (ORDER BY e.hour) AS so_far
                FROM sluice.ledger e WHERE e.generation = s.generation AND e.log_id = l.log_id
            ) h WHERE h.so_far >= n.appended),
            CASE WHEN l.noted_offset <= n.first_offset THEN l.noted_at END,
            CASE WHEN l.next_offset <= n.first_offset THEN l.heartbeat_at END,
            '-infinity') ELSE '-infinity' END AS since
        FROM (
            -- The ledger has what was accepted as lost under the hour of the acceptance.
            SELECT f.first_offset, f.first_offset - coalesce((
                SELECT sum(least(a.next_offset, f.first_offset) - a.first_offset) FROM sluice.accepted_gap a
                WHERE a.log_id = l.log_id AND a.first_offset < f.first_offset), 0) AS appended
            FROM (
                SELECT min(lower(r)) AS first_offset FROM unnest(
                    int8multirange(int8range(0, greatest(upper(s.folded), l.end_offset, 0))) - coalesce(s.folded, '{}')
                ) AS r
            ) f
        ) n
    ) m ON l.retired_at IS NULL AND int8multirange(int8range(0, greatest(upper(s.folded), l.end_offset, 0)))
        <> coalesce(s.folded, '{}');
