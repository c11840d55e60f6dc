-- Migration 14: row-level security for the query API, and the audit of token use.
-- docs/decisions/0050-row-level-security.md says why it is made this way.

-- The role that the query API reads with. It owns nothing and cannot log in; roles belong to the whole server, so
-- another database may have made it already, even at this moment.
DO $$
DECLARE
    tries integer := 0;
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'sluice_reader' AND (rolsuper OR rolbypassrls)) THEN
        RAISE EXCEPTION 'the role sluice_reader is a superuser or has BYPASSRLS: row-level security would not bind it'
            USING HINT = 'ALTER ROLE sluice_reader NOSUPERUSER NOBYPASSRLS, then run sluice migrate again';
    END IF;
    LOOP
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'sluice_reader') THEN
                CREATE ROLE sluice_reader NOLOGIN;
            END IF;
            BEGIN
                SET LOCAL ROLE sluice_reader;
                RESET ROLE;
            EXCEPTION WHEN insufficient_privilege THEN
                EXECUTE format('GRANT sluice_reader TO %I', current_user);
                SET LOCAL ROLE sluice_reader;
                RESET ROLE;
            END;
            EXIT;
        EXCEPTION
            WHEN insufficient_privilege THEN
                RAISE EXCEPTION 'the role % may neither create the role sluice_reader nor become it', current_user
                    USING HINT = format('as a superuser, once: CREATE ROLE sluice_reader NOLOGIN (if it is missing); '
                        'GRANT sluice_reader TO %I; then run sluice migrate again', current_user);
            WHEN duplicate_object OR unique_violation OR internal_error THEN
                -- Somebody else did the same at the same time.
                tries := tries + 1;
                IF tries > 20 THEN
                    RAISE;
                END IF;
        END;
    END LOOP;
END $$;

GRANT USAGE ON SCHEMA sluice TO sluice_reader;

-- Lets the reader role read a table, as far as the transaction's settings allow: sluice.scope `admin` sees all rows, `org`
-- those of its organisation, `application` those of its application; without settings none are seen. A table without a
-- column `org` is for admins only, one without `application` for admins and organisations. Columns hold ids of
-- sluice.dimension or, of type text, names. Partitions need nothing: they are read through their table.
CREATE FUNCTION sluice.protect(target regclass) RETURNS void
LANGUAGE plpgsql AS $protect$
DECLARE
    types     jsonb;
    admin     text := $$(SELECT current_setting('sluice.scope', true) = 'admin')$$;
    whole_org text := $$(SELECT current_setting('sluice.scope', true) = 'org')$$;
    condition text;
BEGIN
    SELECT jsonb_object_agg(attname, CASE WHEN atttypid IN ('int4'::regtype, 'int8'::regtype) THEN 'id' ELSE 'name' END)
        INTO types
    FROM pg_attribute WHERE attrelid = target AND attname IN ('org', 'application') AND NOT attisdropped;
    condition := admin;
    IF types ? 'org' THEN
        -- Each SELECT is evaluated once per statement, not per row.
        condition := condition || ' OR (org = ' || CASE types ->> 'org'
            WHEN 'id' THEN $$(SELECT nullif(current_setting('sluice.org_id', true), '')::integer)$$
            ELSE $$(SELECT nullif(current_setting('sluice.org', true), ''))$$ END || ' AND ';
        IF types ? 'application' THEN
            condition := condition || '(' || whole_org || ' OR application = ' || CASE types ->> 'application'
                WHEN 'id' THEN $$(SELECT nullif(current_setting('sluice.application_id', true), '')::integer)$$
                ELSE $$(SELECT nullif(current_setting('sluice.application', true), ''))$$ END || '))';
        ELSE
            condition := condition || whole_org || ')';
        END IF;
    END IF;
    IF EXISTS (SELECT FROM pg_policy WHERE polrelid = target AND polname = 'reader') THEN
        EXECUTE format('DROP POLICY reader ON %s', target);
    END IF;
    EXECUTE format('CREATE POLICY reader ON %s FOR SELECT TO sluice_reader USING (%s)', target, condition);
    IF NOT (SELECT relrowsecurity FROM pg_class WHERE oid = target) THEN
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', target);
    END IF;
    EXECUTE format('GRANT SELECT ON %s TO sluice_reader', target);
END $protect$;

-- Protects every table of a generation; called for each one that is made.
CREATE FUNCTION sluice.protect_generation(generation integer) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    schema text := format('sluice_g%s', generation);
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO sluice_reader', schema);
    PERFORM sluice.protect(c.oid::regclass)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = schema AND c.relkind IN ('r', 'p') AND NOT c.relispartition
    ORDER BY c.relname;
