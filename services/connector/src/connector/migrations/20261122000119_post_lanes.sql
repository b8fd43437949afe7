-- migrate:up
ALTER TABLE tenant_budgets DROP COLUMN reserved_until;

-- migrate:down
ALTER TABLE tenant_budgets ADD COLUMN reserved_until timestamptz;
