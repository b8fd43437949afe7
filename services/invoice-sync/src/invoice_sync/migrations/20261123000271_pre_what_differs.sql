-- migrate:up transaction:false

-- Where the books are not the same; a dozen rows, or none.
CREATE INDEX CONCURRENTLY IF NOT EXISTS reconciliation_totals_differing ON reconciliation_totals (account_id, number)
    WHERE state = 'synced' AND total <> xero_total;

-- migrate:down transaction:false

DROP INDEX CONCURRENTLY reconciliation_totals_differing;
