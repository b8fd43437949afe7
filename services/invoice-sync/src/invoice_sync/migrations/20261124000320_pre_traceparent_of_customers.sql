-- migrate:up

-- The W3C trace context under which the newest version was taken in: what is done for the customer continues there.
ALTER TABLE customers ADD COLUMN traceparent text;

-- migrate:down

ALTER TABLE customers DROP COLUMN traceparent;
