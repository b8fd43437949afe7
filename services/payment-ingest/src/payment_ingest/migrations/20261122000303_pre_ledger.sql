-- migrate:up

-- One row per invoice in Xero that we ever heard of. The link (account_id, invoice_id) and the last
-- observation share the row on purpose: whoever learns either locks it first, so a payment and the
-- InvoiceSynced it waits for can never miss each other.
CREATE TABLE xero_invoices (
    tenant_id text NOT NULL,
    xero_invoice_id text NOT NULL,
    account_id text,
    invoice_id text,
    linked_at timestamptz,
    observations integer NOT NULL DEFAULT 0,
    snapshot_hash bytea,
    updated_at timestamptz,
    observed_at timestamptz,
    status text,
    currency text,
    amount_paid numeric,
    amount_due numeric,
    amount_credited numeric,
    PRIMARY KEY (tenant_id, xero_invoice_id)
);

CREATE INDEX xero_invoices_invoice ON xero_invoices (account_id, invoice_id);

-- The last sequence given out per Pipeline invoice; its row lock orders the invoice's events.
CREATE TABLE payment_sequences (
    account_id text NOT NULL,
    invoice_id text NOT NULL,
    last_sequence bigint NOT NULL,
    PRIMARY KEY (account_id, invoice_id)
);

CREATE TABLE payments (
    payment_id uuid PRIMARY KEY,
    tenant_id text NOT NULL,
    xero_invoice_id text NOT NULL,
    kind text NOT NULL,
    xero_payment_id text NOT NULL,
    occurrence integer NOT NULL,
    amount numeric NOT NULL,
    currency text NOT NULL,
    paid_on date,
    reference text,
    reversed boolean NOT NULL DEFAULT false,
    UNIQUE (tenant_id, xero_invoice_id, kind, xero_payment_id, occurrence),
    FOREIGN KEY (tenant_id, xero_invoice_id) REFERENCES xero_invoices
);

-- The ledger: what happened to each payment, in the order it was seen, and by whose hand. `sequence` and
-- `published_at` stay empty while the invoice is not known to be ours.
CREATE TABLE payment_movements (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    payment_id uuid NOT NULL REFERENCES payments,
    tenant_id text NOT NULL,
    xero_invoice_id text NOT NULL,
    change text NOT NULL CHECK (change IN ('recorded', 'reversed')),
    event_id uuid NOT NULL UNIQUE,
    invoice_status text NOT NULL,
    amount_paid numeric NOT NULL,
    amount_due numeric NOT NULL,
    found_by text NOT NULL,
    delivery bytea,
    rung_at timestamptz,
    fetched_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    sequence bigint,
    published_at timestamptz
);

CREATE INDEX payment_movements_invoice ON payment_movements (tenant_id, xero_invoice_id, id);
CREATE INDEX payment_movements_unmatched ON payment_movements (tenant_id, xero_invoice_id) WHERE sequence IS NULL;

-- migrate:down
DROP TABLE payment_movements;
DROP TABLE payments;
DROP TABLE payment_sequences;
DROP TABLE xero_invoices;
