-- Migration 17: the organisation comes first in the keys of all rollup tables of generation 1, as in summary: nearly every
-- question is about one, and its rows of a range then lie together in the index instead of among everybody's.
-- Questions over all organisations find their range of a partition by a summary of its blocks, which costs next to nothing.

-- As in migration 3.
SELECT FROM sluice.generation FOR UPDATE;

DO $$
DECLARE
    rollup record;
    tier   text;
    target text;
BEGIN
    FOR rollup IN SELECT name, dimensions, tiers FROM sluice.rollup ORDER BY name LOOP
        FOREACH tier IN ARRAY rollup.tiers LOOP
            target := format('sluice_g1.%I', rollup.name || '_' || tier);
            IF rollup.name <> 'summary' THEN
                EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', target, rollup.name || '_' || tier || '_pkey');
                EXECUTE format('ALTER TABLE %s ADD PRIMARY KEY (org, bucket, %s)', target,
                    (SELECT string_agg(quote_ident(d), ', ' ORDER BY n)
                     FROM unnest(rollup.dimensions) WITH ORDINALITY AS l (d, n) WHERE d <> 'org'));
            END IF;
            EXECUTE format('CREATE INDEX ON %s USING brin (bucket)', target);
        END LOOP;
    END LOOP;
END $$;
