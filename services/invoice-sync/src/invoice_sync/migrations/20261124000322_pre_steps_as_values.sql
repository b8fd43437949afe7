-- migrate:up
-- As `desired_state` and `arrival`: rows on their way in, never altered.
CREATE TYPE invoice_step AS (
    account_id      text,
    invoice_id      text,
    state           text,
    tenant_id       text,
    generation      integer,
    attempts        integer,
    due_at          timestamptz,
    block_code      text,
    block_message   text,
    block_hint      text,
    block_retryable boolean,
    xero_errors     text,
    sequence        bigint,
    intent_id       bigint,
    intent_position integer,
    intent_version  integer,
    synced_version  integer,
    send_alone      boolean,
    told            text,
    waits_for       jsonb,
    number_prefix   text,
    sent            text
);
CREATE TYPE invoice_link AS (
    account_id      text,
    invoice_id      text,
    tenant_id       text,
    xero_invoice_id text,
    xero_number     text,
    xero_status     text,
    line_item_ids   text,
    agreed          text,
    base            text,
    observed        text,
    observed_at     timestamptz,
    is_paid         boolean,
    xero_updated_at timestamptz,
    kept            text,
    kept_by         text
);
CREATE TYPE timeline_note AS (
    account_id     text,
    invoice_id     text,
    kind           text,
    version        integer,
    code           text,
    detail         text,
    correlation_id text
);

-- migrate:down
DROP TYPE timeline_note;
DROP TYPE invoice_link;
DROP TYPE invoice_step;
