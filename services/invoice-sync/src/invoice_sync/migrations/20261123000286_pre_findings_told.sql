-- migrate:up

-- What a finding is told with, as it was then; null in findings of before. kept_by: who chose Xero's version.
ALTER TABLE reconciliation_findings
    ADD COLUMN invoice_number text,
    ADD COLUMN currency text,
    ADD COLUMN total numeric,
    ADD COLUMN xero_total numeric,
    ADD COLUMN kept_by text;

-- migrate:down

ALTER TABLE reconciliation_findings
    DROP COLUMN kept_by, DROP COLUMN xero_total, DROP COLUMN total, DROP COLUMN currency, DROP COLUMN invoice_number;
