-- What a dashboard question of 90 days costs PostgreSQL: one organisation of ten, its APIs by local days in Berlin, requests and latency
-- histograms, over 10.4 million rows of rollup api, and over rollup summary. In an empty database:
--   psql --file=schemas/postgres/… (all, in order), then psql --file=Benchmarks/query.sql
\set QUIET on
SET work_mem = '32MB';
SET jit = off;
CREATE TABLE sluice_g1.api_15m_bench PARTITION OF sluice_g1.api_15m FOR VALUES FROM ('2026-01-01') TO ('2026-04-01');
CREATE TABLE sluice_g1.summary_1h_bench PARTITION OF sluice_g1.summary_1h FOR VALUES FROM ('2026-01-01') TO ('2026-04-01');
INSERT INTO sluice_g1.api_15m
SELECT b, o, 100 + o * 10 + a, 1, 1000 + k % 6, 1, CASE WHEN k < 6 THEN 200 ELSE 503 END, 1, 1,
    20 + k, k, k / 2, 0, 5000, 90000, 20, 900000, 800, 250000, 0, 0, 0, 0,
    decode('c605010c05010209010301070206010a0214011e0102030602', 'hex'), '', '', ''
FROM generate_series('2026-01-01'::timestamptz, '2026-03-31 23:45', '15 min') b,
    generate_series(1, 10) o, generate_series(0, 9) a, generate_series(0, 11) k;
INSERT INTO sluice_g1.summary_1h
SELECT b, o, 100 + o * 10 + a, 1200, 60, 30, 0, 240000, 4320000, 1200, 43200000, 800, 250000, 0, 0, 0, 0,
    decode('c605010c05010209010301070206010a0214011e0102030602030501020301040103010201', 'hex'), '', '', ''
FROM generate_series('2026-01-01'::timestamptz, '2026-03-31 23:00', '1 hour') b,
    generate_series(1, 10) o, generate_series(0, 9) a;
VACUUM ANALYZE sluice_g1.api_15m_bench;
VACUUM ANALYZE sluice_g1.summary_1h_bench;
CREATE TEMP TABLE days AS
SELECT array_agg(d::timestamp AT TIME ZONE 'Europe/Berlin' ORDER BY d) AS starts
FROM generate_series('2026-01-01'::date, '2026-03-31', '1 day') d;
SELECT starts FROM days \gset
PREPARE wide AS
SELECT b, api, sum(requests), array_agg(latency_hist)
FROM (
    SELECT width_bucket(bucket, :'starts'::timestamptz[]) AS b, bucket, api, requests, latency_hist
    FROM sluice_g1.api_15m WHERE bucket >= '2025-12-31 23:00Z' AND bucket < '2026-03-31 22:00Z' AND org = 3
) u GROUP BY b, api, bucket ORDER BY b, api;
PREPARE narrow AS
SELECT b, api, sum(requests), array_agg(latency_hist)
FROM (
    SELECT width_bucket(bucket, :'starts'::timestamptz[]) AS b, api, requests, latency_hist
    FROM sluice_g1.summary_1h WHERE bucket >= '2025-12-31 23:00Z' AND bucket < '2026-03-31 22:00Z' AND org = 3
) u GROUP BY b, api ORDER BY b, api;
\echo rollup api, quarters of an hour
EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY on) EXECUTE wide;
EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY on) EXECUTE wide;
\echo rollup summary, hours
EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY on) EXECUTE narrow;
EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY on) EXECUTE narrow;
