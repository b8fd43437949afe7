-- migrate:up

-- What each deep sweep found: per currency, what was paid and credited on Pipeline's invoices by Xero's own figures, by
-- the ledger, and by the events that were published. Its pages add to the rows; `completed_at` says all did.
CREATE TABLE reconciliations (
    tenant_id text NOT NULL,
    began_at timestamptz NOT NULL,
    currency text NOT NULL,
    invoices integer NOT NULL,
    in_xero numeric NOT NULL,
    in_ledger numeric NOT NULL,
    published numeric NOT NULL,
    differing integer NOT NULL,
    example text,
    completed_at timestamptz,
    PRIMARY KEY (tenant_id, began_at, currency)
);

-- migrate:down
DROP TABLE reconciliations;
