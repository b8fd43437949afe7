-- migrate:up
-- "Does an earlier record of this key wait?" is asked for each row that is read: by this index whatever else waits,
-- instead of by reading the whole outbox once there are refused rows.
CREATE INDEX outbox_refused_by_key ON outbox (topic, key, id) WHERE retry_at IS NOT NULL;

-- migrate:down
DROP INDEX outbox_refused_by_key;
