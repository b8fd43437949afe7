-- migrate:up transaction:false

-- Deliveries are searched by time. They arrive in that order, so a block-range index is enough; it is built beside the
-- webhooks that come in, and costs them nothing afterwards. Whoever dies here leaves an index: finished by the server
-- and good, or given up and unused; neither may keep the next attempt, and all later migrations, from passing.
CREATE INDEX CONCURRENTLY IF NOT EXISTS deliveries_received ON deliveries USING brin (received_at);

-- migrate:down
DROP INDEX deliveries_received;
