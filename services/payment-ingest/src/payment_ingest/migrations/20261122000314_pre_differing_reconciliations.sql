-- migrate:up

-- "How many invoices differ?" is asked every minute, and the answer is mostly: none.
CREATE INDEX reconciliations_differing ON reconciliations (tenant_id, began_at) WHERE differing > 0;

-- migrate:down
DROP INDEX reconciliations_differing;
