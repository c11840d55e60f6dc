-- Migration 27: what tells a topic from another one of the same name. docs/decisions/0057-topic-made-again.md says why.

-- With which delivery the message before next_offset came (header sluice-delivery; 0: it does not say; null: not stored).
-- And a message further back that was in its place when the aggregator last looked, after which it has read everything.
ALTER TABLE sluice.transport_offset
    ADD COLUMN last_delivery   bigint,
    ADD COLUMN anchor_place    bigint,
    ADD COLUMN anchor_log      uuid,
    ADD COLUMN anchor_offset   bigint,
    ADD COLUMN anchor_delivery bigint;
