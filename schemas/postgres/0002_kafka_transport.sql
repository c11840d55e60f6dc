-- Migration 2: what the Kafka transport of the aggregator needs to trust a message and a position.

-- The organisations that a log may bill: those that its first record declares, or, when that
-- declares none, that of its first request. Null: not known, as of logs folded before this migration.
ALTER TABLE sluice.log ADD COLUMN orgs text[];

-- Which record the message before next_offset carried: found there again, the topic is still the same one.
ALTER TABLE sluice.transport_offset
    ADD COLUMN last_log    uuid,
    ADD COLUMN last_offset bigint,
    ADD COLUMN updated_at  timestamptz NOT NULL DEFAULT now();
