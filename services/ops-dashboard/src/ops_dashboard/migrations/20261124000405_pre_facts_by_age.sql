-- migrate:up transaction:false

-- By this the lines of timelines go by age. Built beside the running service; whoever dies here leaves an index that is
-- finished, or one that is built again before the next migration.
CREATE INDEX CONCURRENTLY IF NOT EXISTS facts_by_age ON facts (at);

-- migrate:down
DROP INDEX facts_by_age;
