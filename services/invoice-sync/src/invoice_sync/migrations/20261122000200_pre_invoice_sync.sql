-- migrate:up

-- What we know of an account's connection to Xero (from pipeline.xero.connections.v1), and until when it rests.
CREATE TABLE accounts (
    account_id    text PRIMARY KEY,
    status        text NOT NULL DEFAULT 'UNKNOWN',
    reason        text,
    message       text,
    hint          text,
    tenant_id     text,
    tenant_name   text,
    short_code    text,
    base_currency text,
    sequence      bigint NOT NULL DEFAULT 0,
    changed_at    timestamptz,
    paused_until  timestamptz,
    paused_code   text,
    pause_count   integer NOT NULL DEFAULT 0
);

-- One row per invoice: what Pipeline wants (highest version seen), where it stands, and why.
CREATE TABLE invoices (
    account_id      text NOT NULL,
    invoice_id      text NOT NULL,
    ordinal         bigint GENERATED ALWAYS AS IDENTITY,
    state           text NOT NULL CHECK (state IN (
        'pending', 'waiting_for_connection', 'waiting_for_contact', 'waiting_for_budget',
        'syncing', 'synced', 'failed', 'out_of_sync', 'voided')),
    version         integer NOT NULL,
    operation       text NOT NULL CHECK (operation IN ('write', 'void')),
    desired         text,
    invoice_number  text,
    customer_id     text,
    currency        text,
    total           numeric,
    void_version    integer,
    tenant_id       text,
    generation      integer NOT NULL DEFAULT 1,
    attempts        integer NOT NULL DEFAULT 0,
    due_at          timestamptz,
    block_code      text,
    block_message   text,
    block_hint      text,
    block_retryable boolean,
    xero_errors     text,
    sequence        bigint NOT NULL DEFAULT 0,
    intent_id       bigint,
    intent_position integer,
    intent_version  integer,
    sent            text,
    send_alone      boolean NOT NULL DEFAULT false,
    told            text,
    synced_version  integer,
    accepted_at     timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, invoice_id)
) WITH (fillfactor = 80);

CREATE INDEX invoices_due ON invoices (account_id, due_at, ordinal) WHERE due_at IS NOT NULL;
CREATE INDEX invoices_of_intent ON invoices (intent_id) WHERE intent_id IS NOT NULL;
CREATE INDEX invoices_waiting_for_contact ON invoices (account_id, customer_id)
    WHERE state = 'waiting_for_contact';
CREATE INDEX invoices_waiting_for_connection ON invoices (account_id)
    WHERE state = 'waiting_for_connection';
CREATE INDEX invoices_blocked ON invoices (account_id, block_code) WHERE block_code IS NOT NULL;

-- Our invoice <-> Xero's InvoiceID, with the last agreed state (in Pipeline's
-- words: agreed; in Xero's: base) and the last state read from Xero (observed).
CREATE TABLE invoice_links (
    account_id      text NOT NULL,
    invoice_id      text NOT NULL,
    tenant_id       text NOT NULL,
    xero_invoice_id text NOT NULL,
    xero_number     text NOT NULL,
    xero_status     text NOT NULL,
    line_item_ids   text NOT NULL,
    agreed          text NOT NULL,
    base            text NOT NULL,
    observed        text NOT NULL,
    observed_at     timestamptz NOT NULL,
    PRIMARY KEY (account_id, invoice_id),
    FOREIGN KEY (account_id, invoice_id) REFERENCES invoices (account_id, invoice_id)
);
CREATE UNIQUE INDEX invoice_links_of_xero ON invoice_links (tenant_id, xero_invoice_id);

-- A write that may be on its way to Xero: exact bytes and key, committed before sending, removed with its result.
CREATE TABLE intents (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id      text NOT NULL,
    tenant_id       text NOT NULL,
    kind            text NOT NULL CHECK (kind IN ('create', 'update', 'void', 'contacts')),
    method          text NOT NULL CHECK (method IN ('PUT', 'POST')),
    path            text NOT NULL,
    body            bytea NOT NULL,
    idempotency_key text NOT NULL UNIQUE CHECK (length(idempotency_key) <= 128),
    first_sent_at   timestamptz NOT NULL,
    must_look_up    boolean NOT NULL DEFAULT false,
    attempts        integer NOT NULL DEFAULT 0,
    due_at          timestamptz NOT NULL
);
CREATE INDEX intents_due ON intents (account_id, due_at);

-- Customers of Pipeline, and the work of making each a contact in Xero.
CREATE TABLE customers (
    account_id      text NOT NULL,
    customer_id     text NOT NULL,
    version         integer NOT NULL,
    name            text NOT NULL,
    email           text,
    phone           text,
    tax_number      text,
    tenant_id       text,
    due_at          timestamptz,
    attempts        integer NOT NULL DEFAULT 0,
    block_code      text,
    block_message   text,
    block_hint      text,
    intent_id       bigint,
    intent_position integer,
    updated_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, customer_id)
);
CREATE INDEX customers_due ON customers (account_id, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX customers_waiting_for_connection ON customers (account_id)
    WHERE block_code IN ('NOT_CONNECTED', 'TENANT_CHANGED');
CREATE INDEX customers_of_intent ON customers (intent_id) WHERE intent_id IS NOT NULL;

-- Which contact of which organisation a customer is. The tenant is part of the key: a mapping made for one
-- organisation is worthless in another.
CREATE TABLE contact_mappings (
    account_id   text NOT NULL,
    tenant_id    text NOT NULL,
    customer_id  text NOT NULL,
    contact_id   text NOT NULL,
    contact_name text,
    mapped_by    text NOT NULL,
    mapped_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, tenant_id, customer_id)
);

-- What happened to an invoice, in the order it happened.
CREATE TABLE timeline (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id     text NOT NULL,
    invoice_id     text NOT NULL,
    at             timestamptz NOT NULL,
    kind           text NOT NULL,
    version        integer,
    code           text,
    detail         text,
    correlation_id text
);
CREATE INDEX timeline_of_invoice ON timeline (account_id, invoice_id, id);

-- Who changed what by hand.
CREATE TABLE audit (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id text NOT NULL,
    at         timestamptz NOT NULL DEFAULT now(),
    actor      text NOT NULL,
    action     text NOT NULL,
    subject    text NOT NULL,
    detail     text
);
CREATE INDEX audit_of_account ON audit (account_id, id);

-- migrate:down

DROP TABLE audit;
DROP TABLE timeline;
DROP TABLE contact_mappings;
DROP TABLE customers;
DROP TABLE intents;
DROP TABLE invoice_links;
DROP TABLE invoices;
DROP TABLE accounts;
