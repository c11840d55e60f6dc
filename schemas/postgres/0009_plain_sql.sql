-- Migration 9: rollups for anybody with psql or Grafana. Views with names instead of ids, and functions that read
-- histograms and sketches (docs/formats/sketches.md). docs/sql.md documents them; nothing in Sluice itself uses them.

-- The buckets of a latency histogram that are not empty, with their counts.
CREATE FUNCTION sluice.histogram_cells(hist bytea, OUT bucket integer, OUT count bigint) RETURNS SETOF record
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    size     integer := length(hist);
    at       integer := 0;
    byte     integer;
    shift    integer;
    value    bigint;
    is_count boolean := false;
BEGIN
    bucket := -1;
    WHILE at < size LOOP
        value := 0;
        shift := 0;
        LOOP
            byte := get_byte(hist, at);
            at := at + 1;
            value := value | ((byte & 127)::bigint << shift);
            EXIT WHEN byte < 128;
            shift := shift + 7;
        END LOOP;
        IF is_count THEN
            count := value;
            RETURN NEXT;
        ELSE
            bucket := bucket + 1 + value::integer;
        END IF;
        is_count := NOT is_count;
    END LOOP;
END $$;

-- The middle of a bucket, in microseconds: at most 1/128 from every value in it.
CREATE FUNCTION sluice.histogram_middle(bucket integer) RETURNS numeric
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE
        WHEN bucket < 128 THEN bucket::numeric
        ELSE (64 + bucket % 64)::numeric * 2 ^ (bucket / 64 - 1) + 2 ^ (bucket / 64 - 2)
    END
$$;

-- The q-quantile in seconds: nearest rank, as percentile_disc, within 1 %. Null for an empty histogram.
CREATE FUNCTION sluice.quantile(hist bytea, q double precision) RETURNS double precision
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    cell  record;
    total bigint := 0;
    seen  bigint := 0;
    rank  bigint;
BEGIN
    IF q < 0 OR q > 1 THEN
        RAISE EXCEPTION 'sluice.quantile: % is not between 0 and 1', q;
    END IF;
    SELECT sum(c.count) INTO total FROM sluice.histogram_cells(hist) c;
    IF total IS NULL THEN
        RETURN NULL;
    END IF;
    rank := greatest(1, least(total, ceil(q * total)::bigint));
    FOR cell IN SELECT * FROM sluice.histogram_cells(hist) LOOP
        seen := seen + cell.count;
        IF seen >= rank THEN
            RETURN sluice.histogram_middle(cell.bucket) / 1e6;
        END IF;
    END LOOP;
    RETURN NULL;
END $$;

