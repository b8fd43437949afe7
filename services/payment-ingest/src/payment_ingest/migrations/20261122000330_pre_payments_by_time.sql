-- migrate:up transaction:false

-- An account's payments are listed by the time they were recorded. Built beside the service that writes them; whoever
-- dies here leaves an index that is good or given up, and neither keeps the next attempt from passing.
CREATE INDEX CONCURRENTLY IF NOT EXISTS payment_movements_recorded
    ON payment_movements (tenant_id, recorded_at, id) WHERE change = 'recorded';

-- migrate:down
DROP INDEX payment_movements_recorded;
