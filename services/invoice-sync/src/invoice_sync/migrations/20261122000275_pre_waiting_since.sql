-- migrate:up

-- Since when an invoice is not in Xero as Pipeline wants it. `updated_at` moves with every try.
ALTER TABLE invoices ADD COLUMN waiting_since timestamptz NOT NULL DEFAULT now();
UPDATE invoices SET waiting_since = CASE WHEN synced_version IS NULL THEN accepted_at ELSE updated_at END
 WHERE state NOT IN ('synced', 'voided');

-- migrate:down

ALTER TABLE invoices DROP COLUMN waiting_since;
