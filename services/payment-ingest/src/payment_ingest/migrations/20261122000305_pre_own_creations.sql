-- migrate:up

-- When Xero says the invoice was created, if nothing else was said of it; such a doorbell can wait.
ALTER TABLE doorbells ADD COLUMN created_at timestamptz;

-- When Xero created it by a write of invoice-sync. News of that creation tells nothing.
ALTER TABLE xero_invoices ADD COLUMN created_at timestamptz;

-- migrate:down
ALTER TABLE xero_invoices DROP COLUMN created_at;
ALTER TABLE doorbells DROP COLUMN created_at;
