-- migrate:up

-- When the next step of the account's import is due (null: none is under way).
ALTER TABLE accounts ADD COLUMN import_due_at timestamptz;

-- Somebody's order to link invoices that are in Xero already, and what it came to. dry_run: only say what would be.
CREATE TABLE imports (
    account_id  text NOT NULL,
    number      integer NOT NULL CHECK (number > 0),
    tenant_id   text NOT NULL,
    dry_run     boolean NOT NULL,
    asked_by    text NOT NULL,
    asked_at    timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    outcome     text CHECK (outcome IN ('done', 'stopped')),
    message     text,
    PRIMARY KEY (account_id, number),
    CHECK ((finished_at IS NULL) = (outcome IS NULL))
);
CREATE UNIQUE INDEX imports_open ON imports (account_id) WHERE finished_at IS NULL;

-- The invoices an import looks for, in their order, and what became of each (null: not looked for yet).
-- number_key: its number, as numbers are compared.
CREATE TABLE import_results (
    account_id      text NOT NULL,
    number          integer NOT NULL,
    place           integer NOT NULL,
    invoice_id      text NOT NULL,
    number_key      text NOT NULL,
    outcome         text CHECK (outcome IN ('linked', 'different', 'absent', 'ambiguous', 'skipped')),
    xero_invoice_id text,
    message         text,
    PRIMARY KEY (account_id, number, place),
    FOREIGN KEY (account_id, number) REFERENCES imports (account_id, number) ON DELETE CASCADE
);
CREATE INDEX import_results_open ON import_results (account_id, number, place) WHERE outcome IS NULL;
CREATE INDEX import_results_by_number ON import_results (account_id, number, number_key);

-- migrate:down

DROP TABLE import_results;
DROP TABLE imports;
ALTER TABLE accounts DROP COLUMN import_due_at;
