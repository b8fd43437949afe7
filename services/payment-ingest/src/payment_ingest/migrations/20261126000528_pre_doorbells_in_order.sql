-- migrate:up transaction:false

-- A turn takes the fifty doorbells of an organisation that have waited longest, and read all that rang to find them: after
-- an outage, or while a large organisation is read for the first time, the whole backlog for each fifty of it. Built
-- beside the running service; whoever dies here leaves an index that is good, or built again.
CREATE INDEX CONCURRENTLY IF NOT EXISTS doorbells_in_order
    ON doorbells (tenant_id, (created_at IS NOT NULL), rung_at, xero_invoice_id);

-- migrate:down transaction:false
DROP INDEX CONCURRENTLY IF EXISTS doorbells_in_order;
