-- migrate:up transaction:false

-- What the gauges count: only rows that are open, however many have been settled.
CREATE INDEX CONCURRENTLY IF NOT EXISTS invoices_waiting ON invoices (state, waiting_since)
    WHERE state NOT IN ('synced', 'voided');

-- migrate:down transaction:false

DROP INDEX CONCURRENTLY invoices_waiting;
