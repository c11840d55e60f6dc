-- Migration 24: meters for billing, and the state of alert rules. docs/decisions/0052-meters.md says why it is made this way.

-- Meters as they are configured now. Period and zone of a meter never change: its periods would overlap or leave a hole.
CREATE TABLE sluice.meter (
    name        text        PRIMARY KEY,
    period      text        NOT NULL CHECK (period IN ('day', 'week', 'month')),
    zone        text        NOT NULL,   -- IANA name of the time zone that periods follow
    aggregate   text        NOT NULL,
    field       text,
    unit        text        NOT NULL,
    first_start timestamptz NOT NULL,   -- start of the first period
    closed_to   timestamptz,            -- end of the last closed period; the next one begins there
    created_at  timestamptz NOT NULL DEFAULT now()
);

-- What has been counted under a meter's name: a period keeps the definition that it was closed with.
CREATE TABLE sluice.meter_definition (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    meter      text        NOT NULL REFERENCES sluice.meter,
    aggregate  text        NOT NULL,
    field      text,
    filters    text[]      NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE NULLS NOT DISTINCT (meter, aggregate, field, filters)
);

-- Closed periods, and how many requests of the whole period had been counted when they were last computed: a period whose
-- number has grown is computed again. Bookkeeping, no result.
CREATE TABLE sluice.meter_period (
    meter      text        NOT NULL REFERENCES sluice.meter,
    starts_at  timestamptz NOT NULL,
    ends_at    timestamptz NOT NULL CHECK (ends_at > starts_at),
    definition bigint      NOT NULL REFERENCES sluice.meter_definition,
    generation integer     NOT NULL,
    requests   bigint      NOT NULL,
    PRIMARY KEY (meter, starts_at)
);

-- Revisions of closed periods. The first is made when the period closes, a further one when late records have changed
-- somebody's quantity. Ids grow with time: only one process at a time makes revisions.
CREATE TABLE sluice.meter_revision (
    id             bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    meter          text        NOT NULL REFERENCES sluice.meter,
    starts_at      timestamptz NOT NULL,
    ends_at        timestamptz NOT NULL,
    revision       integer     NOT NULL CHECK (revision > 0),
    definition     bigint      NOT NULL REFERENCES sluice.meter_definition,
    made_at        timestamptz NOT NULL,
    complete_to    timestamptz NOT NULL,
    complete_since timestamptz,             -- when later than starts_at, something may be missing before it
    generation     integer     NOT NULL,
    rollup         text        NOT NULL,
    requests       bigint      NOT NULL,    -- all requests of the period, whatever the meter's filters
    other_requests bigint      NOT NULL,    -- of these those in __other__ that the filters might have matched
    UNIQUE (meter, starts_at, revision)
);

-- The rows of a revision: in the first, one per application that used something; in later ones, those that changed.
-- `quantity` is the whole quantity of the period as of this revision, `correction` what was added to that of the revision
-- before (0 in the first). Durations are microseconds. Each row says all that an invoice needs.
CREATE TABLE sluice.meter_amount (
    revision_id bigint      NOT NULL REFERENCES sluice.meter_revision,
    meter       text        NOT NULL,
    starts_at   timestamptz NOT NULL,
    ends_at     timestamptz NOT NULL,
    zone        text        NOT NULL,
    revision    integer     NOT NULL,
    made_at     timestamptz NOT NULL,
    org         text,
    application text,
    quantity    bigint      NOT NULL,
    correction  bigint      NOT NULL,
    unit        text        NOT NULL,
    is_estimate boolean     NOT NULL,
    UNIQUE NULLS NOT DISTINCT (meter, starts_at, org, application, revision)
);
CREATE INDEX meter_amount_revision ON sluice.meter_amount (revision_id);

-- Exactly which records a revision has counted: of each log the row with the largest revision_id that is not larger than
-- the revision's. A row is written only if the set has grown since the log's row before.
CREATE TABLE sluice.meter_source (
    log_id      uuid           NOT NULL,
    revision_id bigint         NOT NULL REFERENCES sluice.meter_revision,
    folded      int8multirange NOT NULL,
    PRIMARY KEY (log_id, revision_id)
);

-- What has been billed never changes, whoever asks.
CREATE FUNCTION sluice.refuse_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of %.% never change', tg_table_schema, tg_table_name
        USING HINT = 'a correction is a new revision; sluice makes it by itself';
END $$;
DO $$
DECLARE
    target text;
BEGIN
    FOREACH target IN ARRAY ARRAY['meter_definition', 'meter_revision', 'meter_amount', 'meter_source'] LOOP
        EXECUTE format('CREATE TRIGGER never_changes BEFORE UPDATE OR DELETE ON sluice.%I
            FOR EACH ROW EXECUTE FUNCTION sluice.refuse_change()', target);
        EXECUTE format('CREATE TRIGGER never_emptied BEFORE TRUNCATE ON sluice.%I
            FOR EACH STATEMENT EXECUTE FUNCTION sluice.refuse_change()', target);
    END LOOP;
END $$;

-- Amounts are shown to whom they belong; how they were made, to admins. Who has an amount of a meter may know that there is
-- such a meter.
SELECT sluice.protect('sluice.meter_amount'), sluice.protect('sluice.meter_definition'),
    sluice.protect('sluice.meter_revision'), sluice.protect('sluice.meter_period');
ALTER TABLE sluice.meter ENABLE ROW LEVEL SECURITY;
CREATE POLICY reader ON sluice.meter FOR SELECT TO sluice_reader USING (
    (SELECT current_setting('sluice.scope', true) = 'admin')
    OR EXISTS (SELECT FROM sluice.meter_amount a WHERE a.meter = name)
);
GRANT SELECT ON sluice.meter TO sluice_reader;

-- What each alert rule last found, per subject (an application under a quota; '' for the rule as a whole). Kept so that a
-- restart neither fires again nor forgets that something fires.
CREATE TABLE sluice.alert_state (
    rule       text        NOT NULL,
    subject    text        NOT NULL,
    state      text        NOT NULL CHECK (state IN ('ok', 'pending', 'firing')),
    since      timestamptz NOT NULL,    -- when it came into this state
    value      float8,                  -- null: nothing to measure
    checked_at timestamptz NOT NULL,
    PRIMARY KEY (rule, subject)
);

-- What happened: a rule began to fire, or what made it fire is over. Written with the state, in one transaction.
CREATE TABLE sluice.alert_event (
    id      bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rule    text        NOT NULL,
    subject text        NOT NULL,
    status  text        NOT NULL CHECK (status IN ('firing', 'resolved')),
    at      timestamptz NOT NULL,
    body    text        NOT NULL        -- the JSON that webhooks get, byte for byte
);

-- Who has to hear of an event, and what came of it.
CREATE TABLE sluice.alert_delivery (
    event_id     bigint      NOT NULL REFERENCES sluice.alert_event ON DELETE CASCADE,
    webhook      text        NOT NULL,
    attempts     integer     NOT NULL DEFAULT 0,
    next_at      timestamptz NOT NULL,
    delivered_at timestamptz,
    given_up_at  timestamptz,
    status       integer,               -- of the last answer
    error        text,                  -- why the last attempt failed
    PRIMARY KEY (event_id, webhook)
);
CREATE INDEX alert_delivery_due ON sluice.alert_delivery (next_at) WHERE delivered_at IS NULL AND given_up_at IS NULL;
SELECT sluice.protect('sluice.alert_state'), sluice.protect('sluice.alert_event'),
    sluice.protect('sluice.alert_delivery');
