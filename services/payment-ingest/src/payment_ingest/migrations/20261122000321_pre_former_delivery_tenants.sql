-- migrate:up transaction:false

-- By this the deliveries of the former release find whom they speak of, as they move. Built beside the running service,
-- and gone with its table in a later release. Whoever dies here leaves an index that is finished, or unused.
CREATE INDEX CONCURRENTLY IF NOT EXISTS delivery_tenants_delivery ON delivery_tenants (body_hash);

-- migrate:down
DROP INDEX delivery_tenants_delivery;
