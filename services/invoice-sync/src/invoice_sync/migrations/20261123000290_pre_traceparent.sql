-- migrate:up

-- The W3C trace context under which the newest version was taken in: what is done for the invoice continues there.
ALTER TABLE invoices ADD COLUMN traceparent text;

-- migrate:down

ALTER TABLE invoices DROP COLUMN traceparent;
