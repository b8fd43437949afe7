-- migrate:up

-- What the topics say, one set of rows per generation. Pages read the current one; while a rebuild runs there is a
-- second, into which the running service writes as well. Every row is the newest of what was said about its key, by
-- the sequence or version in the event and never by the order of arrival, so hearing anything twice or late changes nothing.
CREATE TABLE generations (
    -- Never the same number twice: a transaction that began before a rebuild gave up may still write its rows.
    generation integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    is_current boolean NOT NULL,
    begun_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX generations_one_current ON generations (is_current) WHERE is_current;
INSERT INTO generations (is_current) VALUES (true);

-- Every account anything was ever heard of; sequence 0: nothing about its connection yet.
CREATE TABLE accounts (
    generation integer NOT NULL,
    account_id text NOT NULL,
    sequence integer NOT NULL DEFAULT 0,
    status text,
    reason text,
    message text,
    hint text,
    since timestamptz,
    changed_by text,
    can_refresh boolean,
    tenant_name text,
    short_code text,
    base_currency text,
    tone text NOT NULL DEFAULT 'never',
    PRIMARY KEY (generation, account_id)
);
CREATE INDEX accounts_by_tone ON accounts (generation, tone, account_id);

CREATE TABLE customers (
    generation integer NOT NULL,
    account_id text NOT NULL,
    customer_id text NOT NULL,
    version integer NOT NULL DEFAULT 0,
    name text,
    PRIMARY KEY (generation, account_id, customer_id)
);
CREATE INDEX customers_by_name
    ON customers (generation, account_id, lower(left(name, 100)) text_pattern_ops);

-- Three voices speak of an invoice, each with a count of its own: Pipeline (version), invoice-sync (sequence) and
-- payment-ingest (paid_sequence). Whichever came first made the row.
CREATE TABLE invoices (
    generation integer NOT NULL,
    account_id text NOT NULL,
    invoice_id text NOT NULL,
    changed_at timestamptz NOT NULL,
    version integer NOT NULL DEFAULT 0,
    -- Of the newest version that tells it: InvoiceVoided has none of these.
    content_version integer NOT NULL DEFAULT 0,
    is_voided boolean NOT NULL DEFAULT false,
    invoice_number text,
    customer_id text,
    due_date date,
    currency text,
    total numeric,
    sequence integer NOT NULL DEFAULT 0,
    outcome text,
    outcome_version integer,
    code text,
    retryable boolean,
    told jsonb,
    paid_sequence integer NOT NULL DEFAULT 0,
    amount_paid numeric,
    amount_due numeric,
    link_sequence integer NOT NULL DEFAULT 0,
    xero_invoice_id text,
    deep_link text,
    state text NOT NULL GENERATED ALWAYS AS (
        CASE
            WHEN outcome = 'out_of_sync' THEN 'out_of_sync'
            WHEN is_voided AND (outcome IS NULL OR (outcome = 'synced' AND outcome_version >= version)) THEN 'voided'
            WHEN outcome IS NULL OR version > outcome_version THEN 'waiting'
            WHEN outcome = 'failed' AND retryable THEN 'retrying'
            ELSE outcome
        END) STORED,
    PRIMARY KEY (generation, account_id, invoice_id)
);
CREATE INDEX invoices_newest ON invoices (generation, account_id, changed_at DESC, invoice_id DESC);
CREATE INDEX invoices_by_state
    ON invoices (generation, account_id, state, changed_at DESC, invoice_id DESC);
-- Ids and numbers are up to 1,000 characters; what is longer than the key of an index may be, is found by its start.
CREATE INDEX invoices_by_number
    ON invoices (generation, account_id, lower(left(invoice_number, 100)) text_pattern_ops);
CREATE INDEX invoices_by_customer ON invoices (generation, account_id, customer_id);
CREATE INDEX invoices_by_cause
    ON invoices (generation, account_id, state, code, currency) INCLUDE (total);

CREATE TABLE payments (
    generation integer NOT NULL,
    account_id text NOT NULL,
    payment_id text NOT NULL,
    invoice_id text NOT NULL,
    sequence integer NOT NULL,
    is_reversed boolean NOT NULL,
    kind text NOT NULL,
    amount numeric NOT NULL,
    currency text NOT NULL,
    paid_on date NOT NULL,
    reference text,
    found_by text NOT NULL,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (generation, account_id, payment_id)
);
CREATE INDEX payments_newest
    ON payments (generation, account_id, changed_at DESC, payment_id DESC);
CREATE INDEX payments_missed
    ON payments (generation, account_id, changed_at DESC, payment_id DESC) WHERE found_by <> 'webhook';

-- One line for each event, for timelines. `subject_kind` says what `subject` names.
CREATE TABLE facts (
    generation integer NOT NULL,
    source text NOT NULL,
    event_id text NOT NULL,
    account_id text NOT NULL,
    subject_kind text NOT NULL,
    subject text NOT NULL,
    type text NOT NULL,
    at timestamptz NOT NULL,
    number integer NOT NULL,
    details jsonb NOT NULL,
    PRIMARY KEY (generation, source, event_id)
);
-- Not longer: two ids of 255 characters are about what a key of an index may hold.
CREATE INDEX facts_of_subject ON facts (generation, account_id, subject_kind, subject, at DESC);

-- Dead letters, and what this view itself could not read. An account is named where the content names one.
CREATE TABLE odd_records (
    generation integer NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    record_offset bigint NOT NULL,
    written_at timestamptz NOT NULL,
    account_id text,
    is_dead_letter boolean NOT NULL,
    from_topic text NOT NULL,
    from_place text,
    code text NOT NULL,
    reason text NOT NULL,
    key bytea,
    value bytea,
    value_size integer NOT NULL,
    headers jsonb NOT NULL,
    PRIMARY KEY (generation, topic, partition, record_offset)
);
CREATE INDEX odd_records_newest
    ON odd_records (generation, written_at DESC, topic DESC, partition DESC, record_offset DESC);
CREATE INDEX odd_records_of_account
    ON odd_records (generation, account_id, written_at DESC, topic DESC, partition DESC, record_offset DESC);

-- How far this view has read (committed with what it read), and how far the topics go.
CREATE TABLE positions (
    topic text NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL,
    written_at timestamptz NOT NULL,
    PRIMARY KEY (topic, partition)
);
CREATE TABLE topic_ends (
    topic text NOT NULL,
    partition integer NOT NULL,
    end_offset bigint NOT NULL,
    begin_offset bigint NOT NULL,
    seen_at timestamptz NOT NULL,
    PRIMARY KEY (topic, partition)
);
CREATE TABLE lag_samples (
    at timestamptz PRIMARY KEY,
    behind bigint NOT NULL
);

-- Counted up by every transaction that changes an account, last of all: streams tell from it that something is new.
CREATE TABLE account_versions (
    account_id text PRIMARY KEY,
    version bigint NOT NULL
);

-- migrate:down
DROP TABLE account_versions, lag_samples, topic_ends, positions, odd_records, facts, payments, invoices, customers,
    accounts, generations;
