-- migrate:up

-- How far each look-around of each tenant has come: `recent` asks Xero for what changed since `watermark` (its clock
-- when the last complete one began), `deep` for everything. `began_at`, `part`, `next_page` and `page_size` say where
-- the one in progress goes on; `requests` counts who asked for one, so that a request made while it runs leads to
-- another; `missed` what it found so far that no webhook had told of. A table beside `sweeps`, which the former
-- release goes on using while both run: neither can misread the other's pages.
CREATE TABLE tenant_sweeps (
    tenant_id text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('recent', 'deep')),
    watermark timestamptz,
    next_at timestamptz NOT NULL,
    requests bigint NOT NULL DEFAULT 0,
    began_at timestamptz,
    part text NOT NULL DEFAULT 'invoices' CHECK (part IN ('invoices', 'payments')),
    next_page integer NOT NULL DEFAULT 1,
    page_size integer NOT NULL DEFAULT 1000,
    missed integer NOT NULL DEFAULT 0,
    completed_at timestamptz,
    PRIMARY KEY (tenant_id, kind)
);

INSERT INTO tenant_sweeps (tenant_id, kind, watermark, next_at)
SELECT tenant_id, 'recent', watermark, now() FROM sweeps
UNION ALL
SELECT tenant_id, 'deep', NULL, now() + random() * interval '1 day' FROM sweeps;

-- The sequence numbers of Xero's webhook events that arrived, as ranges: a hole among them that stays is a delivery
-- that never came. One row; Xero counts per application, not per tenant.
CREATE TABLE webhook_sequences (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    seen int8multirange NOT NULL DEFAULT '{}',
    hole_since timestamptz
);

INSERT INTO webhook_sequences DEFAULT VALUES;

-- migrate:down
DROP TABLE webhook_sequences;
DROP TABLE tenant_sweeps;
