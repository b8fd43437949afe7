-- migrate:up transaction:false

-- Counts older than a day are dropped every few seconds: 144 rows a day of each busy organisation, all of which were
-- read for it. Built beside the running service; whoever dies here leaves an index that is good, or built again.
CREATE INDEX CONCURRENTLY IF NOT EXISTS call_counts_since ON call_counts (since);

-- migrate:down transaction:false
DROP INDEX CONCURRENTLY IF EXISTS call_counts_since;
