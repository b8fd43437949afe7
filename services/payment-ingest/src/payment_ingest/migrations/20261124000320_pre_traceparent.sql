-- migrate:up

-- The W3C trace context under which a webhook was taken in: what is done because of it continues there.
ALTER TABLE raw_deliveries ADD COLUMN traceparent text;

-- migrate:down

ALTER TABLE raw_deliveries DROP COLUMN traceparent;