END $$;

SELECT sluice.protect_generation(substr(nspname, 9)::integer) FROM pg_namespace WHERE nspname ~ '^sluice_g[0-9]+$';

-- Says what the rest of the transaction may see. Names become ids here, once.
CREATE FUNCTION sluice.enter(scope text, org text, application text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF ((scope = 'admin' AND org IS NULL AND application IS NULL)
        OR (scope = 'org' AND org <> '' AND application IS NULL)
        OR (scope = 'application' AND org <> '' AND application <> '')) IS NOT TRUE
    THEN
        RAISE EXCEPTION 'sluice.enter: scope %, organisation % and application % do not go together',
            scope, org, application;
    END IF;
    PERFORM set_config('sluice.scope', scope, true),
        set_config('sluice.org', coalesce(org, ''), true),
        set_config('sluice.application', coalesce(application, ''), true),
        set_config('sluice.org_id', coalesce((SELECT d.id::text FROM sluice.dimension d
            WHERE d.name = 'org' AND d.value = enter.org), ''), true),
        set_config('sluice.application_id', coalesce((SELECT d.id::text FROM sluice.dimension d
            WHERE d.name = 'application' AND d.value = enter.application), ''), true);
END $$;
REVOKE EXECUTE ON FUNCTION sluice.enter FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sluice.enter TO sluice_reader;

-- The dictionary of dimension values is shared: a route or an agent belongs to nobody. Names of other organisations, and
-- for an application those of other applications, are not shown.
ALTER TABLE sluice.dimension ENABLE ROW LEVEL SECURITY;
CREATE POLICY reader ON sluice.dimension FOR SELECT TO sluice_reader USING (
    (SELECT current_setting('sluice.scope', true) = 'admin')
    OR value = '__other__'
    OR ((SELECT current_setting('sluice.scope', true) IN ('org', 'application')) AND CASE name
        WHEN 'org' THEN value = (SELECT current_setting('sluice.org', true))
        WHEN 'application' THEN (SELECT current_setting('sluice.scope', true) = 'org')
            OR value = (SELECT current_setting('sluice.application', true))
        ELSE true END)
);
GRANT SELECT ON sluice.dimension TO sluice_reader;

-- Accounting is for admins: logs carry the records of many organisations.
SELECT sluice.protect('sluice.log'), sluice.protect('sluice.ledger'), sluice.protect('sluice.dead_letter');
SELECT sluice.protect(to_regclass('sluice.records')) WHERE to_regclass('sluice.records') IS NOT NULL;
DO $$
BEGIN
    IF to_regclass('sluice.records_state') IS NOT NULL THEN
        GRANT SELECT ON sluice.records_state TO sluice_reader;
    END IF;
END $$;

-- Nothing in these is anybody's.
GRANT SELECT ON sluice.migration, sluice.generation, sluice.rollup TO sluice_reader;

-- What everybody may know of the logs: how current the rollups are, and a mark that changes with every fold. A view
-- reads with its owner's rights.
CREATE VIEW sluice.log_state AS
SELECT log_id, started_at, heartbeat_at, first_seen_at, last_folded_at, ended_at, end_offset, retired_at,
    xmin::text AS row_version
FROM sluice.log;
GRANT SELECT ON sluice.log_state TO sluice_reader;

-- When the token was last used, to the minute.
ALTER TABLE sluice.token ADD COLUMN last_used_at timestamptz;

-- The token with a secret's hash: all that the reader role can learn of tokens.
CREATE FUNCTION sluice.find_token(hash bytea) RETURNS TABLE (
    id text, scope text, org text, application text, description text, created_at timestamptz,
    expires_at timestamptz, revoked_at timestamptz, last_used_at timestamptz
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT t.id, t.scope, t.org, t.application, t.description, t.created_at, t.expires_at, t.revoked_at, t.last_used_at
    FROM sluice.token t WHERE t.secret_hash = hash
$$;
REVOKE EXECUTE ON FUNCTION sluice.find_token FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sluice.find_token TO sluice_reader;

-- Who asked what, when; written by the query servers, which also delete what is past the retention.
CREATE TABLE sluice.token_use (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    used_at     timestamptz NOT NULL,
    token_id    text        NOT NULL,    -- no reference: the audit outlives the token
    address     text,                    -- of the client, or of the proxy before it
    method      text        NOT NULL,
    path        text        NOT NULL,
    question    text,                    -- query string or body, shortened
    status      integer     NOT NULL,
    duration_us bigint      NOT NULL
);
CREATE INDEX token_use_time ON sluice.token_use (used_at, id);
