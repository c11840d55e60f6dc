-- Migration 19: rollups that users define, and how long the tiers of each rollup are kept.
-- docs/decisions/0051-rollup-definitions.md says why it is made this way.

-- As in migration 3: aggregators of an older version do not know these definitions and must have been stopped.
SELECT FROM sluice.generation FOR UPDATE;

-- Versions of what folds have to agree on: which rollups there are, and what is too old for which tier. Folds hold the active
-- generation's row FOR SHARE and compare both; whoever changes definitions or horizons counts them up.
ALTER TABLE sluice.generation
    ADD COLUMN definitions bigint NOT NULL DEFAULT 1,
    ADD COLUMN horizons    bigint NOT NULL DEFAULT 1;

-- Whether the rollup comes with Sluice, and whether its rows have a sketch of distinct keys.
ALTER TABLE sluice.rollup
    ADD COLUMN is_built_in boolean NOT NULL DEFAULT false,
    ADD COLUMN counts_keys boolean NOT NULL DEFAULT true;
UPDATE sluice.rollup SET is_built_in = true, counts_keys = NOT 'key' = ANY (dimensions);

-- How long buckets of each tier are kept (null: for ever), and before when they have been, or may at any time be, dropped.
CREATE TABLE sluice.rollup_tier (
    rollup  text        NOT NULL REFERENCES sluice.rollup ON DELETE CASCADE,
    tier    text        NOT NULL CHECK (tier IN ('1m', '15m', '1h', '1d')),
    retain  interval,
    horizon timestamptz NOT NULL DEFAULT '-infinity',
    PRIMARY KEY (rollup, tier)
);
INSERT INTO sluice.rollup_tier (rollup, tier) SELECT name, unnest(tiers) FROM sluice.rollup;
GRANT SELECT ON sluice.rollup_tier TO sluice_reader;

-- Makes the tables of a rollup in a generation, like those of the built-in ones.
CREATE FUNCTION sluice.make_rollup_tables(generation integer, target text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    r      sluice.rollup;
    schema text := format('sluice_g%s', generation);
    delta  text := target || '_delta';
    tier   text;
    key    text;
BEGIN
    SELECT * INTO STRICT r FROM sluice.rollup WHERE name = target;
    EXECUTE format(
        'CREATE TABLE %I.%I (
            bucket timestamptz NOT NULL, %s, requests bigint NOT NULL, client_errors bigint NOT NULL,
            server_errors bigint NOT NULL, aborted bigint NOT NULL, bytes_in bigint NOT NULL, bytes_out bigint NOT NULL,
            latency_count bigint NOT NULL, latency_sum bigint NOT NULL, latency_min bigint NOT NULL,
            latency_max bigint NOT NULL, upstream_count bigint NOT NULL, upstream_sum bigint NOT NULL,
            upstream_min bigint NOT NULL, upstream_max bigint NOT NULL, latency_hist bytea NOT NULL,
            upstream_hist bytea NOT NULL, clients bytea NOT NULL%s
        ) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000)',
        schema, delta,
        (SELECT string_agg(format('%I integer NOT NULL', d), ', ' ORDER BY n)
         FROM unnest(r.dimensions) WITH ORDINALITY AS l (d, n)),
        CASE WHEN r.counts_keys THEN ', keys bytea NOT NULL' ELSE '' END);
    key := (SELECT string_agg(quote_ident(d), ', ' ORDER BY n)
        FROM unnest(array_remove(r.dimensions, 'org')) WITH ORDINALITY AS l (d, n));
    key := concat_ws(', ', CASE WHEN 'org' = ANY (r.dimensions) THEN 'org' END, 'bucket', key);
    FOREACH tier IN ARRAY r.tiers LOOP
        EXECUTE format('CREATE TABLE %1$I.%2$I (LIKE %1$I.%3$I, PRIMARY KEY (%4$s)) PARTITION BY RANGE (bucket)',
            schema, target || '_' || tier, delta, key);
        EXECUTE format('CREATE INDEX ON %I.%I USING brin (bucket)', schema, target || '_' || tier);
        PERFORM sluice.protect(format('%I.%I', schema, target || '_' || tier)::regclass);
    END LOOP;
    PERFORM sluice.protect(format('%I.%I', schema, delta)::regclass);
END $$;

-- The end of the last bucket of the active generation in which anything was counted; null if nothing was. Every record is
-- counted in `summary`.
CREATE FUNCTION sluice.counted_until() RETURNS timestamptz
LANGUAGE plpgsql AS $$
DECLARE
    schema text := (SELECT format('sluice_g%s', id) FROM sluice.generation WHERE state = 'active');
    day    timestamptz;
    tier   record;
    until  timestamptz;
    last   timestamptz;
BEGIN
    EXECUTE format('SELECT max(bucket) + interval ''1 minute'' FROM %I.summary_delta', schema) INTO until;
    EXECUTE format('SELECT max(bucket) FROM %I.summary_1d', schema) INTO day;
    IF day IS NULL THEN
        RETURN until;
    END IF;
    FOR tier IN SELECT * FROM (VALUES ('1m', '1 minute'), ('15m', '15 minutes'), ('1h', '1 hour'), ('1d', '24 hours'))
        AS t (name, width)
    LOOP
        EXECUTE format('SELECT max(bucket) + $1::interval FROM %I.%I WHERE bucket >= $2', schema, 'summary_' || tier.name)
            INTO last USING tier.width, day;
        IF last IS NOT NULL THEN
            RETURN greatest(last, until);
        END IF;
    END LOOP;
    RETURN until;
END $$;

-- Adds a rollup to all generations that are not retired. It is complete since the end of the last bucket that was counted
-- without it, or from the beginning if nothing was.
CREATE FUNCTION sluice.add_rollup(target text, dimensions text[], tiers text[], counts_keys boolean) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    g integer;
BEGIN
    -- Folds and compaction rounds under way end first, and later ones know the rollup.
    PERFORM FROM sluice.generation ORDER BY id FOR UPDATE;
    INSERT INTO sluice.rollup (name, dimensions, tiers, counts_keys, complete_since)
    VALUES (target, dimensions, tiers, counts_keys, sluice.counted_until());
    INSERT INTO sluice.rollup_tier (rollup, tier) SELECT target, unnest(tiers);
    FOR g IN SELECT id FROM sluice.generation WHERE state <> 'retired' ORDER BY id LOOP
        PERFORM sluice.make_rollup_tables(g, target);
    END LOOP;
    UPDATE sluice.generation SET definitions = definitions + 1 WHERE state = 'active';
END $$;

-- Drops a rollup and everything that it counted.
CREATE FUNCTION sluice.drop_rollup(target text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    r sluice.rollup;
    g integer;
    t text;
BEGIN
    PERFORM FROM sluice.generation ORDER BY id FOR UPDATE;
    DELETE FROM sluice.rollup WHERE name = target AND NOT is_built_in RETURNING * INTO STRICT r;
    FOR g IN SELECT id FROM sluice.generation ORDER BY id LOOP
        FOREACH t IN ARRAY r.tiers || 'delta'::text LOOP
            EXECUTE format('DROP TABLE IF EXISTS sluice_g%s.%I', g, target || '_' || t);
        END LOOP;
    END LOOP;
    UPDATE sluice.generation SET definitions = definitions + 1 WHERE state = 'active';
END $$;
