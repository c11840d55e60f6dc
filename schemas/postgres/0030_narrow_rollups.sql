-- Migration 30: the rollups total (org), route (org, api, route) and status (org, api, status, outcome), all with hours: what
-- dashboards ask reads a tenth of the rows of summary and api. docs/decisions/0058-narrow-rollups.md says why these.

DO $$
DECLARE
    taken text := (SELECT string_agg(name, ', ' ORDER BY name) FROM sluice.rollup WHERE name IN ('total', 'route', 'status'));
BEGIN
    IF taken IS NOT NULL THEN
        RAISE EXCEPTION 'rollups of your own have names that Sluice now takes itself: %', taken
            USING HINT = 'with the version of before: take them out of the configuration, sluice rollup drop NAME, and add '
                'them again under other names; then migrate';
    END IF;
END $$;

SELECT sluice.add_rollup('total', '{org}', '{1m,15m,1h,1d}', true),
    sluice.add_rollup('route', '{org,api,route}', '{1m,15m,1h,1d}', true),
    sluice.add_rollup('status', '{org,api,status,outcome}', '{1m,15m,1h,1d}', true);
-- What summary itself does not know, because it is younger than the records, these do not know either.
UPDATE sluice.rollup n SET is_built_in = true, complete_since = greatest(n.complete_since, s.complete_since)
FROM sluice.rollup s WHERE n.name IN ('total', 'route', 'status') AND s.name = 'summary';

-- Views are for rollups of users; those of api have these dimensions, too.
DO $$
DECLARE
    rollup text;
    suffix text;
BEGIN
    FOREACH rollup IN ARRAY '{total,route,status}'::text[] LOOP
        FOREACH suffix IN ARRAY '{"",_15m,_1h,_1d}'::text[] LOOP
            EXECUTE format('DROP VIEW sluice.%I', rollup || '_usage' || suffix);
        END LOOP;
    END LOOP;
END $$;
