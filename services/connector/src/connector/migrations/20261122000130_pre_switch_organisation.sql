-- migrate:up

-- The organisation an account was bound to when others were granted: what a switch would leave. It counts only while
-- the account still is bound to it, so that a page left open cannot undo what happened since.
ALTER TABLE oauth_states ADD COLUMN bound_tenant_id text, ADD COLUMN bound_tenant_name text;

-- When the short code and the currency of an organisation were last asked for after connecting; replicas take turns.
ALTER TABLE connections ADD COLUMN facts_asked_at timestamptz;

-- migrate:down
ALTER TABLE connections DROP COLUMN facts_asked_at;
ALTER TABLE oauth_states DROP COLUMN bound_tenant_name, DROP COLUMN bound_tenant_id;
