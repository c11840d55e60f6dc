-- Migration 28: answers are not complete beyond an offset that is missing.

-- A time before which everything of a log is counted, when an offset of it is missing: one below an offset that is folded, or
-- below the log's end. The offsets before it were appended in the hours that the ledger counts them under; the first hour
-- by which there are as many is not later than the one of the offset before the gap. A heartbeat that names the missing
-- offset or an earlier one as the next says more. Nothing is known of a log whose first offset is missing.
-- Not SQL: it is planned when it is called, and most logs have no gap.
CREATE FUNCTION sluice.missing_since(log uuid) RETURNS timestamptz
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    state    record;
    missing  bigint;
    appended bigint;
BEGIN
    SELECT l.*, s.generation, coalesce(s.folded, '{}') AS folded INTO state
    FROM sluice.log l LEFT JOIN (sluice.source s JOIN sluice.generation g ON g.id = s.generation AND g.state = 'active')
        ON s.log_id = l.log_id
    WHERE l.log_id = log;
    SELECT min(lower(r)) INTO missing FROM unnest(
        int8multirange(int8range(0, greatest(upper(state.folded), state.end_offset, 0))) - state.folded) AS r;
    -- The ledger has what was accepted as lost under the hour of the acceptance.
    SELECT missing - coalesce(sum(least(a.next_offset, missing) - a.first_offset), 0) INTO appended
    FROM sluice.accepted_gap a WHERE a.log_id = log AND a.first_offset < missing;
    IF coalesce(appended, 0) <= 0 THEN RETURN '-infinity'; END IF;
    RETURN greatest(
        (SELECT min(h.hour) FROM (
            SELECT e.hour, sum(e.folded + e.dead_lettered + e.dropped + e.expired + e.damaged + e.filtered + e.sampled
                + e.too_large + e.rejected) OVER (ORDER BY e.hour) AS so_far
            FROM sluice.ledger e WHERE e.generation = state.generation AND e.log_id = log
        ) h WHERE h.so_far >= appended),
        CASE WHEN state.noted_offset <= missing THEN state.noted_at END,
        CASE WHEN state.next_offset <= missing THEN state.heartbeat_at END,
        '-infinity'::timestamptz);
END $$;
REVOKE EXECUTE ON FUNCTION sluice.missing_since FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sluice.missing_since TO sluice_reader;

-- As before, with this time for logs with a gap that nobody has given up.
CREATE OR REPLACE VIEW sluice.log_state AS
SELECT l.log_id, l.started_at, l.heartbeat_at, l.first_seen_at, l.last_folded_at, l.ended_at, l.end_offset, l.retired_at,
    l.xmin::text AS row_version,
    CASE WHEN l.retired_at IS NULL
        AND int8multirange(int8range(0, greatest(upper(s.folded), l.end_offset, 0))) <> coalesce(s.folded, '{}')
    THEN sluice.missing_since(l.log_id) END AS missing_since
FROM sluice.log l
    LEFT JOIN (sluice.source s JOIN sluice.generation g ON g.id = s.generation AND g.state = 'active')
        ON s.log_id = l.log_id;
