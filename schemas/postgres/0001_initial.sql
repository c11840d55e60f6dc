-- Migration 1: everything that the fold, the compactor and the query API share.
-- Applied by `sluice migrate` in one transaction; never edited once released, only followed.

CREATE SCHEMA sluice;

-- Migrations applied, in order.
CREATE TABLE sluice.migration (
    version    integer     PRIMARY KEY,
    name       text        NOT NULL,
    sha256     text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- Replay generations. Exactly one is active: queries read its tables, folds lock its row FOR SHARE.
CREATE TABLE sluice.generation (
    id         integer     PRIMARY KEY,
    state      text        NOT NULL CHECK (state IN ('active', 'building', 'retired')),
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX generation_active ON sluice.generation (state) WHERE state = 'active';
INSERT INTO sluice.generation (id, state) VALUES (1, 'active');

-- The offsets of each log that are already folded or skipped: the ledger that makes folding exactly-once.
CREATE TABLE sluice.source (
    generation integer        NOT NULL REFERENCES sluice.generation,
    log_id     uuid           NOT NULL,
    folded     int8multirange NOT NULL DEFAULT '{}',
    PRIMARY KEY (generation, log_id)
) WITH (fillfactor = 50);

-- What is known of each log besides its records; never decides what is counted.
CREATE TABLE sluice.log (
    log_id        uuid        PRIMARY KEY,
    node          text,
    region        text,
    predecessor   uuid,
    started_at    timestamptz,
    heartbeat_at  timestamptz,          -- time of the last heartbeat folded
    next_offset   bigint,               -- next offset named by that heartbeat
    end_offset    bigint,               -- from the end marker
    ended_at      timestamptz,
    retired_at    timestamptz,          -- by an operator
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    last_folded_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

-- The next offset to consume per transport partition (Kafka); moves in the fold transaction.
CREATE TABLE sluice.transport_offset (
    cluster_id  text    NOT NULL,
    topic       text    NOT NULL,
    partition   integer NOT NULL,
    next_offset bigint  NOT NULL,
    PRIMARY KEY (cluster_id, topic, partition)
);

-- Accounting per log and hour of append time.
CREATE TABLE sluice.ledger (
    generation    integer     NOT NULL,
    log_id        uuid        NOT NULL,
    hour          timestamptz NOT NULL,
    folded        bigint      NOT NULL DEFAULT 0,  -- counted in rollups, and markers (log start, heartbeat)
    dead_lettered bigint      NOT NULL DEFAULT 0,
    expired       bigint      NOT NULL DEFAULT 0,
    damaged       bigint      NOT NULL DEFAULT 0,
    filtered      bigint      NOT NULL DEFAULT 0,
    sampled       bigint      NOT NULL DEFAULT 0,
    too_large     bigint      NOT NULL DEFAULT 0,
    rejected      bigint      NOT NULL DEFAULT 0,
    PRIMARY KEY (generation, log_id, hour)
) WITH (fillfactor = 50);

-- Records that could not be folded, with reason and bytes; their offsets are accounted for.
CREATE TABLE sluice.dead_letter (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    consumer   text        NOT NULL DEFAULT 'aggregator',
    log_id     uuid        NOT NULL,
    "offset"   bigint      NOT NULL,
    reason     text        NOT NULL,
    detail     text,
    record     bytea       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (consumer, log_id, "offset")
);

-- Surrogate ids of dimension values. Id 0 is "absent" in every rollup and has no row here.
CREATE TABLE sluice.dimension (
    id    integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name  text    NOT NULL,
    value text    NOT NULL,
    UNIQUE (name, value)
);

-- Rollup definitions as installed.
CREATE TABLE sluice.rollup (
    name           text        PRIMARY KEY,
    dimensions     text[]      NOT NULL,
    tiers          text[]      NOT NULL,
    complete_since timestamptz,
    created_at     timestamptz NOT NULL DEFAULT now()
);
INSERT INTO sluice.rollup (name, dimensions, tiers) VALUES
    ('api', '{org,api,version,route,method,status,outcome,region}', '{1m,15m,1d}'),
    ('consumer', '{org,api,version,route,application,key,plan,status_class}', '{15m,1d}');

-- Bearer tokens of the query API; only the SHA-256 of the secret is stored.
CREATE TABLE sluice.token (
    id           text        PRIMARY KEY,
    secret_hash  bytea       NOT NULL UNIQUE,
    scope        text        NOT NULL CHECK (scope IN ('admin', 'org', 'application')),
    org          text,
    application  text,
    description  text,
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz,
    revoked_at   timestamptz,
    CHECK (scope = 'admin' OR org IS NOT NULL),
    CHECK ((scope = 'application') = (application IS NOT NULL))
);

-- Rollups of generation 1. Text dimensions are ids of sluice.dimension (0 = absent), status is the number
-- itself (0 = absent, -1 = __other__); durations are microseconds; empty histogram or sketch = empty bytea.
CREATE SCHEMA sluice_g1;

CREATE TABLE sluice_g1.api_delta (
    bucket          timestamptz NOT NULL,
    org             integer NOT NULL,
    api             integer NOT NULL,
    version         integer NOT NULL,
    route           integer NOT NULL,
    method          integer NOT NULL,
    status          integer NOT NULL,
    outcome         integer NOT NULL,
    region          integer NOT NULL,
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

CREATE TABLE sluice_g1.api_1m (
    LIKE sluice_g1.api_delta,
    PRIMARY KEY (bucket, org, api, version, route, method, status, outcome, region)
) PARTITION BY RANGE (bucket);
CREATE TABLE sluice_g1.api_15m (
    LIKE sluice_g1.api_delta,
    PRIMARY KEY (bucket, org, api, version, route, method, status, outcome, region)
) PARTITION BY RANGE (bucket);
CREATE TABLE sluice_g1.api_1d (
    LIKE sluice_g1.api_delta,
    PRIMARY KEY (bucket, org, api, version, route, method, status, outcome, region)
) PARTITION BY RANGE (bucket);

CREATE TABLE sluice_g1.consumer_delta (
    bucket          timestamptz NOT NULL,
    org             integer NOT NULL,
    api             integer NOT NULL,
    version         integer NOT NULL,
    route           integer NOT NULL,
    application     integer NOT NULL,
    key             integer NOT NULL,
    plan            integer NOT NULL,
    status_class    integer NOT NULL,
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
    clients         bytea   NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);

CREATE TABLE sluice_g1.consumer_15m (
    LIKE sluice_g1.consumer_delta,
    PRIMARY KEY (bucket, org, api, version, route, application, key, plan, status_class)
) PARTITION BY RANGE (bucket);
CREATE TABLE sluice_g1.consumer_1d (
    LIKE sluice_g1.consumer_delta,
    PRIMARY KEY (bucket, org, api, version, route, application, key, plan, status_class)
) PARTITION BY RANGE (bucket);
