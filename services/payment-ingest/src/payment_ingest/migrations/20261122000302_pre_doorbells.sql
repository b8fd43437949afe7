-- migrate:up

-- Every ring takes a new number, from one sequence for all invoices: a fetch clears a doorbell only if
-- nobody rang since it began, and a row removed and rung again can never look like the old one.
CREATE SEQUENCE doorbell_generation;

CREATE TABLE doorbells (
    tenant_id text NOT NULL,
    xero_invoice_id text NOT NULL,
    generation bigint NOT NULL DEFAULT nextval('doorbell_generation'),
    rung_at timestamptz NOT NULL,
    next_at timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    found_by text NOT NULL,
    delivery bytea,
    PRIMARY KEY (tenant_id, xero_invoice_id)
);

CREATE INDEX doorbells_due ON doorbells (tenant_id, next_at);

-- migrate:down
DROP TABLE doorbells;
DROP SEQUENCE doorbell_generation;
