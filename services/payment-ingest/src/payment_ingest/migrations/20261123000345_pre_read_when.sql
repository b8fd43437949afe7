-- migrate:up

-- Null in what was put back from the topic: nobody knows any more when that was read from Xero.
ALTER TABLE payment_movements ALTER COLUMN fetched_at DROP NOT NULL;

-- When the invoice was last read, by our clock: Xero's (observed_at) has whole seconds only. Null before this release.
ALTER TABLE xero_invoices ADD COLUMN read_at timestamptz;

-- What the organisation is called, as the connector last said it.
ALTER TABLE connections ADD COLUMN tenant_name text;

-- migrate:down
ALTER TABLE connections DROP COLUMN tenant_name;
ALTER TABLE xero_invoices DROP COLUMN read_at;
UPDATE payment_movements SET fetched_at = recorded_at WHERE fetched_at IS NULL;
ALTER TABLE payment_movements ALTER COLUMN fetched_at SET NOT NULL;
