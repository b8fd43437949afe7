-- migrate:up

-- When to ask Xero again which organisations the user still has connected: nobody tells us when somebody disconnects
-- inside Xero. The default spreads rows over the hour, those that exist already and those to come.
ALTER TABLE token_sets
    ADD COLUMN check_after timestamptz NOT NULL DEFAULT clock_timestamp() + random() * interval '1 hour',
    -- Xero said that the grant lacks a permission syncing needs. Only a new consent can change that.
    ADD COLUMN scopes_missing boolean NOT NULL DEFAULT false;
CREATE INDEX token_sets_check_due ON token_sets (check_after) WHERE rejected_at IS NULL;

ALTER TABLE cleanups ADD COLUMN created_at timestamptz NOT NULL DEFAULT clock_timestamp();

-- Every run that brought sealed values under another key, chained by hash like connection_changes.
CREATE TABLE key_rotations (
    sequence      bigint PRIMARY KEY,
    at            timestamptz NOT NULL,
    happening     text NOT NULL CHECK (happening IN ('begun', 'ended', 'given_up')),
    key_version   text NOT NULL,
    values_left   bigint NOT NULL,
    previous_hash bytea,
    hash          bytea NOT NULL
);

-- migrate:down
DROP TABLE key_rotations;
ALTER TABLE cleanups DROP COLUMN created_at;
DROP INDEX token_sets_check_due;
ALTER TABLE token_sets DROP COLUMN scopes_missing, DROP COLUMN check_after;
