-- migrate:up transaction:false

-- Replaced tokens are erased every few seconds, once Xero's grace for them is over; without an index that read every
-- grant there is. Built beside the running service; whoever dies here leaves an index that is good, or built again.
CREATE INDEX CONCURRENTLY IF NOT EXISTS token_sets_previous ON token_sets (previous_valid_until)
    WHERE previous_valid_until IS NOT NULL;

-- migrate:down transaction:false
DROP INDEX CONCURRENTLY IF EXISTS token_sets_previous;
