-- Migration 29: views with names instead of ids of the rollups that users define, made and dropped with them. docs/sql.md
-- documents them; nothing in Sluice itself uses them.

ALTER FUNCTION sluice.make_views(integer) RENAME TO make_built_in_views;

-- The views of one rollup over the tables of a generation, as those of the built-in ones: NAME_usage of the finest tier,
-- NAME_usage_TIER of each coarser one. Columns of dimensions have the names of the query API.
CREATE FUNCTION sluice.make_rollup_views(generation integer, target text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    r       sluice.rollup;
    schema  text := format('sluice_g%s', generation);
    tier    record;
    names   text;
    joins   text;
    columns text;
BEGIN
    SELECT * INTO STRICT r FROM sluice.rollup WHERE name = target;
    SELECT
        string_agg(CASE d WHEN 'status' THEN 'nullif(r.status, 0) AS status'
            ELSE format('%1$I.value AS %1$I', d) END, ', ' ORDER BY n),
        string_agg(CASE d WHEN 'status' THEN ''
            ELSE format(' LEFT JOIN sluice.dimension %1$I ON %1$I.id = r.%1$I', d) END, '' ORDER BY n),
        string_agg(format('x.%I', d), ', ' ORDER BY n)
        INTO names, joins, columns
    FROM unnest(r.dimensions) WITH ORDINALITY c (d, n);
    FOR tier IN
        SELECT name, width, row_number() OVER (ORDER BY width) = 1 AS is_finest
        FROM (VALUES ('1m', interval '1 minute'), ('15m', '15 minutes'), ('1h', '1 hour'), ('1d', '24 hours'))
            AS t (name, width)
        WHERE name = ANY (r.tiers)
    LOOP
        EXECUTE format(
            $view$
            CREATE OR REPLACE VIEW sluice.%1$I AS
            SELECT r.bucket, %2$s, r.requests, r.client_errors, r.server_errors,
                r.client_errors + r.server_errors AS errors, r.aborted, r.bytes_in, r.bytes_out,
                r.latency_count, r.latency_sum / 1e6::float8 AS latency_seconds,
                CASE WHEN r.latency_count > 0 THEN r.latency_min / 1e6::float8 END AS latency_min,
                CASE WHEN r.latency_count > 0 THEN r.latency_max / 1e6::float8 END AS latency_max,
                r.latency_hist, r.upstream_count, r.upstream_sum / 1e6::float8 AS upstream_seconds, r.upstream_hist,
                r.clients%3$s
            FROM (
                SELECT * FROM %4$I.%5$I
                UNION ALL
                SELECT %6$s, %7$s, x.requests, x.client_errors, x.server_errors, x.aborted, x.bytes_in, x.bytes_out,
                    x.latency_count, x.latency_sum, x.latency_min, x.latency_max, x.upstream_count, x.upstream_sum,
                    x.upstream_min, x.upstream_max, x.latency_hist, x.upstream_hist, x.clients%8$s
                FROM %4$I.%9$I x
            ) r%10$s
            $view$,
            target || '_usage' || CASE WHEN tier.is_finest THEN '' ELSE '_' || tier.name END, names,
            CASE WHEN r.counts_keys THEN ', r.keys' ELSE '' END, schema, target || '_' || tier.name,
            CASE WHEN tier.is_finest THEN 'x.bucket' ELSE format('date_bin(%L, x.bucket, ''epoch'')', tier.width) END,
            columns, CASE WHEN r.counts_keys THEN ', x.keys' ELSE '' END, target || '_delta', joins);
    END LOOP;
END $$;

-- All views over the tables of a generation; called again when another one becomes active.
CREATE FUNCTION sluice.make_views(generation integer) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM sluice.make_built_in_views(generation);
    PERFORM sluice.make_rollup_views(generation, name) FROM sluice.rollup WHERE NOT is_built_in ORDER BY name;
END $$;

-- Adds a rollup to all generations that are not retired, and its views. It is complete since the end of the last bucket that
-- was counted without it, or from the beginning if nothing was.
CREATE OR REPLACE FUNCTION sluice.add_rollup(target text, dimensions text[], tiers text[], counts_keys boolean) RETURNS void
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
    PERFORM sluice.make_rollup_views(id, target) FROM sluice.generation WHERE state = 'active';
    UPDATE sluice.generation SET definitions = definitions + 1 WHERE state = 'active';
END $$;

-- Drops a rollup, its views and everything that it counted.
CREATE OR REPLACE FUNCTION sluice.drop_rollup(target text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    r sluice.rollup;
    g integer;
    t text;
BEGIN
    PERFORM FROM sluice.generation ORDER BY id FOR UPDATE;
    DELETE FROM sluice.rollup WHERE name = target AND NOT is_built_in RETURNING * INTO STRICT r;
    EXECUTE format('DROP VIEW IF EXISTS sluice.%I', target || '_usage');
    FOREACH t IN ARRAY r.tiers LOOP
        EXECUTE format('DROP VIEW IF EXISTS sluice.%I', target || '_usage_' || t);
    END LOOP;
    FOR g IN SELECT id FROM sluice.generation ORDER BY id LOOP
        FOREACH t IN ARRAY r.tiers || 'delta'::text LOOP
            EXECUTE format('DROP TABLE IF EXISTS sluice_g%s.%I', g, target || '_' || t);
        END LOOP;
    END LOOP;
    UPDATE sluice.generation SET definitions = definitions + 1 WHERE state = 'active';
END $$;

SELECT sluice.make_rollup_views(g.id, r.name)
FROM sluice.generation g, sluice.rollup r WHERE g.state = 'active' AND NOT r.is_built_in;
