-- migrate:up transaction:false

-- Deliveries are searched by time. They arrive in that order, so a block-range index is enough; it is built beside the
-- webhooks that come in, and costs them nothing afterwards.
CREATE INDEX CONCURRENTLY deliveries_received ON deliveries USING brin (received_at);

-- migrate:down
DROP INDEX deliveries_received;
