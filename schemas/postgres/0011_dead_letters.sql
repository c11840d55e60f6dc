-- Migration 11: dead letters can be folded again or dropped, and the ledger follows.

-- When the record was appended to its log: the row of the ledger that counts it. Null for those parked before.
ALTER TABLE sluice.dead_letter ADD COLUMN appended_at timestamptz;

-- Dead letters that an operator gave up; they leave dead_lettered, so that the ledger still balances.
ALTER TABLE sluice.ledger ADD COLUMN dropped bigint NOT NULL DEFAULT 0;
