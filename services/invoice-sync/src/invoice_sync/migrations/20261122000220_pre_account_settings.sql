-- migrate:up

-- How an account wants its invoices in Xero. No row: nothing was ever chosen, and the defaults hold.
CREATE TABLE account_settings (
    account_id           text PRIMARY KEY,
    version              integer NOT NULL CHECK (version > 0),
    invoice_status       text NOT NULL CHECK (invoice_status IN ('draft', 'authorised')),
    start_date           date,
    mapping_policy       text NOT NULL CHECK (mapping_policy IN ('strict', 'match', 'create')),
    default_account_code text,
    default_tax_type     text,
    number_prefix        text NOT NULL
);

-- Pipeline's codes that Xero knows by another one. A code without a row is the same in both.
CREATE TABLE code_mappings (
    account_id text NOT NULL,
    kind       text NOT NULL CHECK (kind IN ('account', 'tax', 'tracking', 'item')),
    code       text NOT NULL,
    xero_code  text NOT NULL,
    mapped_by  text NOT NULL,
    mapped_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, kind, code)
);

-- The codes of the connected organisation as last read there; what an earlier organisation had is worthless.
CREATE TABLE code_lists (
    account_id text NOT NULL,
    kind       text NOT NULL CHECK (kind IN ('account', 'tax', 'tracking', 'item')),
    tenant_id  text NOT NULL,
    entries    jsonb,
    read_at    timestamptz,
    tried_at   timestamptz NOT NULL,
    PRIMARY KEY (account_id, kind)
);

-- Every change of settings and code mappings, chained by hash per account: no row can be altered or taken out unnoticed.
CREATE TABLE setting_changes (
    account_id    text NOT NULL,
    sequence      bigint NOT NULL,
    at            timestamptz NOT NULL,
    actor         text NOT NULL,
    subject       text NOT NULL,
    before        text,
    after         text,
    previous_hash bytea,
    hash          bytea NOT NULL,
    PRIMARY KEY (account_id, sequence)
);

-- When the organisation's codes are to be read (null: when an invoice asks for it).
ALTER TABLE accounts ADD COLUMN codes_due_at timestamptz;

-- The prefix an invoice's number was sent with (null: never sent), and the fixes any of which releases it.
ALTER TABLE invoices ADD COLUMN number_prefix text, ADD COLUMN waits_for jsonb;

-- migrate:down

ALTER TABLE invoices DROP COLUMN waits_for, DROP COLUMN number_prefix;
ALTER TABLE accounts DROP COLUMN codes_due_at;
DROP TABLE setting_changes;
DROP TABLE code_lists;
DROP TABLE code_mappings;
DROP TABLE account_settings;
