-- Migration 13: raw records for the log browser and for questions that no rollup covers. Empty unless the configuration
-- says `records: { retain: … }`. docs/decisions/0047-raw-records.md says why it is made this way.

-- One row per request. Text that is absent is null; durations are microseconds. Facts, not results: the table belongs to
-- no generation.
CREATE TABLE sluice.records (
    completed_at        timestamptz NOT NULL,
    log_id              uuid        NOT NULL,
    "offset"            bigint      NOT NULL,
    started_at          timestamptz,
    org                 text,
    api                 text,
    version             text,
    route               text,
    method              text,
    scheme              text,
    host                text,
    path                text,
    query               text,
    status              smallint,
    outcome             text,
    error               text,       -- 'client' or 'server', by the rules of the rollups; null for no error
    latency             bigint,
    upstream            text,
    upstream_status     integer,
    upstream_latency    bigint,
    upstream_connect    bigint,
    upstream_first_byte bigint,
    gateway_latency     bigint,
    bytes_in            bigint      NOT NULL,
    bytes_out           bigint      NOT NULL,
    application         text,
    key                 text,
    developer           text,
    plan                text,
    node                text,
    region              text,
    client_ip           text,
    country             text,
    platform            text,
    user_agent          text,       -- the family
    user_agent_string   text,
    cache               text,
    retries             integer     NOT NULL,
    request_id          bytea,
    trace_id            bytea,
    tags                text[]      -- name=value
) PARTITION BY RANGE (completed_at);

-- The order of pages, for everybody and for one organisation; and one record by its identity.
CREATE INDEX records_time ON sluice.records (completed_at, log_id, "offset");
CREATE INDEX records_org ON sluice.records (org, completed_at, log_id, "offset");
CREATE INDEX records_identity ON sluice.records (log_id, "offset");

-- The offsets of each log that have been loaded, or were too old to be: whatever generation folds a record, it is loaded
-- once. Kept beside sluice.source, which has one set per generation.
CREATE TABLE sluice.record_source (
    log_id uuid           PRIMARY KEY,
    loaded int8multirange NOT NULL DEFAULT '{}'
) WITH (fillfactor = 50);

-- Since when records are loaded (null: they are not), and before when they have been, or may at any time be, dropped. One
-- row; folds that load lock it FOR SHARE, so that a partition is dropped only when nobody writes into it.
CREATE TABLE sluice.record_retention (
    is_only boolean     PRIMARY KEY DEFAULT true CHECK (is_only),
    since   timestamptz,
    horizon timestamptz NOT NULL DEFAULT '-infinity',
    retain  interval    NOT NULL DEFAULT '0'    -- the latest configured; holds for what is left when loading is turned off
);
INSERT INTO sluice.record_retention DEFAULT VALUES;

-- What everybody may know of it: from when on all records are there; null if none are kept.
CREATE FUNCTION sluice.records_complete_since() RETURNS timestamptz
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT greatest(since, horizon) FROM sluice.record_retention WHERE since IS NOT NULL
$$;

-- Makes the partition of a day (UTC) if it is not there. ATTACH locks out neither readers nor writers, which CREATE TABLE …
-- PARTITION OF would.
CREATE FUNCTION sluice.make_records_partition(day date) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    name  text := 'records_p' || to_char(day, 'YYYYMMDD');
    first timestamptz := day::timestamp AT TIME ZONE 'UTC';
BEGIN
    -- An arbitrary number ("records" in ASCII).
    PERFORM pg_advisory_xact_lock(x'7265636f726473'::bigint);
    IF to_regclass('sluice.' || name) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE sluice.%I (LIKE sluice.records INCLUDING ALL)', name);
    EXECUTE format('ALTER TABLE sluice.records ATTACH PARTITION sluice.%I FOR VALUES FROM (%L) TO (%L)',
        name, first, first + interval '1 day');
END $$;

-- Migration 14 protects the table; this is for a database that has that one already.
DO $$
BEGIN
    IF to_regproc('sluice.protect') IS NOT NULL THEN
        PERFORM sluice.protect('sluice.records');
    END IF;
END $$;
