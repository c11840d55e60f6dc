-- Migration 10: the rollup summary (org, api) with a tier of hours, of generation 1: long ranges of whole APIs, also by
-- local days and hours, read few rows.

-- As in migration 3.
SELECT FROM sluice.generation FOR UPDATE;

INSERT INTO sluice.rollup (name, dimensions, tiers, complete_since)
SELECT 'summary', '{org,api}', '{1m,15m,1h,1d}', max(bucket) + interval '15 minutes'
FROM (
    SELECT max(bucket) FROM sluice_g1.consumer_15m
    UNION ALL SELECT max(bucket) FROM sluice_g1.consumer_delta
) AS b (bucket);

CREATE TABLE sluice_g1.summary_delta (
    bucket          timestamptz NOT NULL,
    org             integer NOT NULL,
    api             integer NOT NULL,
    requests        bigint  NOT NULL,
    client_errors   bigint  NOT NULL,
    server_errors   bigint  NOT NULL,
    aborted         bigint  NOT NULL,
    bytes_in        bigint  NOT NULL,
    bytes_out       bigint  NOT NULL,
    latency_count   bigint  NOT NULL,
    latency_sum     bigint  NOT NULL,
    latency_min     bigint  NOT NULL,
    latency_max     bigint  NOT NULL,
    upstream_count  bigint  NOT NULL,
    upstream_sum    bigint  NOT NULL,
    upstream_min    bigint  NOT NULL,
    upstream_max    bigint  NOT NULL,
    latency_hist    bytea   NOT NULL,
    upstream_hist   bytea   NOT NULL,
    clients         bytea   NOT NULL,
    keys            bytea   NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);

-- The organisation first: most questions are about one, and its rows of a month then lie together in the index.
CREATE TABLE sluice_g1.summary_1m (
    LIKE sluice_g1.summary_delta,
    PRIMARY KEY (org, bucket, api)
) PARTITION BY RANGE (bucket);
CREATE TABLE sluice_g1.summary_15m (
    LIKE sluice_g1.summary_delta,
    PRIMARY KEY (org, bucket, api)
) PARTITION BY RANGE (bucket);
CREATE TABLE sluice_g1.summary_1h (
    LIKE sluice_g1.summary_delta,
    PRIMARY KEY (org, bucket, api)
) PARTITION BY RANGE (bucket);
CREATE TABLE sluice_g1.summary_1d (
    LIKE sluice_g1.summary_delta,
    PRIMARY KEY (org, bucket, api)
) PARTITION BY RANGE (bucket);
