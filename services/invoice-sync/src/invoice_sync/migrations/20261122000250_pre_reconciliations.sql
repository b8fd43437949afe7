-- migrate:up

-- When the next step of the account's reconciliation is due (null: none was ever planned).
ALTER TABLE accounts ADD COLUMN reconcile_due_at timestamptz;

-- A comparison of an account's books with Xero's as a whole: who asked, how far it is, what it came to.
-- next_page: the page of Xero's list to read next; null once all were read.
CREATE TABLE reconciliations (
    account_id    text NOT NULL,
    number        integer NOT NULL CHECK (number > 0),
    tenant_id     text NOT NULL,
    asked_by      text NOT NULL,
    began_at      timestamptz NOT NULL,
    next_page     integer DEFAULT 1,
    page_size     integer NOT NULL,
    xero_invoices integer NOT NULL DEFAULT 0,
    finished_at   timestamptz,
    outcome       text CHECK (outcome IN ('clean', 'findings', 'stopped')),
    message       text,
    findings      jsonb,
    PRIMARY KEY (account_id, number),
    CHECK ((finished_at IS NULL) = (outcome IS NULL))
);
CREATE UNIQUE INDEX reconciliations_open ON reconciliations (account_id) WHERE finished_at IS NULL;

-- Invoices of ours that a reconciliation under way has seen in Xero; emptied when it is done.
-- is_linked: by its InvoiceID it is known here, not by our mark alone. is_changed: it looks different than when last
-- read. is_edited: it is not what both last agreed on.
CREATE TABLE reconciled_invoices (
    account_id      text NOT NULL,
    number          integer NOT NULL,
    xero_invoice_id text NOT NULL,
    invoice_id      text NOT NULL,
    is_linked       boolean NOT NULL,
    verdict         text NOT NULL CHECK (verdict IN ('live', 'withdrawn', 'gone', 'unreadable')),
    currency        text NOT NULL,
    total           numeric NOT NULL,
    is_changed      boolean NOT NULL,
    is_edited       boolean NOT NULL,
    read_at         timestamptz NOT NULL,
    PRIMARY KEY (account_id, number, xero_invoice_id),
    FOREIGN KEY (account_id, number) REFERENCES reconciliations (account_id, number) ON DELETE CASCADE
);

-- Both books by state and currency, as a reconciliation found them.
CREATE TABLE reconciliation_totals (
    account_id text NOT NULL,
    number     integer NOT NULL,
    state      text NOT NULL,
    currency   text NOT NULL,
    invoices   integer NOT NULL,
    total      numeric NOT NULL,
    in_xero    integer NOT NULL,
    xero_total numeric NOT NULL,
    PRIMARY KEY (account_id, number, state, currency),
    FOREIGN KEY (account_id, number) REFERENCES reconciliations (account_id, number) ON DELETE CASCADE
);

-- What a reconciliation found, one by one; of each kind the first thousand (reconciliations.findings counts all).
CREATE TABLE reconciliation_findings (
    account_id      text NOT NULL,
    number          integer NOT NULL,
    id              bigint GENERATED ALWAYS AS IDENTITY,
    kind            text NOT NULL,
    invoice_id      text,
    xero_invoice_id text,
    PRIMARY KEY (account_id, number, id),
    FOREIGN KEY (account_id, number) REFERENCES reconciliations (account_id, number) ON DELETE CASCADE
);

-- Accounts that rest get a turn within the hour, to be given their place in the schedule.
UPDATE account_leases l
   SET due_at = least(l.due_at, now() + random() * interval '1 hour')
  FROM accounts a
 WHERE a.account_id = l.account_id AND a.status = 'CONNECTED';

-- migrate:down

DROP TABLE reconciliation_findings;
DROP TABLE reconciliation_totals;
DROP TABLE reconciled_invoices;
DROP TABLE reconciliations;
ALTER TABLE accounts DROP COLUMN reconcile_due_at;