-- histogram_sum(bytea): merges histograms; the state is one count per bucket.
CREATE FUNCTION sluice.histogram_add(state bigint[], hist bytea) RETURNS bigint[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    cell record;
BEGIN
    IF hist IS NULL OR length(hist) = 0 THEN
        RETURN state;
    END IF;
    IF cardinality(state) = 0 THEN
        state := array_fill(0::bigint, ARRAY[3776]);
    END IF;
    FOR cell IN SELECT * FROM sluice.histogram_cells(hist) LOOP
        state[cell.bucket + 1] := state[cell.bucket + 1] + cell.count;
    END LOOP;
    RETURN state;
END $$;

CREATE FUNCTION sluice.histogram_encode(state bigint[]) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    hex      text := '';
    previous integer := -1;
    number   bigint;
BEGIN
    FOR bucket IN 0 .. cardinality(state) - 1 LOOP
        CONTINUE WHEN state[bucket + 1] = 0;
        FOREACH number IN ARRAY ARRAY[(bucket - previous - 1)::bigint, state[bucket + 1]] LOOP
            WHILE number > 127 LOOP
                hex := hex || lpad(to_hex((number & 127) | 128), 2, '0');
                number := number >> 7;
            END LOOP;
            hex := hex || lpad(to_hex(number), 2, '0');
        END LOOP;
        previous := bucket;
    END LOOP;
    RETURN decode(hex, 'hex');
END $$;

CREATE AGGREGATE sluice.histogram_sum(bytea) (
    SFUNC = sluice.histogram_add, STYPE = bigint[], INITCOND = '{}', FINALFUNC = sluice.histogram_encode,
    PARALLEL = SAFE
);

-- distinct_count(bytea): the estimated number of distinct values (σ 1.6 %) of all sketches together.
CREATE FUNCTION sluice.sketch_add(state integer[], sketch bytea) RETURNS integer[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    size  integer := coalesce(length(sketch), 0);
    at    integer := 1;
    byte  integer;
    shift integer;
    value bigint;
    place integer := -1;
    bits  integer;
BEGIN
    IF size = 0 THEN
        RETURN state;
    END IF;
    IF cardinality(state) = 0 THEN
        state := array_fill(0, ARRAY[4096]);
    END IF;
    IF get_byte(sketch, 0) = 1 THEN
        WHILE at < size LOOP
            value := 0;
            shift := 0;
            LOOP
                byte := get_byte(sketch, at);
                at := at + 1;
                value := value | ((byte & 127)::bigint << shift);
                EXIT WHEN byte < 128;
                shift := shift + 7;
            END LOOP;
            place := place + 1 + (value >> 6)::integer;
            state[place + 1] := greatest(state[place + 1], (value & 63)::integer);
        END LOOP;
    ELSE
        -- Four registers of six bits in three bytes.
        FOR triple IN 0 .. 1023 LOOP
            bits := get_byte(sketch, 1 + 3 * triple) | (get_byte(sketch, 2 + 3 * triple) << 8)
                | (get_byte(sketch, 3 + 3 * triple) << 16);
            FOR register IN 0 .. 3 LOOP
                place := 4 * triple + register + 1;
                state[place] := greatest(state[place], (bits >> (6 * register)) & 63);
            END LOOP;
        END LOOP;
    END IF;
    RETURN state;
END $$;

-- Ertl, "New cardinality estimation algorithms for HyperLogLog sketches", 2017, algorithm 6.
CREATE FUNCTION sluice.sketch_estimate(state integer[]) RETURNS double precision
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    counts   integer[] := array_fill(0, ARRAY[54]);
    rank     integer;
    x        double precision;
    y        double precision;
    z        double precision;
    previous double precision;
    total    double precision;
BEGIN
    IF cardinality(state) = 0 THEN
        RETURN 0;
    END IF;
    FOREACH rank IN ARRAY state LOOP
        counts[rank + 1] := counts[rank + 1] + 1;
    END LOOP;
    IF counts[1] = 4096 THEN
        RETURN 0;
    END IF;
    x := 1 - counts[54] / 4096.0;
    total := 0;
    IF x > 0 AND x < 1 THEN
        y := 1;
        z := 1 - x;
        LOOP
            x := sqrt(x);
            previous := z;
            y := y * 0.5;
            z := z - (1 - x) * (1 - x) * y;
            EXIT WHEN z = previous;
        END LOOP;
        total := 4096 * z / 3;
    END IF;
    FOR place IN REVERSE 52 .. 1 LOOP
        total := 0.5 * (total + counts[place + 1]);
    END LOOP;
    x := counts[1] / 4096.0;
    y := 1;
    z := x;
    LOOP
        -- Squaring a tiny number ends in an underflow error in SQL; it adds nothing any more.
        EXIT WHEN x < 1e-150;
        x := x * x;
        previous := z;
        z := z + x * y;
        y := y + y;
        EXIT WHEN z = previous;
    END LOOP;
    total := total + 4096 * z;
    RETURN 0.721347520444481703680 * 4096.0 * 4096.0 / total;
END $$;

CREATE AGGREGATE sluice.distinct_count(bytea) (
    SFUNC = sluice.sketch_add, STYPE = integer[], INITCOND = '{}', FINALFUNC = sluice.sketch_estimate,
    PARALLEL = SAFE
);

-- One view per rollup and tier over the tables of a generation: `usage` and `usage_15m`, `usage_1d` of rollup `api`,
-- `consumer_usage` and `consumer_usage_1d` of `consumer`. Rows that wait for the compactor are in them, so a group can
-- have several rows: always sum. Called again when another generation becomes active.
CREATE FUNCTION sluice.make_views(generation integer) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    schema  text := format('sluice_g%s', generation);
    view    record;
    names   text;
    joins   text;
    columns text[];
BEGIN
    FOR view IN
        SELECT * FROM (VALUES
            ('usage', 'api', '1m', 'x.bucket'),
            ('usage_15m', 'api', '15m', 'date_bin(''15 minutes'', x.bucket, ''epoch'')'),
            ('usage_1d', 'api', '1d', 'date_bin(''1 day'', x.bucket, ''epoch'')'),
            ('consumer_usage', 'consumer', '15m', 'x.bucket'),
            ('consumer_usage_1d', 'consumer', '1d', 'date_bin(''1 day'', x.bucket, ''epoch'')')
        ) v (name, rollup, tier, bucket)
    LOOP
        SELECT dimensions INTO STRICT columns FROM sluice.rollup WHERE rollup.name = view.rollup;
        SELECT
            string_agg(CASE d WHEN 'status' THEN 'nullif(r.status, 0) AS status'
                ELSE format('%1$I.value AS %1$I', d) END, ', ' ORDER BY n),
            string_agg(CASE d WHEN 'status' THEN ''
                ELSE format(' LEFT JOIN sluice.dimension %1$I ON %1$I.id = r.%1$I', d) END, '' ORDER BY n)
            INTO names, joins
        FROM unnest(columns) WITH ORDINALITY c (d, n);
        EXECUTE format(
            $view$
            CREATE OR REPLACE VIEW sluice.%1$I AS
            SELECT r.bucket, %2$s, r.requests, r.client_errors, r.server_errors,
                r.client_errors + r.server_errors AS errors, r.aborted, r.bytes_in, r.bytes_out,
                r.latency_count, r.latency_sum / 1e6::float8 AS latency_seconds,
                CASE WHEN r.latency_count > 0 THEN r.latency_min / 1e6::float8 END AS latency_min,
                CASE WHEN r.latency_count > 0 THEN r.latency_max / 1e6::float8 END AS latency_max,
                r.latency_hist, r.upstream_count, r.upstream_sum / 1e6::float8 AS upstream_seconds, r.upstream_hist,
                r.clients
            FROM (
                SELECT * FROM %3$I.%4$I
                UNION ALL
                SELECT %5$s, %6$s, x.requests, x.client_errors, x.server_errors, x.aborted, x.bytes_in, x.bytes_out,
                    x.latency_count, x.latency_sum, x.latency_min, x.latency_max, x.upstream_count, x.upstream_sum,
                    x.upstream_min, x.upstream_max, x.latency_hist, x.upstream_hist, x.clients%7$s
                FROM %3$I.%8$I x
            ) r%9$s
            $view$,
            view.name, names, schema, view.rollup || '_' || view.tier, view.bucket,
            (SELECT string_agg(format('x.%I', d), ', ' ORDER BY n) FROM unnest(columns) WITH ORDINALITY c (d, n)),
            CASE view.rollup WHEN 'api' THEN ', x.keys' ELSE '' END, view.rollup || '_delta', joins);
    END LOOP;
END $$;

SELECT sluice.make_views(1);
