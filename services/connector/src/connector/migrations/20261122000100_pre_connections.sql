-- migrate:up

-- Token pairs belong to a Xero user and this app, and reach every organisation that user connected: so they are
-- stored once per user, and connections point at them. Copies per organisation would diverge at the first rotation.
CREATE TABLE token_sets (
    xero_userid            text PRIMARY KEY,
    version                bigint NOT NULL,
    access_token           bytea NOT NULL,
    access_expires_at      timestamptz NOT NULL,
    refresh_token          bytea NOT NULL,
    refreshed_at           timestamptz NOT NULL,
    -- Xero accepts the replaced refresh token for 30 more minutes when the reply to a rotation was lost.
    previous_refresh_token bytea,
    previous_valid_until   timestamptz,
    scopes                 text NOT NULL,
    -- Who may talk to the token endpoint for this row now. Claimed and committed before the call, so that no row lock
    -- is held across HTTP; a killed holder is over when its lease is.
    lease_id               uuid,
    lease_until            timestamptz,
    -- Set with the lease, cleared when the outcome is known: a rotation whose reply was lost is due at once.
    refresh_pending        boolean NOT NULL DEFAULT false,
    refresh_after          timestamptz NOT NULL,
    refresh_failures       integer NOT NULL DEFAULT 0,
    unavailable_since      timestamptz,
    last_problem           text,
    rejected_at            timestamptz,
    last_used_at           timestamptz NOT NULL
);
CREATE INDEX token_sets_due ON token_sets (refresh_after) WHERE rejected_at IS NULL;

-- Pairs received by someone who had lost the row meanwhile. Never thrown away while they might be the newest.
CREATE TABLE orphan_tokens (
    id            uuid PRIMARY KEY,
    xero_userid   text NOT NULL REFERENCES token_sets ON DELETE CASCADE,
    refresh_token bytea NOT NULL,
    received_at   timestamptz NOT NULL
);
CREATE INDEX orphan_tokens_of ON orphan_tokens (xero_userid, received_at);

CREATE TABLE connections (
    account_id        text PRIMARY KEY,
    status            text NOT NULL CHECK (status IN ('CONNECTED', 'TOKEN_EXPIRED', 'DISCONNECTED')),
    reason            text NOT NULL,
    since             timestamptz NOT NULL,
    changed_by        text,
    sequence          bigint NOT NULL,
    -- Kept after a disconnect: mappings and waiting work belong to this organisation, so another one never slips in.
    tenant_id         text,
    tenant_name       text,
    short_code        text,
    base_currency     text,
    xero_userid       text REFERENCES token_sets,
    connected_at      timestamptz,
    connected_by      text,
    connected_by_name text,
    -- A disconnect has begun: no new call may start. Set before the drain, so nothing is sent after it is recorded.
    fenced_at         timestamptz,
    fenced_by         text,
    fenced_by_name    text,
    last_call_at      timestamptz,
    CHECK (status = 'DISCONNECTED' OR (tenant_id IS NOT NULL AND xero_userid IS NOT NULL))
);
-- One organisation feeds one account, or payments would be recorded for both.
CREATE UNIQUE INDEX connections_tenant ON connections (tenant_id) WHERE status <> 'DISCONNECTED';
CREATE INDEX connections_userid ON connections (xero_userid);
CREATE INDEX connections_fenced ON connections (fenced_at) WHERE fenced_at IS NOT NULL;

-- Every change of a connection, chained by hash per account: a row cannot be altered or taken out unnoticed.
CREATE TABLE connection_changes (
    account_id  text NOT NULL,
    sequence    bigint NOT NULL,
    at          timestamptz NOT NULL,
    actor       text,
    actor_name  text,
    from_status text,
    to_status   text NOT NULL,
    reason      text NOT NULL,
    tenant_id   text,
    tenant_name text,
    previous_hash bytea,
    hash        bytea NOT NULL,
    PRIMARY KEY (account_id, sequence)
);

-- One attempt to connect, from the click to the organisation chosen. The state itself is never stored, only its hash.
CREATE TABLE oauth_states (
    state_hash   bytea PRIMARY KEY,
    account_id   text NOT NULL,
    user_id      text NOT NULL,
    user_name    text NOT NULL,
    session_hash bytea NOT NULL,
    verifier     bytea NOT NULL,
    nonce        bytea NOT NULL,
    expires_at   timestamptz NOT NULL,
    used_at      timestamptz,
    -- Filled after the code was exchanged.
    xero_userid  text,
    choice_until timestamptz,
    outcome      text,
    outcome_name text
);
CREATE INDEX oauth_states_flow ON oauth_states (account_id, session_hash, expires_at);
CREATE INDEX oauth_states_userid ON oauth_states (xero_userid);

CREATE TABLE offered_organisations (
    state_hash    bytea NOT NULL REFERENCES oauth_states ON DELETE CASCADE,
    tenant_id     text NOT NULL,
    tenant_name   text NOT NULL,
    taken         boolean NOT NULL,
    PRIMARY KEY (state_hash, tenant_id)
);

-- What is still to be undone at Xero: 'connection' removes one organisation, 'grant' revokes the user's tokens.
CREATE TABLE cleanups (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind            text NOT NULL CHECK (kind IN ('connection', 'grant')),
    xero_userid     text NOT NULL REFERENCES token_sets ON DELETE CASCADE,
    tenant_id       text,
    attempts        integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL,
    lease_until     timestamptz,
    last_problem    text
);
CREATE INDEX cleanups_due ON cleanups (next_attempt_at);
CREATE INDEX cleanups_userid ON cleanups (xero_userid);

-- migrate:down
DROP TABLE cleanups, offered_organisations, oauth_states, connection_changes, connections, orphan_tokens, token_sets;
