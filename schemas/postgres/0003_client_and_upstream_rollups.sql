-- Migration 3: the rollups upstream, client_geo and client_agent, of generation 1.
-- Applied by `sluice migrate` in one transaction; never edited once released, only followed.

-- Folds under way end first: what they counted is not in the new rollups. Aggregators of an older
-- version must have been stopped, as they do not know these tables.
SELECT FROM sluice.generation FOR UPDATE;

-- Complete since the end of the last bucket that was counted without them; from the beginning (null,
-- as for the first rollups) if nothing was.
INSERT INTO sluice.rollup (name, dimensions, tiers, complete_since)
SELECT n.name, n.dimensions::text[], n.tiers::text[], l.until
FROM (VALUES
    ('upstream', '{org,api,upstream,outcome}', '{1m,15m,1d}'),
    ('client_geo', '{org,api,country,platform}', '{15m,1d}'),
    ('client_agent', '{org,api,user_agent}', '{15m,1d}')
) AS n (name, dimensions, tiers)
CROSS JOIN (
    SELECT max(bucket) + interval '15 minutes' AS until
    FROM (
        SELECT max(bucket) FROM sluice_g1.consumer_15m
        UNION ALL SELECT max(bucket) FROM sluice_g1.consumer_delta
    ) AS b (bucket)
) AS l;

CREATE TABLE sluice_g1.upstream_delta (
    bucket          timestamptz NOT NULL,
    org             integer NOT NULL,
    api             integer NOT NULL,
    upstream        integer NOT NULL,
    outcome         integer NOT NULL,
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

CREATE TABLE sluice_g1.upstream_1m (
    LIKE sluice_g1.upstream_delta,
    PRIMARY KEY (bucket, org, api, upstream, outcome)
) PARTITION BY RANGE (bucket);
CREATE TABLE sluice_g1.upstream_15m (
    LIKE sluice_g1.upstream_delta,
    PRIMARY KEY (bucket, org, api, upstream, outcome)
) PARTITION BY RANGE (bucket);
CREATE TABLE sluice_g1.upstream_1d (
    LIKE sluice_g1.upstream_delta,
    PRIMARY KEY (bucket, org, api, upstream, outcome)
) PARTITION BY RANGE (bucket);

CREATE TABLE sluice_g1.client_geo_delta (
    bucket          timestamptz NOT NULL,
    org             integer NOT NULL,
    api             integer NOT NULL,
    country         integer NOT NULL,
    platform        integer NOT NULL,
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

CREATE TABLE sluice_g1.client_geo_15m (
    LIKE sluice_g1.client_geo_delta,
    PRIMARY KEY (bucket, org, api, country, platform)
) PARTITION BY RANGE (bucket);
CREATE TABLE sluice_g1.client_geo_1d (
    LIKE sluice_g1.client_geo_delta,
    PRIMARY KEY (bucket, org, api, country, platform)
) PARTITION BY RANGE (bucket);

CREATE TABLE sluice_g1.client_agent_delta (
    bucket          timestamptz NOT NULL,
    org             integer NOT NULL,
    api             integer NOT NULL,
    user_agent      integer NOT NULL,
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

CREATE TABLE sluice_g1.client_agent_15m (
    LIKE sluice_g1.client_agent_delta,
    PRIMARY KEY (bucket, org, api, user_agent)
) PARTITION BY RANGE (bucket);
CREATE TABLE sluice_g1.client_agent_1d (
    LIKE sluice_g1.client_agent_delta,
    PRIMARY KEY (bucket, org, api, user_agent)
) PARTITION BY RANGE (bucket);
