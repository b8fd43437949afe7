-- migrate:up transaction:false

-- People know a payment by Xero's id of it. Built beside the service that writes payments; whoever dies here leaves an
-- index that is good, or one that the next attempt builds again before anything else.
CREATE INDEX CONCURRENTLY IF NOT EXISTS payments_xero_id ON payments (xero_payment_id);

-- migrate:down
DROP INDEX payments_xero_id;
