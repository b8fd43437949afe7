-- migrate:up

-- Credit notes, prepayments, overpayments and payments that somebody said had changed, one row each however often it was
-- said: what they are applied to is compared with the ledger, and the invoices that differ are rung.
CREATE TABLE document_doorbells (
    tenant_id text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('payment', 'credit_note', 'prepayment', 'overpayment')),
    document_id text NOT NULL,
    generation bigint NOT NULL DEFAULT nextval('doorbell_generation'),
    rung_at timestamptz NOT NULL,
    delivery bytea,
    PRIMARY KEY (tenant_id, kind, document_id)
);
CREATE INDEX document_doorbells_rung ON document_doorbells (tenant_id, rung_at);

-- migrate:down
DROP TABLE document_doorbells;
